"""Pick-a-Pic: two images for one caption, of which a person preferred one."""

from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, Turn, pair_draft
from pipeline.source.formats.fields import Row, maybe_text, media_reference, number, text
from schemas.errors import RowError, bad_row
from schemas.records import Reason

QUESTION = "Write a caption for this picture."
PICTURES = (("jpg_0", "jpg_1"), ("image_0_url", "image_1_url"))

READS = ("caption", *(name for names in PICTURES for name in names), "label_0", "label_1", "has_label", "ranking_id")


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    names = next((names for names in PICTURES if {"caption", "label_0", "label_1", *names} <= set(columns)), None)
    return names and f"columns caption, {', '.join(names)}, label_0, label_1"


def read(row: Row) -> Draft:
    """A Draft: a pair of media. Answers are texts, so an image cannot be one: the caption is the answer on both sides, to the image that
    was preferred and, on the rejected side, to the other. RowError if a field is missing or invalid, or it is a tie."""
    first, second = (number(row.get(name), name) for name in ("label_0", "label_1"))
    if row.get("has_label") is False or first is None or second is None:
        raise bad_row("the row has no label; remove the row")
    if first == second:
        raise RowError(
            Reason.NO_MARGIN, "label_0 and label_1 are equal, so neither image was preferred; remove the row"
        )
    pictures = [_picture(row, place) for place in range(2)]
    better = 0 if first > second else 1
    name = maybe_text(row.get("ranking_id"), "ranking_id")
    return picture_pair(text(row.get("caption"), "caption"), pictures[better], pictures[1 - better], id=name)


def picture_pair(caption: str, better: Any, worse: Any, **known) -> Draft:
    """A Draft that prefers a caption for one image over the same caption for another."""
    prompt = (Turn("user", (("image", better), ("text", QUESTION))),)
    return pair_draft(prompt, Answer(caption), Answer(caption), instead=(worse,), **known)


def _picture(row: Row, place: int) -> Any:
    names = [names[place] for names in PICTURES]
    name = next((name for name in names if row.get(name)), None)
    if name is None:
        raise bad_row(f"{' and '.join(names)} are missing; give the image or its URL")
    return media_reference(row[name], name)
