"""Multimodal RewardBench: `Output1`, `Output2`, and which of them is better."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, as_list, maybe_text, media_reference, text
from pipeline.source.formats.turns import place_media, turns
from schemas.errors import bad_row

OUTPUTS = ("Output1", "Output2")
PARTS = {"safety": ("pairs", "bias", "toxicity"), "reasoning": ("math", "math", "coding")}
"""Categories counted in two parts: id prefix of the first part, and the names of both parts."""

READS = ("Text", "Image", *OUTPUTS, "Better", "Category", "Meta.Category", "ID")


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return "columns Text, Output1, Output2 and Better" if {"Text", *OUTPUTS, "Better"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. The sample's `split` is its category; for safety and reasoning, with the part. RowError if a field is missing or invalid."""
    better = row.get("Better")
    if better not in OUTPUTS:
        raise bad_row(f"Better is {str(better)[:40]!r}; use Output1 or Output2")
    chosen, rejected = (Answer(text(row.get(name), name)) for name in sorted(OUTPUTS, key=lambda name: name != better))
    media = {"image": [media_reference(value, "Image") for value in as_list(row.get("Image"))]}
    name = maybe_text(row.get("ID"), "ID")
    category = _category(row, name or "")
    return pair_draft(
        place_media(turns(text(row.get("Text"), "Text"), "Text", tags=True), media), chosen, rejected,
        known={"split": category} if category else {}, id=name,
    )  # fmt: skip


def _category(row: Row, name: str) -> str | None:
    found = maybe_text(row.get("Category"), "Category")
    if found is None and isinstance(meta := row.get("Meta"), dict):
        found = maybe_text(meta.get("Category"), "Meta.Category")
    if found not in PARTS:
        return found
    begins, first, second = PARTS[found]
    return f"{found}/{first if name.lower().startswith(begins) else second}"
