"""Receives Label Studio's webhooks. A webhook is only a hint: its header must be right, its body is not trusted.

The body only decides whether the hint is new: a state of an annotation that was seen before (sent again by Label Studio or someone
else) triggers no pull. Bodies contain the project's token, so they are never logged or stored."""

import asyncio
import logging
from typing import Any

import orjson
from cachetools import LRUCache
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from annotators.label_studio.service import signing
from annotators.label_studio.service.pulls import Pulls

LARGEST = 1 << 20  # maximum bytes of a body
SLOWEST = 5.0  # seconds that a client may take to send a body
SEEN = 20_000  # annotation states remembered
log = logging.getLogger(__name__)


class Webhooks:
    """The webhook receiver, with counts of what it received. UserError for a secret of fewer than 32 characters."""

    def __init__(self, secret: str, pulls: Pulls):
        signing.keys(secret)  # raises now if it is too short
        self._secret, self._pulls = secret, pulls
        self._seen: LRUCache[tuple, bool] = LRUCache(SEEN)
        self.received = self.replayed = self.malformed = self.forged = 0

    async def answer(self, request: Request) -> Response:
        """200 for a hint, new or repeated; 401 without the project's header; 400 if the body is too long, too slow or not an event."""
        project = request.path_params["project"]
        if not signing.check_webhook(self._secret, project, request.headers):
            self.forged += 1
            if self.forged == 1:
                log.warning(
                    "refused a webhook with a wrong %s header; further ones are counted at /health", signing.HEADER
                )
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
    """(id, updated_at) of each annotation in an event, the time None if it was deleted; [] for events about something else.

    ValueError if it is not an event."""
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
