"""VL-RewardBench: two answers a row and people's ranking of them."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, preferred
from pipeline.source.formats.fields import Row, kind, maybe_text, media_of, number, text
from pipeline.source.formats.turns import shown, turns
from schemas.errors import bad_row

OWN = ("human_ranking", "query_source")
GROUPS = {"hallucination": ("hallucination", "rlhf", "rlaif", "povid"), "reasoning": ("mmmu", "mathverse")}
"""The benchmark's groups by what an id says of its origin, in any case (read in lower case only, as its tools once did, most of one
group falls into another)."""


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    own = [name for name in OWN if name in columns]
    if "human_ranking" in columns and {"query", "response"} <= set(columns):
        return f"columns query, response and {', '.join(own)}"
    return None


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row. The sample's `split` is its group: hallucination, reasoning or general."""
    answers, ranks = (_two(row.get(name), name) for name in ("response", "human_ranking"))
    one, two = (number(value, "human_ranking") for value in ranks)
    if one is None or two is None or one == two:
        raise bad_row("human_ranking has no best answer; give each of the two another rank, the best the lowest")
    models = row.get("models")
    names = (
        [maybe_text(name, "models") for name in models]
        if isinstance(models, list) and len(models) == 2
        else [None, None]
    )
    first, second = (Answer(text(answer, "response"), name) for answer, name in zip(answers, names, strict=True))
    chosen, rejected = (first, second) if one < two else (second, first)
    name = maybe_text(row.get("id"), "id")
    return preferred(
        shown(turns(text(row.get("query"), "query"), "query", tags=True), media_of(row)), chosen, rejected,
        known={"split": group(name or "")}, id=name,
    )  # fmt: skip


def group(name: str) -> str:
    """The group of a row by its id."""
    found = (of for of, words in GROUPS.items() if any(word in name.lower() for word in words))
    return next(found, "general")


def _two(value, name: str) -> list:
    if not isinstance(value, list):
        raise bad_row(f"{name} is {kind(value)}; make it a list of two")
    if len(value) != 2:
        raise bad_row(f"{name} has {len(value)} entries; make it a list of two")
    return value
