"""ORPO-DPO-mix: whole conversations of which `prompt` and `question` repeat the first question."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, maybe_text
from pipeline.source.formats.turns import answers

OWN = ("question", "prompt", "chosen", "rejected")

READS = ("prompt[]", "chosen[]", "rejected[]", "question", "source")


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(OWN)}" if set(OWN) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. The beginning that both conversations share is the prompt. RowError if a field is missing or invalid, or the conversations
    differ before their last message."""
    asked = [row.get(name) for name in ("prompt", "question")]
    prompt, chosen, rejected = answers(
        next(filter(None, asked), None), row.get("chosen"), row.get("rejected"), tags=False
    )
    source = maybe_text(row.get("source"), "source")
    return pair_draft(prompt, Answer(chosen), Answer(rejected), known={"source": source} if source else {})
