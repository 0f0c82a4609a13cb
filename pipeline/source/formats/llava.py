"""LLaVA's conversations with a second, rejected one beside them, as POVID and CSR publish their pairs."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, preferred
from pipeline.source.formats.fields import Row, maybe_text, media_of
from pipeline.source.formats.turns import apart, shown, spoken

NAMES = ("conversations", "rejected_conversations")


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    return f"columns {', '.join(NAMES)}" if set(NAMES) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row. Both conversations must be the same up to their last message, the answer."""
    prompt, chosen, rejected = apart(*(spoken(row.get(name), name) for name in NAMES))
    return preferred(shown(prompt, media_of(row)), Answer(chosen), Answer(rejected), id=maybe_text(row.get("id"), "id"))
