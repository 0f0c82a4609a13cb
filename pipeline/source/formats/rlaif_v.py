"""RLAIF-V: the dataset on the Hub, and the files written by its pair stage, which include the judge's scores."""

import json
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, DraftJudgement, pair_draft
from pipeline.source.formats.fields import (
    Cell,
    Row,
    as_list,
    both_or_neither,
    maybe_text,
    media_of,
    media_reference,
    number,
    text,
    type_name,
)
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.ultrafeedback import reward_fields
from pipeline.source.formats.unread import MEDIA
from schemas.axes import SCORE
from schemas.errors import bad_row

OWN = ("ds_name", "ds_question_id", "origin_dataset", "origin_split", "org_infos")

READS = (
    "question", "chosen", "rejected", "image_path", "origin_split", "origin_dataset", "ds_name", "ds_question_id", "idx",
    *(f"org_infos.scores.{side}.{key}" for side in ("chosen", "rejected") for key in ("judge", "score")), *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    own = [name for name in OWN if name in columns]
    if own and {"question", "chosen", "rejected"} <= set(columns):
        return f"columns question, chosen, rejected and {', '.join(own)}"
    return None


def read(row: Row) -> Draft:
    """A Draft. `image_path` is read if there is no `image`; `logps` are not imported, since the row does not name their model.
    RowError if a field is missing or invalid."""
    media = media_of(row)
    if not media and (path := row.get("image_path")):
        media = {"image": [media_reference(path, "image_path")]}
    origin = _origin(row.get("origin_split"))
    model = maybe_text(origin.get("model"), "origin_split.model")
    ratings, scores = _scores(row.get("org_infos"))
    source = maybe_text(row.get("origin_dataset"), "origin_dataset") or maybe_text(row.get("ds_name"), "ds_name")
    ids = [maybe_text(row.get(name), name) for name in ("ds_question_id", "idx")]
    name = next(filter(None, ids), None)
    source = f"{source}#{name}" if source and name else source
    return pair_draft(
        place_media(turns(text(row.get("question"), "question"), "question", tags=True), media),
        Answer(text(row.get("chosen"), "chosen"), model), Answer(text(row.get("rejected"), "rejected"), model),
        said=ratings, known={"source": source} if source else {}, id=name, pair=reward_fields(scores),
    )  # fmt: skip


def _origin(value: Any) -> dict:
    """The content of `origin_split`, a JSON text; empty if there is none."""
    if value is None:
        return {}
    try:
        found = json.loads(text(value, "origin_split"))
    except (ValueError, RecursionError):
        return {}  # not JSON: older rows contain the name of their split
    return found if isinstance(found, dict) else {}


def _scores(infos: Any) -> tuple[tuple[DraftJudgement, ...], tuple[float, float] | None]:
    """The judges' scores in `org_infos.scores`, and both numbers if both are given."""
    if infos is None:
        return (), None
    if not isinstance(infos, dict):
        raise bad_row(f"org_infos are {type_name(infos)}; use an object")
    scores = infos.get("scores")
    if scores is None:
        return (), None
    if not isinstance(scores, dict):
        raise bad_row(f"org_infos.scores are {type_name(scores)}; use an object with chosen and rejected")
    ratings, values = [], []
    for place, side in enumerate(("chosen", "rejected")):
        where = f"org_infos.scores.{side}"
        entry = (as_list(scores.get(side)) or [None])[0]
        if not isinstance(entry, dict):
            raise bad_row(f"{where} is {type_name(entry)}; use {{judge, score}}")
        score, judge, raw = entry.get("score"), entry.get("judge"), None
        value = number(
            Cell(score) if isinstance(score, str) else score, f"{where}.score"
        )  # the pair stage writes texts
        values.append(value)
        if isinstance(judge, dict):  # the verdict on each claim, by its question
            judge, raw = None, json.dumps(judge, ensure_ascii=False, default=str)
        if value is not None:
            said = maybe_text(judge, f"{where}.judge") or "rlaif_v"
            ratings.append(DraftJudgement((place,), SCORE, value, said, raw))
    return tuple(ratings), both_or_neither(
        *values, ("org_infos.scores.chosen.score", "org_infos.scores.rejected.score")
    )
