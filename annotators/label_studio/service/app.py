"""`pairwright serve`: media server and webhook receiver in one small web application.

    GET, HEAD  /pairwright-media/<sha>.<ext>   a media item, signed as for S3
    POST       /webhook/<project>              a hint that triggers a pull
    GET        /health                         counts and times, no secrets

Incoming data is never logged: links, headers and bodies contain signatures or tokens."""

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
from annotators.label_studio.service.s3 import STALL, Bucket, SendTimeout
from annotators.label_studio.service.webhooks import Webhooks
from schemas.errors import UserError
from schemas.ports import MediaStore

CONNECTIONS = 256  # maximum at a time; each may hold a piece of a media item in memory
HEADERS = 5.0  # seconds that a client may take to send the headers
IDLE = 5  # seconds between a response and the connection's next request
_SHOWN = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag")  # headers that the labeling page may read


def app(
    media: MediaStore,
    allowed: Callable[[str], str | None],
    pull: Callable[[str | None], None],
    secret: str,
    origin: str,
    every: float,
) -> Starlette:
    """The web application.

    `allowed(sha)` returns the MIME type of a media item that tasks show, None for any other; it is called for each request, so it must be a
    look-up in memory. `pull(project)` pulls one project, `pull(None)` all; it runs on a thread, one call at a time: at the start, one
    second after a hint, and every `every` seconds (above 0). `origin` is the labeling server's origin as browsers send it
    (`https://labels.example.org`); its pages may load media. UserError for a secret of fewer than 32 characters or an invalid origin."""
    if not re.fullmatch(r"https?://[^/\s*]+", origin):
        raise UserError(
            f"the labeling server's origin must look like https://labels.example.org, not {origin!r}; check LABEL_STUDIO_URL"
        )
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
                "/{path:path}",
                bucket.answer,
                methods=["GET", "HEAD", "OPTIONS"],
                middleware=[cors, Middleware(SendTimeout)],
            ),
        ],
        lifespan=lifespan,
    )


def serve(application: Starlette, host: str = "127.0.0.1", port: int = 8090) -> None:
    """Serves `application` until SIGTERM or Ctrl-C; then responses in progress get one second, and a running pull is completed.

    Must be called on the main thread. UserError if the address is not available."""
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
    """HTTP by h11, which limits headers to 64 kB (httptools does not), with limits on time and number of connections.

    A connection without a request being answered is closed after HEADERS seconds, or IDLE + HEADERS after a response, however slowly
    data trickles in. Output that the client does not read is dropped after at most STALL seconds. A connection beyond CONNECTIONS
    replaces another, so that a client with many connections shuts out only itself."""

    _timer: asyncio.TimerHandle | None = None
    _since = 0.0  # when it began to wait or to respond

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._in(HEADERS, self._close)
        others = [
            c for c in self.connections if isinstance(c, _Protocol) and c is not self and not c.transport.is_closing()
        ]
        if len(others) >= CONNECTIONS:
            _most_dispensable(others).transport.abort()

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
        if not self.answering():  # the next request was pipelined and may have started
            self._in(IDLE + HEADERS, self._close)

    def answering(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._stop()
        self._since = self.loop.time()
        self._timer = self.loop.call_later(seconds, what)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _close(self) -> None:
        self.transport.close()  # after its buffered output is sent
        self._timer = self.loop.call_later(STALL, self.transport.abort)

    def _look(self) -> None:
        """While responding: abort if the response was given up but its output is still not read."""
        if self.transport.is_closing():
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(STALL, self._look)


def _most_dispensable(connections: list[_Protocol]) -> _Protocol:
    """The connection to close if there are too many: among idle ones, else all, the oldest of the client with the most connections."""
    chosen = [c for c in connections if not c.answering()] or connections
    hosts = Counter(c.client and c.client[0] for c in chosen)
    return min(chosen, key=lambda c: (-hosts[c.client and c.client[0]], c._since))
