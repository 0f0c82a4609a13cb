"""`pairwright serve`: the media server and the receiver of webhooks, in one small web application.

    GET, HEAD  /pairwright-media/<sha>.<ext>   a medium, signed as for S3
    POST       /webhook/<project>              a hint that wakes a pull
    GET        /health                         counts and times, no secrets

Nothing that comes in is ever logged: links, headers and bodies hold signatures or tokens."""

import asyncio
import re
import signal
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from annotators.label_studio.service import signing
from annotators.label_studio.service.pulls import Pulls
from annotators.label_studio.service.s3 import STALL, Bucket, InTime
from annotators.label_studio.service.webhooks import Webhooks
from schemas.errors import UserError
from schemas.ports import MediaStore

CONNECTIONS = 256  # at a time; each may hold a piece of a medium in memory
HEADERS = 5.0  # seconds that a request may take to say its headers
IDLE = 5  # seconds between an answer and the next request of a connection
_SHOWN = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag")  # headers that the labeling page may read


def app(
    media: MediaStore,
    allowed: Callable[[str], str | None],
    pull: Callable[[str | None], None],
    secret: str,
    origin: str,
    every: float,
) -> Starlette:
    """The application.

    `allowed(sha)` gives the media type of a medium that tasks show, None of any other: a look-up in memory, asked at each
    request. `pull(project)` reads back what is new in a project, `pull(None)` in all; it runs on a thread, one call at a
    time: at the start, a second after a hint, and every `every` seconds (more than 0). `origin` is the labeling server's,
    as a browser says it (`https://labels.example.org`): its pages may read media. UserError for a secret of fewer than 32
    characters or an origin that is none."""
    if not re.fullmatch(r"https?://[^/\s*]+", origin):
        raise UserError(f"the labeling server's origin must look like https://labels.example.org, not {origin!r}")
    pulls = Pulls(pull, every)
    webhooks, bucket = Webhooks(secret, pulls), Bucket(media, allowed, signing.keys(secret))

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({
            "webhooks": {name: getattr(webhooks, name) for name in ("received", "replayed", "malformed", "forged")},
            "pulls": {"done": pulls.done, "failed": pulls.failed, "last_ok": pulls.last_ok, "last_error": pulls.last_error},
        })  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        running = asyncio.create_task(pulls.run())
        yield
        pulls.stop()
        await running

    cors = Middleware(
        CORSMiddleware, allow_origins=[origin], allow_methods=["GET", "HEAD"], allow_headers=["Range"],
        expose_headers=_SHOWN,
    )  # fmt: skip
    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/webhook/{project}", webhooks.answer, methods=["POST"]),
            Route(
                "/{path:path}", bucket.answer, methods=["GET", "HEAD", "OPTIONS"], middleware=[cors, Middleware(InTime)]
            ),
        ],
        lifespan=lifespan,
    )


def serve(application: Starlette, host: str = "127.0.0.1", port: int = 8090) -> None:
    """Serves `application` until SIGTERM or Ctrl-C; then answers in progress get a second and a pull that runs is waited
    for. To be called on the main thread. UserError when the address cannot be had."""
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(f"cannot listen on {host} port {port} ({error.strerror}); choose another --port") from error
    config = uvicorn.Config(
        application, http=_Protocol, ws="none", log_config=None, access_log=False, server_header=False,
        proxy_headers=False, timeout_keep_alive=IDLE, timeout_graceful_shutdown=1,
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listening])
    finally:
        signal.signal(signal.SIGTERM, before)


class _Protocol(H11Protocol):
    """HTTP by h11, which bounds what it takes for headers (64 kB) where httptools does not; and bounds on time and number.

    A connection on which no request is being answered is closed after HEADERS seconds, or IDLE + HEADERS after an answer, whatever trickles in:
    half a request, the body of one that was answered. What is written and not read is dropped STALL seconds later at the latest. One connection
    more than CONNECTIONS takes the place of another, so that whoever holds many shuts out nobody but himself."""

    _timer: asyncio.TimerHandle | None = None
    _since = 0.0  # when it began to wait or to answer

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._in(HEADERS, self._close)
        others = [
            c for c in self.connections if isinstance(c, _Protocol) and c is not self and not c.transport.is_closing()
        ]
        if len(others) >= CONNECTIONS:
            _least_missed(others).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self.answering():
            self._in(STALL, self._look)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.answering():  # the next request, which was there already
            self._in(IDLE + HEADERS, self._close)

    def answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._stop()
        self._since = self.loop.time()
        self._timer = self.loop.call_later(seconds, what)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _close(self) -> None:
        self.transport.close()  # when it has written what waits to be read
        self._timer = self.loop.call_later(STALL, self.transport.abort)

    def _look(self) -> None:
        """While it answers: the answer may have been given up, and what was written of it be read by nobody."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(STALL, self._look)


def _least_missed(connections: list[_Protocol]) -> _Protocol:
    """The one to end where there are too many: of those that are asked for nothing, else of all; of the client that has most; its oldest."""
    chosen = [c for c in connections if not c.answering()] or connections
    hosts = Counter(c.client and c.client[0] for c in chosen)
    return min(chosen, key=lambda c: (-hosts[c.client and c.client[0]], c._since))
