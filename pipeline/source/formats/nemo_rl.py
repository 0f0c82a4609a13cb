"""NeMo RL's preference data: a context and ranked completions; rank 0 is the best."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, compared_draft
from pipeline.source.formats.fields import Row, maybe_text, media_of, number, type_name
from pipeline.source.formats.turns import one_answer, place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.axes import RANK
from schemas.errors import bad_row

OWN = ("context", "completions")

READS = ("context[]", "completions.completion[]", "completions.rank", "id", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(OWN)}" if set(OWN) <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft: a judgement on `rank` per completion, and a pair of two; equal ranks and more than two completions make no pair.
    RowError if a field is missing or invalid."""
    media = media_of(row)
    prompt = place_media(turns(row.get("context"), "context", tags=bool(media)), media)
    entries = row.get("completions")
    if not isinstance(entries, list) or len(entries) < 2:
        given = f"a list of {len(entries)}" if isinstance(entries, list) else type_name(entries)
        raise bad_row(f"completions are {given}; use a list of two or more {{rank, completion}}")
    found = [_completion(entry, f"completions[{i}]") for i, entry in enumerate(entries)]
    answers = tuple(Answer(words) for words, _ in found)
    said = tuple(DraftJudgement((i,), RANK, 0.0 - rank, "nemo_rl") for i, (_, rank) in enumerate(found))
    name = maybe_text(row.get("id"), "id")
    if len(answers) > 2:
        return Draft(prompt, answers, said, id=name)
    return compared_draft(
        prompt,
        (answers[0], answers[1]),
        found[1][1] - found[0][1],
        said,
        names=("completions[0]", "completions[1]"),
        id=name,
    )


def _completion(entry: Any, name: str) -> tuple[str, float]:
    if not isinstance(entry, dict):
        raise bad_row(f"{name} is {type_name(entry)}; use {{rank, completion}}")
    rank = number(entry.get("rank"), f"{name}.rank")
    if rank is None:
        raise bad_row(f"{name}.rank is missing; give 0 to the best completion, 1 to the next")
    return one_answer(entry.get("completion"), f"{name}.completion"), rank
