"""data-juicer: two answers of which people chose one, and its own conversation texts, with <__dj__image> in place of media."""

import re
from collections.abc import Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, Turn, compared_draft, preference
from pipeline.source.formats.fields import Row, maybe_text, media_of, text
from pipeline.source.formats.turns import place_media, split_at_tags, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row

ANSWERS = ("answer1", "answer2")
TOKEN = "__dj__"
_SPEAKER = re.compile(r"\n?\[\[(\w+)\]\]: ?")
_ROLES = {"human": "user", "user": "user", "q": "user", "gpt": "assistant", "assistant": "assistant", "a": "assistant"}

READS = ("prompt[]", *ANSWERS, "chosen", "rejected", "text", "id", *MEDIA)


def fits(columns: Mapping[str, Any]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    if {*ANSWERS, "chosen", "rejected"} <= set(columns):
        return f"columns {', '.join(ANSWERS)}, chosen, rejected"
    words = columns.get("text")
    return f"column text with {TOKEN} tokens" if isinstance(words, str) and TOKEN in words else None


def read(row: Row) -> Draft:
    """A Draft: a judgement on `preference` by people and its pair; or a conversation, whose last answer is the sample's reference.
    RowError if a field is missing or invalid."""
    name = maybe_text(row.get("id"), "id")
    if any(column in row for column in ANSWERS):
        first, second = (_words(row, column) for column in ANSWERS)
        value = _better(row, (first, second))
        prompt = place_media(turns(row.get("prompt"), "prompt", tags=True), media_of(row))
        return compared_draft(
            prompt, (Answer(first), Answer(second)), value, (preference(value, "data_juicer"),), names=ANSWERS, id=name
        )
    before, *rest = _SPEAKER.split(text(row.get("text"), "text"))
    spoken = [(_role(speaker), said) for speaker, said in zip(rest[::2], rest[1::2], strict=True)]
    if not spoken or spoken[0][0] != "user":
        raise bad_row(
            "text has no [[human]] turn, so it asks nothing; write the question as one, or import it with source.rows"
        )
    talk = [Turn(role, split_at_tags(f"{before}{said}" if i == 0 else said)) for i, (role, said) in enumerate(spoken)]
    known = {}
    if talk[-1].role == "assistant":
        known = {"reference": "".join(value for kind, value in talk.pop().pieces if kind == "text").strip()}
    return Draft(place_media(talk, media_of(row)), known=known, id=name)


def _words(row: Row, name: str) -> str:
    """An answer without data-juicer's end-of-chunk token."""
    pieces = split_at_tags(text(row.get(name), name))
    if any(kind != "text" for kind, _ in pieces):
        raise bad_row(f"{name} contains media; only texts can be answers")
    return pieces[0][1]


def _better(row: Row, answers: tuple[str, str]) -> int:
    """1 if the first answer was chosen, -1 if the second: by its column's name, or by its text."""
    chosen, rejected = (_words(row, name) for name in ("chosen", "rejected"))
    for names in (ANSWERS, answers):
        for better in (0, 1):
            if (chosen, rejected) == (names[better], names[1 - better]):
                return 1 - 2 * better
    raise bad_row("chosen and rejected are not answer1 and answer2, by name or by text; correct them")


def _role(speaker: str) -> str:
    if speaker not in _ROLES:
        raise bad_row(f"text has a turn of the unknown speaker [[{speaker:.40}]]; use {', '.join(_ROLES)}")
    return _ROLES[speaker]
