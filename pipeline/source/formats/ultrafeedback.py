"""UltraFeedback, binarized: a prompt, two conversations and their scores, under any of the common column names."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, pair_draft
from pipeline.source.formats.fields import Row, both_or_neither, maybe_text, media_of, number
from pipeline.source.formats.trl import prompt_and_answers
from pipeline.source.formats.turns import place_media
from pipeline.source.formats.unread import MEDIA
from schemas.axes import SCORE

SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)  # fmt: skip

READS = ("prompt[]", "chosen[]", "rejected[]", "prompt_id", *(name for pair in SCORES for name in pair), *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    names = next((names for names in SCORES if {"chosen", "rejected", *names} <= set(columns)), None)
    return names and f"columns chosen, rejected and their scores {', '.join(names)}"


def read(row: Row) -> Draft:
    """A Draft. The scores are judgements on the axis `score`; their difference, possibly 0 or negative, is the margin.
    RowError if a field is missing or invalid."""
    prompt, chosen, rejected = prompt_and_answers(row)
    names = next((names for names in SCORES if any(row.get(name) is not None for name in names)), SCORES[0])
    first, second = (number(row.get(name), name) for name in names)
    scores = both_or_neither(first, second, names)
    return pair_draft(
        place_media(prompt, media_of(row)), Answer(chosen), Answer(rejected),
        said=tuple(DraftJudgement((i,), SCORE, score, "ultrafeedback") for i, score in enumerate(scores or ())),
        id=maybe_text(row.get("prompt_id"), "prompt_id"), pair=reward_fields(scores),
    )  # fmt: skip


def reward_fields(scores: tuple[float, float] | None) -> dict[str, float]:
    """The fields of a Pair given by two scores; empty without scores."""
    if scores is None:
        return {}
    return {"margin": scores[0] - scores[1], "reward_chosen": scores[0], "reward_rejected": scores[1]}
