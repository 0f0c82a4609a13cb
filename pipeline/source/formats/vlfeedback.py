"""VLFeedback: one prompt, the answers of several models, each rated on three axes; ratings are texts."""

import json
import math
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, Said
from pipeline.source.formats.fields import Row, kind, listed, maybe_text, media_of, named, text
from pipeline.source.formats.turns import shown, turns
from schemas.errors import bad_row
from schemas.records import Outcome


def fits(columns: Collection[str]) -> str | None:
    """Why rows with these columns are of this format; None when they are not."""
    return "columns prompt, completions" if {"prompt", "completions"} <= set(columns) else None


def read(row: Row) -> Draft:
    """A Draft; RowError says what is wrong with the row. Answers are rated, not paired: pair rules do that.

    A rating that is no number is said without a value; its words are kept."""
    media = media_of(row)
    if paths := [named(path, "img_path") for path in listed(row.get("img_path"))]:
        media.setdefault("image", paths)
    answers: list[Answer] = []
    ratings: list[Said] = []
    for place, entry in enumerate(_records(row.get("completions"), "completions")):
        where = f"completions[{place}]"
        model = maybe_text(entry.get("model"), f"{where}.model")
        answers.append(Answer(text(entry.get("response"), f"{where}.response"), model))
        axes = entry.get("annotations")
        if not isinstance(axes, dict):
            raise bad_row(f"{where}.annotations are {kind(axes)}; make them axes with a Rating and a Rationale")
        ratings += [_rating(place, axis, slip, f"{where}.annotations.{axis}") for axis, slip in axes.items()]
    if not answers:
        raise bad_row("completions are empty; give at least one")
    return Draft(
        shown(turns(row.get("prompt"), "prompt"), media), tuple(answers), tuple(ratings), id=maybe_text(row.get("id"), "id")
    )  # fmt: skip


def _rating(place: int, axis: str, slip: Any, where: str) -> Said:
    if not isinstance(slip, dict):
        raise bad_row(f"{where} is {kind(slip)}; make it {{Rating, Rationale}}")
    rating = text(slip.get("Rating"), f"{where}.Rating")
    words = {"Rating": rating, "Rationale": maybe_text(slip.get("Rationale"), f"{where}.Rationale")}
    try:
        value = float(rating)
    except ValueError:
        value = math.nan
    known = math.isfinite(value)
    return Said(
        (place,), text(axis, where), value if known else None, "vlfeedback", json.dumps(words, ensure_ascii=False),
        Outcome.VERDICT if known else Outcome.UNPARSABLE,
    )  # fmt: skip


def _records(value: Any, name: str) -> list[dict]:
    """A list of objects, from itself or from the object of lists that `datasets` makes of it, at any depth."""
    if isinstance(value, dict):
        columns = {key: _records(v, f"{name}.{key}") if isinstance(v, dict) else v for key, v in value.items()}
        sizes = {key: len(v) if isinstance(v, list) else kind(v) for key, v in columns.items()}
        if len(set(sizes.values())) > 1 or not all(isinstance(v, list) for v in columns.values()):
            raise bad_row(f"{name} hold lists of different lengths ({', '.join(f'{k} {n}' for k, n in sizes.items())})")
        return [dict(zip(columns, entry)) for entry in zip(*columns.values())]
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise bad_row(f"{name} are {kind(value)}; make them a list of objects")
    return value
