"""The media of a request, checked before any of them is opened."""

from collections.abc import Container

from schemas.errors import RowError
from schemas.messages import texts_in
from schemas.ports import MediaStore
from schemas.records import Message, Part, Reason, media_parts


def media_of_request(messages: tuple[Message, ...], kinds: Container[str], engine: str) -> list[Part]:
    """The media parts of a prompt in order; empty for a text. RowError for an empty prompt, and for a kind not in `kinds`, those that
    `engine` (its identity, for the message) accepts."""
    media = media_parts(messages)
    if not media and not any(text.strip() for message in messages for text in texts_in(message.parts)):
        raise RowError(Reason.EMPTY_PROMPT, "the prompt has neither text nor media; remove the row")
    if strange := {part.type for part in media if part.type not in kinds}:
        raise RowError(
            Reason.UNSUPPORTED_MEDIA, f"{engine} does not accept {min(strange)}; use another model or remove the row"
        )
    return media


def read(store: MediaStore, part: Part) -> bytes:
    """The bytes of a media part. RowError if the store does not have it."""
    try:
        return store.read(part.media or "")
    except KeyError as error:
        detail = f"{part.type} {part.media} is missing from the media store; add the file again"
        raise RowError(Reason.MISSING_FILE, detail) from error


def merge_texts(parts: tuple[Part, ...]) -> list[Part]:
    """The parts with adjacent texts merged, so that a special token that is split across them gets escaped."""
    out: list[Part] = []
    for part in parts:
        if part.type == "text" and out and out[-1].type == "text":
            out[-1] = Part("text", "".join(texts_in((out[-1], part))))
        else:
            out.append(part)
    return out
