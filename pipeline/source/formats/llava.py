"""LLaVA conversations with a second, rejected one, as published by POVID and CSR."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, maybe_text, media_of
from pipeline.source.formats.turns import place_media, split_answers, to_conversation
from pipeline.source.formats.unread import MEDIA

NAMES = ("conversations", "rejected_conversations")

READS = (*(f"{name}[]" for name in NAMES), "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(NAMES)}" if set(NAMES) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. RowError if a field is missing or invalid, or the conversations differ before their last message, the answer."""
    prompt, chosen, rejected = split_answers(*(to_conversation(row.get(name), name) for name in NAMES))
    return pair_draft(
        place_media(prompt, media_of(row)), Answer(chosen), Answer(rejected), id=maybe_text(row.get("id"), "id")
    )
