"""Anthropic's HH-RLHF: two transcripts of Human and Assistant that differ in the Assistant's last words."""

from collections.abc import Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, text
from pipeline.source.formats.nectar import transcript
from pipeline.source.formats.turns import split_answers

READS = ("chosen", "rejected")


def fits(columns: Mapping[str, Any]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    texts = [columns.get(name) for name in READS]
    spoken = all(isinstance(words, str) and words.lstrip().startswith("Human:") for words in texts)
    return (
        "columns chosen, rejected with transcripts of Human and Assistant"
        if spoken and "prompt" not in columns
        else None
    )


def read(row: Row) -> Draft:
    """A Draft. RowError if a field is missing or invalid, or the transcripts differ before their last words."""
    prompt, chosen, rejected = split_answers(
        *(transcript(text(row.get(name), name), name, answered=True) for name in READS)
    )
    return pair_draft(prompt, Answer(chosen), Answer(rejected))
