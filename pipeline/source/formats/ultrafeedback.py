"""UltraFeedback: an instruction and four rated completions; or binarized: two conversations and their scores, under any of the common
column names."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, pair_draft
from pipeline.source.formats.fields import Row, both_or_neither, maybe_text, media_of, number, text, type_name
from pipeline.source.formats.trl import prompt_and_answers
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from pipeline.source.formats.vlfeedback import rating, records
from schemas.axes import SCORE
from schemas.errors import bad_row

SCORES = (
    ("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen_rating", "rejected_rating"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)  # fmt: skip

READS = (
    "prompt[]", "chosen[]", "rejected[]", "prompt_id", *(name for pair in SCORES for name in pair), "instruction[]", "source",
    *(f"completions.{key}" for key in ("model", "response", "overall_score")),
    *(f"completions.annotations.*.{key}" for key in ("Rating", "Rationale", "Rationale For Rating")), *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    if {"instruction", "completions"} <= set(columns):
        return "columns instruction, completions"
    names = next((names for names in SCORES if {"chosen", "rejected", *names} <= set(columns)), None)
    return names and f"columns chosen, rejected and their scores {', '.join(names)}"


def read(row: Row) -> Draft:
    """A Draft. The scores are judgements on the axis `score`; their difference, possibly 0 or negative, is the margin. Completions are rated
    on each aspect and on `overall_score`, not paired: add a pair rule. RowError if a field is missing or invalid."""
    if row.get("completions") is not None:
        return _completions(row)
    prompt, chosen, rejected = prompt_and_answers(row)
    names = next((names for names in SCORES if any(row.get(name) is not None for name in names)), SCORES[0])
    first, second = (number(row.get(name), name) for name in names)
    scores = both_or_neither(first, second, names)
    return pair_draft(
        place_media(prompt, media_of(row)), Answer(chosen), Answer(rejected),
        said=tuple(DraftJudgement((i,), SCORE, score, "ultrafeedback") for i, score in enumerate(scores or ())),
        id=maybe_text(row.get("prompt_id"), "prompt_id"), pair=reward_fields(scores),
    )  # fmt: skip


def _completions(row: Row) -> Draft:
    answers: list[Answer] = []
    said: list[DraftJudgement] = []
    for place, entry in enumerate(records(row["completions"], "completions")):
        where = f"completions[{place}]"
        answers.append(
            Answer(text(entry.get("response"), f"{where}.response"), maybe_text(entry.get("model"), f"{where}.model"))
        )
        aspects = entry.get("annotations")
        if not isinstance(aspects, dict):
            raise bad_row(f"{where}.annotations are {type_name(aspects)}; use aspects with a Rating and a Rationale")
        for aspect, slip in aspects.items():
            at = f"{where}.annotations.{aspect}"
            if isinstance(slip, dict):  # two aspects have a type with a reason of its own
                reasons = [slip.get(name) for name in ("Rationale For Rating", "Rationale")]
                slip = {"Rating": slip.get("Rating"), "Rationale": next(filter(None, reasons), None)}
            said.append(rating(place, aspect, slip, at, "ultrafeedback"))
        overall = number(entry.get("overall_score"), f"{where}.overall_score")
        said += [] if overall is None else [DraftJudgement((place,), "overall_score", overall, "ultrafeedback")]
    if not answers:
        raise bad_row("completions are empty; add at least one")
    source = maybe_text(row.get("source"), "source")
    prompt = place_media(turns(row.get("instruction"), "instruction", tags=True), media_of(row))
    return Draft(prompt, tuple(answers), tuple(said), known={"source": source} if source else {})


def reward_fields(scores: tuple[float, float] | None) -> dict[str, float]:
    """The fields of a Pair given by two scores; empty without scores."""
    if scores is None:
        return {}
    return {"margin": scores[0] - scores[1], "reward_chosen": scores[0], "reward_rejected": scores[1]}
