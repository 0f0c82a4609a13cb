"""Argilla's preference sets: UltraFeedback's preferences, Capybara, DPO-mix, and Intel's Orca pairs, with the ratings of both answers."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, compared_draft
from pipeline.source.formats.fields import Row, as_list, both_or_neither, maybe_text, media_of, number, type_name
from pipeline.source.formats.turns import answers, place_media
from pipeline.source.formats.ultrafeedback import reward_fields
from pipeline.source.formats.unread import MEDIA
from schemas.axes import RATING
from schemas.errors import bad_row

SIDES = ("chosen", "rejected")
RATINGS = ("{}-rating", "rating_{}", "{}_rating", "{}_avg_rating")
MODELS = ("{}-model", "{}_model")
OWN = (
    ("chosen-rating", "rejected-rating"), ("rating_chosen", "rating_rejected"), ("chosen_response", "rejected_response"),
    ("input", "chosen", "rejected", "labelling_model"),
)  # fmt: skip

READS = (
    "prompt[]", "instruction[]", "input[]", "chosen[]", "rejected[]", "status", "rating", "generations", "labelling_model", "source", "dataset",
    *(form.format(side) for form in ("{}_response", *RATINGS, *MODELS) for side in SIDES), *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    names = next((names for names in OWN if set(names) <= set(columns)), None)
    return names and f"columns {', '.join(names)}"


def read(row: Row) -> Draft:
    """A Draft. The ratings are judgements on `rating` by the labelling model, their difference is the margin; a row whose `status` is tie
    makes no pair. RowError if a field is missing or invalid."""
    asked = next((row[name] for name in ("prompt", "instruction", "input") if row.get(name) is not None), None)
    media, sides = media_of(row), [row.get(f"{side}_response" if f"{side}_response" in row else side) for side in SIDES]
    prompt, chosen, rejected = answers(asked, *sides, tags=bool(media))
    models = [
        next(filter(None, (maybe_text(row.get(form.format(side)), form.format(side)) for form in MODELS)), None)
        for side in SIDES
    ]
    scores = _of_generations(row, (chosen, rejected)) or _ratings(row)
    judge = maybe_text(row.get("labelling_model"), "labelling_model") or "argilla"
    source = maybe_text(row.get("source"), "source") or maybe_text(row.get("dataset"), "dataset")
    return compared_draft(
        place_media(prompt, media), (Answer(chosen, models[0]), Answer(rejected, models[1])),
        0 if row.get("status") == "tie" else 1,
        tuple(DraftJudgement((i,), RATING, score, judge) for i, score in enumerate(scores or ())),
        names=SIDES, pair=reward_fields(scores), known={"source": source} if source else {},
    )  # fmt: skip


def _ratings(row: Row) -> tuple[float, float] | None:
    for form in RATINGS:
        names = (form.format("chosen"), form.format("rejected"))
        if scores := both_or_neither(*(number(row.get(name), name) for name in names), names):
            return scores
    return None


def _of_generations(row: Row, pair: tuple[str, str]) -> tuple[float, float] | None:
    """The ratings of the two answers where `rating` rates `generations`, in which they are found by their texts."""
    values: Any = row.get("rating")
    if values is None:
        return None
    texts = as_list(row.get("generations"))
    if not isinstance(values, list) or len(values) != len(texts):
        size = len(values) if isinstance(values, list) else type_name(values)
        raise bad_row(f"there are {len(texts)} generations, but {size} ratings; give one for each")
    found = {words: number(value, "rating") for words, value in zip(texts, values) if isinstance(words, str)}
    return both_or_neither(
        *(found.get(answer) for answer in pair), ("the chosen answer's rating", "the rejected answer's rating")
    )
