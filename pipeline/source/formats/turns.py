"""Messages as the formats write them, with a slot in the place of each medium."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.source.formats.draft import Piece, Turn
from pipeline.source.formats.fields import Media, kind, named, text
from schemas.errors import RowError, bad_row
from schemas.records import MEDIA_KINDS, Reason

ROLES = {"human": "user", "gpt": "assistant"}  # what ShareGPT and LLaVA call them
_TAG = re.compile(r"\n?<(image|video|audio)>\n?")


def tagged(words: str) -> tuple[Piece, ...]:
    """A text cut at its <image>, <video> and <audio>; the line breaks beside them belong to a model's template and go."""
    found: list[Piece] = []
    for place, part in enumerate(_TAG.split(words)):
        if place % 2:
            found.append((part, None))
        elif part:
            found.append(("text", part))
    return tuple(found) or (("text", ""),)


def plain(words: str) -> tuple[Piece, ...]:
    return (("text", words),)


def turns(value: Any, name: str, tags: bool = False) -> tuple[Turn, ...]:
    """A text as one user's message; a list of `{role, content}` or `{from, value}` as messages.

    Content is a text or a list of parts `{type: text, text}`, `{type: image | video | audio}`, which may hold what it shows under its type's
    name, path or url, and `{type: image_url, image_url: {url}}`. With `tags`, <image> in a text is a slot."""
    cut = tagged if tags else plain
    if isinstance(value, str):
        return (Turn("user", cut(text(value, name))),)
    if not isinstance(value, list):
        raise bad_row(f"{name} is {kind(value)}; make it a text or a list of messages")
    return tuple(turn(message, f"{name}[{place}]", cut) for place, message in enumerate(value))


def turn(message: Any, name: str, cut=plain) -> Turn:
    """One message."""
    if not isinstance(message, dict):
        raise bad_row(f"{name} is {kind(message)}; make it a message {{role, content}}")
    keys = ("from", "value") if "from" in message else ("role", "content")
    role, content = (message.get(key) for key in keys)
    if not isinstance(role, str):
        raise bad_row(f"{name}.{keys[0]} is {kind(role)}; make it a role")
    where, role = f"{name}.{keys[1]}", ROLES.get(role, role)
    if isinstance(content, list):
        return Turn(role, tuple(piece for i, part in enumerate(content) for piece in _part(part, f"{where}[{i}]", cut)))
    return Turn(role, cut(text(content, where)))


def _part(part: Any, name: str, cut) -> tuple[Piece, ...]:
    medium = part.get("type") if isinstance(part, dict) else None
    if medium == "text":
        return cut(text(part.get("text"), f"{name}.text"))
    if isinstance(medium, str) and medium.removesuffix("_url") in MEDIA_KINDS:
        values = [part.get(key) for key in (medium, "path", "url")]
        value = next((value for value in values if value is not None), None)
        if isinstance(value, dict) and "url" in value:
            value = value["url"]
        return ((medium.removesuffix("_url"), None if value is None else named(value, name)),)
    found = f"of type {medium!r}" if isinstance(medium, str) else "without a type"
    raise RowError(Reason.UNSUPPORTED_MEDIA, f"{name} is a part {found}; the types are text, {', '.join(MEDIA_KINDS)}")


def shown(prompt: Sequence[Turn], media: Media) -> tuple[Turn, ...]:
    """The prompt with `media` in its empty slots, in order.

    Without a slot of a kind they stand before the first user's text; else there must be as many: a RowError has both numbers."""
    empty = Counter(kind for turn in prompt for kind, value in turn.pieces if kind != "text" and value is None)
    front: list[Piece] = []
    for medium in MEDIA_KINDS:
        values = media.get(medium, [])
        if values and not empty[medium]:
            front += [(medium, value) for value in values]
        elif empty[medium] != len(values):
            raise bad_row(
                f"the prompt has {empty[medium]} places for {medium} files, the row holds {len(values)}; make them as many"
            )
    files: dict[str, Iterator] = {medium: iter(media.get(medium, ())) for medium in MEDIA_KINDS}
    found = [Turn(role, tuple((k, next(files[k]) if v is None else v) for k, v in pieces)) for role, pieces in prompt]
    first = next((i for i, turn in enumerate(found) if turn.role == "user"), None)
    if front and first is None:
        raise bad_row("the prompt has media and no user's message to show them in; add one")
    if front and first is not None:
        found[first] = Turn("user", (*front, *found[first].pieces))
    return tuple(found)


def instead(prompt: Sequence[Turn], media: Media) -> tuple[Any, ...] | None:
    """What stands in for the media of the prompt, one for one: `media` for those of their kinds, the same for others.

    None where `media` is empty. RowError with both numbers when there are more or fewer."""
    if not media:
        return None
    slots = [piece for turn in prompt for piece in turn.pieces if piece[0] != "text"]
    for medium, values in media.items():
        count = sum(kind == medium for kind, _ in slots)
        if count != len(values):
            raise bad_row(
                f"the prompt shows {count} {medium} files, the rejected side {len(values)}; make them as many"
            )
    files = {medium: iter(values) for medium, values in media.items()}
    return tuple(next(files[kind]) if kind in files else value for kind, value in slots)


def said(turn: Turn, name: str) -> str:
    """The text of an assistant's message. RowError for another role, and for one that shows media."""
    if turn.role != "assistant":
        raise bad_row(f"the last message of {name} is of {turn.role!r:.40}; end it with the assistant's answer")
    if any(kind != "text" for kind, _ in turn.pieces):
        raise RowError(Reason.UNSUPPORTED_MEDIA, f"the answer in {name} shows media; only texts can be answers")
    return "".join(value for _, value in turn.pieces)


def apart(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected) of two conversations that differ in their last message only, the answer."""
    if not chosen or not rejected:
        raise bad_row(f"{'chosen' if not chosen else 'rejected'} has no messages; write the answer or drop the row")
    if tuple(chosen[:-1]) != tuple(rejected[:-1]):
        raise bad_row("chosen and rejected differ before their last message; make a row of each answer")
    return tuple(chosen[:-1]), said(chosen[-1], "chosen"), said(rejected[-1], "rejected")


def answers(prompt: Any, chosen: Any, rejected: Any) -> tuple[tuple[Turn, ...], str, str]:
    """(prompt, chosen, rejected) where each side is a text, an assistant's message, or the whole conversation.

    A prompt that is said twice must be the same."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        return turns(prompt, "prompt"), text(chosen, "chosen"), text(rejected, "rejected")
    before, better, worse = apart(_talk(chosen, "chosen"), _talk(rejected, "rejected"))
    if prompt is None:
        return before, better, worse
    asked = turns(prompt, "prompt")
    if before and before != asked and not (isinstance(prompt, str) and before[-1].pieces == asked[-1].pieces):
        raise bad_row("prompt is not what chosen and rejected begin with; make them the same")
    return before or asked, better, worse


def _talk(value: Any, name: str) -> tuple[Turn, ...]:
    if isinstance(value, str):
        return (Turn("assistant", plain(text(value, name))),)
    return turns([value] if isinstance(value, dict) else value, name)


def spoken(value: Any, name: str) -> tuple[Turn, ...]:
    """A conversation that ends with its answer: tags are slots in all messages but that one."""
    if not isinstance(value, list):
        raise bad_row(f"{name} is {kind(value)}; make it a list of messages")
    before = turns(value[:-1], name, tags=True)
    return (*before, *(turn(message, f"{name}[{len(before)}]") for message in value[-1:]))
