"""LLaVA-RLHF's human preferences: a conversation, two outputs, and the number of the better one."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, compared_draft, preference
from pipeline.source.formats.fields import Row, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row

OUTPUTS = ("output_1", "output_2")
OWN = ("conversations", *OUTPUTS, "preference")

READS = ("conversations[]", *OUTPUTS, "preference", "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(OWN)}" if set(OWN) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft: a judgement on `preference` and its pair. An assistant's message at the end of the conversation is a placeholder for the
    outputs. RowError if a field is missing or invalid."""
    talk: Any = row.get("conversations")
    if isinstance(talk, list) and len(talk) == 1 and isinstance(talk[0], list):
        (talk,) = talk
    prompt = turns(talk, "conversations", tags=True)
    if prompt and prompt[-1].role == "assistant":
        prompt = prompt[:-1]
    better = number(row.get("preference"), "preference")
    if better not in (1, 2):
        given = "missing" if better is None else f"{better:g}"
        raise bad_row(f"preference is {given}; use 1 if output_1 is better, 2 if output_2 is")
    first, second = (_output(row.get(name), name) for name in OUTPUTS)
    value = 3 - 2 * better
    return compared_draft(
        place_media(prompt, media_of(row)), (first, second), value, (preference(value, "llava_rlhf"),), names=OUTPUTS,
        id=maybe_text(row.get("id"), "id"),
    )  # fmt: skip


def _output(value: Any, name: str) -> Answer:
    if not isinstance(value, dict):
        raise bad_row(f"{name} is {type_name(value)}; use {{from, value}}")
    return Answer(text(value.get("value"), f"{name}.value"))
