"""verl-omni's offline DPO data: a prompt with its media and two scored answers, or two generated images."""

from collections.abc import Collection

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, Turn, pair_draft
from pipeline.source.formats.fields import Row, both_or_neither, media_reference, number
from pipeline.source.formats.pick_a_pic import picture_pair
from pipeline.source.formats.turns import one_answer, turns
from pipeline.source.formats.ultrafeedback import reward_fields
from pipeline.source.formats.unread import MEDIA
from pipeline.source.formats.verl import known, question
from schemas.axes import SCORE
from schemas.errors import bad_row

SCORES = ("win_score", "lose_score")
PICTURES = ("img_win", "img_lose")

READS = ("prompt[]", "chosen[]", "rejected[]", *SCORES, *PICTURES, "data_source", *MEDIA)


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    texts = ("prompt", "chosen", "rejected")
    for names in (("prompt", *PICTURES), (*texts, *SCORES), (*texts, "data_source", "reward_model")):
        if set(names) <= set(columns):
            return f"columns {', '.join(names)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. The scores go to the axis `score`, their difference is the margin. Two images are a pair of media, as in Pick-a-Pic.
    RowError if a field is missing or invalid."""
    scores = both_or_neither(*(number(row.get(name), name) for name in SCORES), SCORES)
    if any(row.get(name) is not None for name in PICTURES):
        better, worse = (media_reference(row.get(name), name) for name in PICTURES)
        caption = _caption(turns(row.get("prompt"), "prompt"))
        return picture_pair(caption, better, worse, pair=reward_fields(scores), known=known(row))
    chosen, rejected = (Answer(one_answer(row.get(name), name)) for name in ("chosen", "rejected"))
    return pair_draft(
        question(row), chosen, rejected, pair=reward_fields(scores), known=known(row),
        said=tuple(DraftJudgement((i,), SCORE, score, "verl_omni") for i, score in enumerate(scores or ())),
    )  # fmt: skip


def _caption(prompt: tuple[Turn, ...]) -> str:
    """The caption of the images: the user's only message."""
    asked = [turn for turn in prompt if turn.role == "user"]
    if len(asked) != 1 or any(kind != "text" for kind, _ in asked[0].pieces):
        raise bad_row(
            "prompt is not a single text by the user, so it is not a caption of the two images; remove the row"
        )
    return "".join(value for _, value in asked[0].pieces)
