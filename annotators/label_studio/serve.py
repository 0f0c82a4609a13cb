"""`pairwright serve`: the media server and the receiver of webhooks, in one small web application.

    GET, HEAD  /pairwright-media/<sha>.<ext>   a medium, signed as for S3
    POST       /webhook/<project>              a hint that wakes a pull
    GET        /health                         counts and times, no secrets

Nothing that comes in is ever logged: links, headers and bodies hold signatures or tokens."""

import asyncio
import re
import signal
import socket
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

from schemas.errors import UserError
from schemas.ports import MediaStore

from . import signing
from .media import Bucket, InTime
from .pulls import Pulls
from .webhooks import Webhooks

CONNECTIONS = 256  # at a time; each may hold a piece of a medium in memory
HEADERS = 5.0  # seconds that the first request of a connection may take to say its headers
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
        proxy_headers=False, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=1,
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run([listening])
    finally:
        signal.signal(signal.SIGTERM, before)


class _Protocol(H11Protocol):
    """HTTP by h11, which bounds what it takes for headers (64 kB) where httptools does not; and a bound on their time."""

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(HEADERS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.scope is None:
            self.transport.close()
