"""Bodies of chat requests, joined from encoded pieces: each media item is encoded once and cached."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import orjson
import pybase64
from cachetools import LRUCache

from pipeline.media.portable import sent_id
from pipeline.media.sniff import sniff
from pipeline.modeling.request_media import media_of_request, merge_texts, read
from schemas.errors import RowError
from schemas.messages import escape_all, texts_in
from schemas.ports import MediaStore
from schemas.records import Message, Part, Reason
from schemas.special_tokens import Specials

PARTS_BYTES = 64 << 20  # encoded media cached for the next request that shows them
CONTINUED = {
    "add_generation_prompt": False,
    "continue_final_message": True,
}  # vLLM's options for continuing the last turn


class Bodies:
    """Builds the bodies of one model's requests."""

    def __init__(self, model: str, store: MediaStore, kinds: frozenset[str], identity: str, specials: Specials):
        self._head = b'{"model":' + orjson.dumps(model) + b',"messages":['
        self._store, self._kinds, self._identity, self._specials = store, kinds, identity, specials
        self._parts = LRUCache(PARTS_BYTES, getsizeof=lambda pieces: sum(map(len, pieces)))

    def make(self, messages: tuple[Message, ...], options: dict[str, Any]) -> list[bytes]:
        """The body in pieces. RowError for a prompt that cannot be sent: empty, unsupported or missing media, invalid Unicode."""
        media_of_request(messages, self._kinds, self._identity)
        turns = [merge_texts(message.parts) for message in messages]
        texts = iter(escape_all(texts_in(chain.from_iterable(turns)), self._specials))
        pieces = [self._head]
        for message, parts in zip(messages, turns, strict=True):
            pieces += (b'{"role":"', message.role.encode(), b'","content":', *self._content(parts, texts), b"},")
        pieces[-1] = b"}],"
        pieces.append(orjson.dumps(options | CONTINUED if messages[-1].role == "assistant" else options)[1:])
        return pieces

    def _content(self, parts: list[Part], texts: Iterator[str]) -> list[bytes]:
        """The content of a turn; `texts` yields its escaped texts."""
        if len(parts) == 1 and parts[0].type == "text":
            return [_text(next(texts))]
        pieces = [b"["]
        for part in parts:
            pieces += (
                (b'{"type":"text","text":', _text(next(texts)), b"}") if part.type == "text" else self._medium(part)
            )
            pieces.append(b",")
        pieces[-1] = b"]"
        return pieces

    def _medium(self, part: Part) -> tuple[bytes, ...]:
        key = part.type, part.media
        if (made := self._parts.get(key)) is None:
            made = _encode(part, self._portable(part))
            if sum(map(len, made)) <= PARTS_BYTES:
                self._parts[key] = made
        return made

    def _portable(self, part: Part) -> bytes:
        try:
            return self._store.read(sent_id(self._store, part.media or "", part.type))
        except KeyError:
            return read(self._store, part)


def _text(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except orjson.JSONEncodeError as error:
        raise RowError(Reason.ENGINE_REFUSED, "the prompt contains an unpaired surrogate; fix its encoding") from error


def _encode(part: Part, data: bytes) -> tuple[bytes, bytes, bytes]:
    """The part of the body for a media item in its portable form, in pieces."""
    name = f"{part.type} {part.media}"
    form = sniff(data, name)
    encoded = pybase64.b64encode(data)
    if part.type == "audio":
        kind = form.name.lower().encode()  # wav or mp3
        return b'{"type":"input_audio","input_audio":{"format":"%b","data":"' % kind, encoded, b'"}}'
    mime = form.mime if "/" in form.mime else f"{part.type}/{form.mime}"
    kind = part.type.encode()
    return b'{"type":"%b_url","%b_url":{"url":"data:%b;base64,' % (kind, kind, mime.encode()), encoded, b'"}}'
