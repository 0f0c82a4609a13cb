"""OpenAI's files for preference fine-tuning: an input, a preferred and a non-preferred output."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, type_name
from pipeline.source.formats.turns import one_answer, turns
from schemas.errors import bad_row

OWN = ("input", "preferred_output", "non_preferred_output")

READS = ("input.messages[]", "preferred_output[]", "non_preferred_output[]")


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(OWN)}" if set(OWN) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. RowError if a field is missing or invalid, or an output has several messages."""
    asked = row.get("input")
    if not isinstance(asked, dict):
        raise bad_row(f"input is {type_name(asked)}; use an object with messages")
    chosen, rejected = (Answer(one_answer(row.get(name), name)) for name in OWN[1:])
    return pair_draft(turns(asked.get("messages"), "input.messages"), chosen, rejected)
