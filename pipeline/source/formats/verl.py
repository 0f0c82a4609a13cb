"""verl's RL data: a prompt with its media, and the known answer for the reward function."""

import json
from collections.abc import Collection
from typing import Any

from pipeline.source.formats.draft import Draft, Turn
from pipeline.source.formats.fields import Row, check_exact, maybe_text, media_of, type_name
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import RowError, bad_row
from schemas.records import Reason

OWN = ("prompt", "reward_model")

TOOLS = ("need_tools_kwargs", "tools_kwargs")
READS = (
    "prompt[]", "data_source", "reward_model.ground_truth", "extra_info.index", *(f"extra_info.{name}" for name in TOOLS), *MEDIA,
)  # fmt: skip


def fits(columns: Collection[str]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    return f"columns {', '.join(OWN)}" if set(OWN) <= set(columns) and "chosen" not in columns else None


def read(row: Row) -> Draft:
    """A Draft: a sample. `reward_model.ground_truth` is its answer, `data_source` its source. RowError if a field is missing or invalid."""
    judged, more = (_object(row.get(name), name) for name in ("reward_model", "extra_info"))
    if any(more.get(name) for name in TOOLS):
        raise RowError(Reason.NOT_READ, "extra_info has tools, which are not supported; remove the row")
    truth = judged.get("ground_truth")
    if not isinstance(truth, str | None):
        check_exact([truth], "reward_model.ground_truth")
        truth = json.dumps(truth, ensure_ascii=False, default=str)
    answer = maybe_text(truth, "reward_model.ground_truth")
    return Draft(question(row), known=known(row) | ({"answer": answer} if answer else {}), id=row_id(more))


def question(row: Row) -> tuple[Turn, ...]:
    """The prompt with its media."""
    columns = {name: _paths(row.get(name), name.removesuffix("s")) for name in MEDIA}
    return place_media(turns(row.get("prompt"), "prompt", tags=True), media_of(columns))


def known(row: Row) -> dict[str, str]:
    """Fields of the sample that all rows of verl have."""
    source = maybe_text(row.get("data_source"), "data_source")
    return {"source": source} if source else {}


def row_id(more: dict) -> str | None:
    """The row's name in `extra_info`."""
    return maybe_text(more.get("index"), "extra_info.index")


def _paths(value: Any, medium: str) -> Any:
    """A value of a media column, with `{image: PATH}` and `{video: PATH, fps: ...}` as their paths."""
    if isinstance(value, list):
        return [_paths(inner, medium) for inner in value]
    return value[medium] if isinstance(value, dict) and value.get(medium) else value


def _object(value: Any, name: str) -> dict:
    if not isinstance(value, dict | None):
        raise bad_row(f"{name} is {type_name(value)}; use an object")
    return value or {}
