"""VLFeedback: one prompt and the answers of several models, each rated on three axes, in texts or numbers."""

import json
import math
import re
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement
from pipeline.source.formats.fields import Row, as_list, maybe_text, media_of, media_reference, text, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row
from schemas.records import Outcome

READS = (
    "prompt[]", "completions.model", "completions.response", "completions.annotations.*.Rating", "completions.annotations.*.Rationale",
    "img_path", "id", *MEDIA,
)  # fmt: skip

_OF_FIVE = re.compile(
    r"\s*([1-4](?:\.\d{1,9})?|5(?:\.0{1,9})?)\s*/\s*5\s*"
)  # the scale of VLFeedback and UltraFeedback is 1 to 5


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return "columns prompt, completions" if {"prompt", "completions"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft. Answers are rated, not paired: add a pair rule. RowError if a field is missing or invalid.

    A rating that is not a number becomes a judgement without a value; its text is kept."""
    media = media_of(row)
    if paths := [media_reference(path, "img_path") for path in as_list(row.get("img_path"))]:
        media.setdefault("image", paths)
    answers: list[Answer] = []
    ratings: list[DraftJudgement] = []
    for place, entry in enumerate(records(row.get("completions"), "completions")):
        where = f"completions[{place}]"
        model = maybe_text(entry.get("model"), f"{where}.model")
        answers.append(Answer(text(entry.get("response"), f"{where}.response"), model))
        axes = entry.get("annotations")
        if not isinstance(axes, dict):
            raise bad_row(f"{where}.annotations are {type_name(axes)}; use axes with a Rating and a Rationale")
        ratings += [rating(place, axis, judged, f"{where}.annotations.{axis}") for axis, judged in axes.items()]
    if not answers:
        raise bad_row("completions are empty; add at least one")
    return Draft(
        place_media(turns(row.get("prompt"), "prompt", tags=True), media), tuple(answers), tuple(ratings), id=maybe_text(row.get("id"), "id")
    )  # fmt: skip


def rating(place: int, axis: str, entry: Any, where: str, judge: str = "vlfeedback") -> DraftJudgement:
    """The judgement of `{Rating, Rationale}`. The rating is a number, its text, or such a text of the scale's 5 points ("4/5"); another text
    becomes a judgement without a value, which keeps it."""
    if not isinstance(entry, dict):
        raise bad_row(f"{where} is {type_name(entry)}; use {{Rating, Rationale}}")
    given = entry.get("Rating")
    if isinstance(given, bool) or not isinstance(given, int | float):
        given = text(given, f"{where}.Rating")
    words = {"Rating": str(given), "Rationale": maybe_text(entry.get("Rationale"), f"{where}.Rationale")}
    of_five = _OF_FIVE.fullmatch(given) if isinstance(given, str) else None
    try:
        value = float(of_five[1] if of_five else given)
    except (ValueError, OverflowError):
        value = math.nan
    known = math.isfinite(value)
    return DraftJudgement(
        (place,), text(axis, where), value if known else None, judge, json.dumps(words, ensure_ascii=False),
        Outcome.VERDICT if known else Outcome.UNPARSABLE,
    )  # fmt: skip


def records(value: Any, name: str) -> list[dict]:
    """A list of objects, given as such or as nested objects of lists, as `datasets` stores them."""
    if isinstance(value, dict):
        columns = {key: records(v, f"{name}.{key}") if isinstance(v, dict) else v for key, v in value.items()}
        sizes = {key: len(v) if isinstance(v, list) else type_name(v) for key, v in columns.items()}
        if len(set(sizes.values())) > 1 or not all(isinstance(v, list) for v in columns.values()):
            raise bad_row(
                f"{name} have lists of different lengths ({', '.join(f'{k} {n}' for k, n in sizes.items())}); make them equal"
            )
        return [dict(zip(columns, entry)) for entry in zip(*columns.values())]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise bad_row(f"{name} are {type_name(value)}; use a list of objects")
    return value
