"""Receives Label Studio's webhooks. A webhook is a hint: its header must be right, its body is never believed.

The body says only whether the hint is new: an annotation in a state that was seen before (Label Studio or somebody else
sends it again) wakes nothing. Bodies carry the project's token, so they are never logged or kept."""

import asyncio
import logging
from typing import Any

import orjson
from cachetools import LRUCache
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from annotators.label_studio.service import signing
from annotators.label_studio.service.pulls import Pulls

LARGEST = 1 << 20  # bytes of a body
SLOWEST = 5.0  # seconds that a body may take
SEEN = 20_000  # states of annotations that are remembered
log = logging.getLogger(__name__)


class Webhooks:
    """The receiver; counts what it got."""

    def __init__(self, secret: str, pulls: Pulls):
        signing.keys(secret)  # refuses a short one now
        self._secret, self._pulls = secret, pulls
        self._seen: LRUCache[tuple, bool] = LRUCache(SEEN)
        self.received = self.replayed = self.malformed = self.forged = 0

    async def answer(self, request: Request) -> Response:
        """200 for a hint, also for one that was seen before; 401 without the project's header, 400 for a body that is too
        long, too slow or no event."""
        project = request.path_params["project"]
        if not signing.check_webhook(self._secret, project, request.headers):
            self.forged += 1
            if self.forged == 1:
                log.warning("a webhook without the right %s was refused; more are counted at /health", signing.HEADER)
            return PlainTextResponse("unknown signature", 401, {"Connection": "close"})
        try:
            states = _states(await _body(request))
        except (ValueError, TimeoutError, ClientDisconnect):
            self.malformed += 1
            return PlainTextResponse("not an event, or too long", 400, {"Connection": "close"})
        self.received += 1
        new = [(project, *state) for state in states if (project, *state) not in self._seen]
        if states and not new:
            self.replayed += 1
        else:
            self._seen.update(dict.fromkeys(new, True))
            self._pulls.wake(project)
        return PlainTextResponse("ok")


async def _body(request: Request) -> bytes:
    if int(request.headers.get("content-length", "0")) > LARGEST:
        raise ValueError
    body = bytearray()
    async with asyncio.timeout(SLOWEST):
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                raise ValueError
    return bytes(body)


def _states(body: bytes) -> list[tuple[int, str | None]]:
    """(id, updated_at) of each annotation of an event, without a time when it was deleted; none of an event about something
    else. ValueError for what is no event."""
    event: Any = orjson.loads(body)
    if not isinstance(event, dict) or not isinstance(event.get("action"), str):
        raise ValueError
    annotations = event.get("annotations", [event["annotation"]] if "annotation" in event else [])
    if not isinstance(annotations, list):
        raise ValueError
    return [_state(annotation) for annotation in annotations]


def _state(annotation: Any) -> tuple[int, str | None]:
    if not isinstance(annotation, dict):
        raise ValueError
    number, updated = annotation.get("id"), annotation.get("updated_at")
    if type(number) is not int or not isinstance(updated, str | None):
        raise ValueError
    return number, updated
