"""Serves the media of tasks to annotators, with the part of the S3 protocol that this needs.

A task contains `s3://pairwright-media/<sha>.<ext>`. When it is viewed, Label Studio's S3 storage presigns a link to this server, which
supports GET and HEAD, with Range so that players can seek, and nothing else: no writing, no listing, only media of the campaign's
tasks."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from cachetools import LRUCache
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from annotators.label_studio.service import signing
from schemas.errors import StoreError
from schemas.ports import MediaStore

BUCKET = "pairwright-media"
PIECE = 1 << 20  # bytes in memory per slow client
CACHE = 256 << 20  # bytes of media cached, so that seeking in a video does not read all of it each time
READS = 2  # concurrent reads from the media store
STALL = 60.0  # seconds after which a client that reads nothing is disconnected
_KEY = re.compile(r"([0-9a-f]{64})(\.[0-9A-Za-z]{1,8})?")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_EMPTY = (
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    f"<Name>{BUCKET}</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
)
_STATUS = {"NoSuchBucket": 404, "NoSuchKey": 404, "InvalidRange": 416, "AuthorizationQueryParametersError": 400}
log = logging.getLogger(__name__)


class Bucket:
    """The only bucket. `allowed(sha)` returns the MIME type of a media item that may be served, None for any other; it is called on the
    event loop for each request, so it must be a look-up in memory."""

    def __init__(self, media: MediaStore, allowed: Callable[[str], str | None], pair: tuple[str, str]):
        self._media, self._allowed, self._pair = media, allowed, pair
        self._kept: LRUCache[str, bytes] = LRUCache(CACHE, getsizeof=len)
        self._turns = asyncio.Semaphore(READS)

    async def answer(self, request: Request) -> Response:
        """Handles GET or HEAD of the bucket or of a media item in it; errors have the form of S3's."""
        path, query = request.scope["raw_path"].decode("ascii"), request.scope["query_string"].decode("latin-1")
        try:
            left = signing.check_media(request.method, path, query, request.headers, self._pair)
        except signing.Denied as denied:
            return _refused(denied.code, str(denied))
        place = request.scope["path"].removeprefix("/")
        bucket, _, key = place.partition("/")
        if bucket != BUCKET:  # virtual-hosted style: the bucket is in the host name
            if not request.headers.get("host", "").startswith(f"{BUCKET}."):
                return _refused("NoSuchBucket", f"the only bucket is {BUCKET}")
            key = place
        if not key:
            return Response(_EMPTY, media_type="application/xml")
        found = _KEY.fullmatch(key)
        mime = self._allowed(found[1]) if found else None
        if not found or not mime:
            return _refused("NoSuchKey", "no task shows this media item")
        try:
            return await self._medium(request, found[1], mime, left)
        except KeyError:
            log.error(
                "the media item %s of a task is missing from the media store; build again with the original cache",
                found[1],
            )
            return _refused("NoSuchKey", "this media item is missing from the media store")
        except StoreError as error:
            log.error("%s", error)
            return _refused("SlowDown", "the media store does not respond", 503)

    async def _medium(self, request: Request, sha: str, mime: str, left: int) -> Response:
        size, tag = len(await self._read(sha)), f'"{sha}"'
        headers = {
            "ETag": tag,
            "Accept-Ranges": "bytes",
            "Cache-Control": f"private, max-age={left}",  # Label Studio's pages reuse a link for this long
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("if-none-match") in (tag, "*"):
            return Response(None, 304, headers)
        start, stop, status = 0, size, 200
        if request.headers.get("if-range", tag) == tag and (wanted := _range(request.headers.get("range", ""), size)):
            start, stop = wanted
            if start >= stop:
                return _refused(
                    "InvalidRange", "the media item is shorter", headers={"Content-Range": f"bytes */{size}"}
                )
            headers["Content-Range"], status = f"bytes {start}-{stop - 1}/{size}", 206
        headers["Content-Length"] = str(stop - start)
        if request.method == "HEAD":
            return Response(None, status, headers, mime)
        if stop - start <= PIECE:
            return Response((await self._read(sha))[start:stop], status, headers, mime)
        return StreamingResponse(self._pieces(sha, start, stop), status, headers, mime)

    async def _pieces(self, sha: str, start: int, stop: int) -> AsyncIterator[bytes]:
        for at in range(start, stop, PIECE):
            yield (await self._read(sha))[at : min(at + PIECE, stop)]

    async def _read(self, sha: str) -> bytes:
        if (data := self._kept.get(sha)) is None:
            async with self._turns:
                if (data := self._kept.get(sha)) is None:
                    data = await asyncio.to_thread(self._media.read, sha)
                    if len(data) <= CACHE:
                        self._kept[sha] = data
        return data


class SendTimeout:
    """ASGI middleware that aborts a response if the client reads nothing for STALL seconds, or when the server stops."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def in_time(message: Message) -> None:
            async with asyncio.timeout(STALL):
                await send(message)

        with suppress(TimeoutError, asyncio.CancelledError):
            await self.app(scope, receive, in_time)


def _range(header: str, size: int) -> tuple[int, int] | None:
    """(start, stop) of a Range header, stop exclusive, empty if it is outside; None to send everything, as for several ranges."""
    found = _RANGE.fullmatch(header)
    if not found or found[0] == "bytes=-":
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    if found[2] and int(found[2]) < int(found[1]):
        return None
    return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size


def _refused(code: str, message: str, status: int | None = None, headers: dict[str, str] | None = None) -> Response:
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Response(text, status or _STATUS.get(code, 403), headers, "application/xml")
