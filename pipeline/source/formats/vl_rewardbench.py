"""VL-RewardBench: two answers per row and their human ranking."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row

OWN = ("human_ranking", "query_source")
GROUPS = {"hallucination": ("hallucination", "rlhf", "rlaif", "povid"), "reasoning": ("mmmu", "mathverse")}
"""The benchmark's groups, by parts of an id in any case (matched in lower case only, as its tools once did, most of one group would
fall into another)."""

READS = ("query", "response", "human_ranking", "models", "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    own = [name for name in OWN if name in columns]
    if "human_ranking" in columns and {"query", "response"} <= set(columns):
        return f"columns query, response and {', '.join(own)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. The sample's `split` is its group: hallucination, reasoning or general. RowError if a field is missing or invalid."""
    answers, ranks = (_two(row.get(name), name) for name in ("response", "human_ranking"))
    first_rank, second_rank = (number(value, "human_ranking") for value in ranks)
    if first_rank is None or second_rank is None or first_rank == second_rank:
        raise bad_row(
            "human_ranking has no best answer; give the two answers different ranks, the lower for the better one"
        )
    models = row.get("models")
    names = (
        [maybe_text(name, "models") for name in models]
        if isinstance(models, list) and len(models) == 2
        else [None, None]
    )
    first, second = (Answer(text(answer, "response"), name) for answer, name in zip(answers, names, strict=True))
    chosen, rejected = (first, second) if first_rank < second_rank else (second, first)
    name = maybe_text(row.get("id"), "id")
    return pair_draft(
        place_media(turns(text(row.get("query"), "query"), "query", tags=True), media_of(row)), chosen, rejected,
        known={"split": group(name or "")}, id=name,
    )  # fmt: skip


def group(name: str) -> str:
    """The benchmark's group of a row id; `general` if no other matches."""
    found = (title for title, words in GROUPS.items() if any(word in name.lower() for word in words))
    return next(found, "general")


def _two(value, name: str) -> list:
    if not isinstance(value, list):
        raise bad_row(f"{name} is {type_name(value)}; use a list of two")
    if len(value) != 2:
        raise bad_row(f"{name} has {len(value)} entries; use a list of two")
    return value
