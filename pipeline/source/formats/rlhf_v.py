"""RLHF-V's dataset on the Hub: question and answers are JSON in the column `text`."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.source.formats.draft import Answer, Draft, pair_draft
from pipeline.source.formats.fields import Row, maybe_text, media_of, media_reference, text
from pipeline.source.formats.turns import place_media, turns
from pipeline.source.formats.unread import MEDIA
from schemas.errors import bad_row

KEYS = ("question", "chosen", "rejected")

READS = (
    "ds_name",
    "text.question",
    "text.chosen",
    "text.rejected",
    "origin_dataset",
    "origin_split",
    "idx",
    "image_path",
    *MEDIA,
)


def fits(columns: Mapping[str, Any]) -> str | None:
    """The columns by which rows are of this format, in words; None if they are not."""
    said = columns.get("text")
    found = said if isinstance(said, dict | str) else ()
    keys = KEYS if isinstance(said, dict) else [f'"{key}"' for key in KEYS]
    return f"column text with {', '.join(KEYS)}" if all(key in found for key in keys) else None


def read(row: Row) -> Draft:
    """A Draft. `chosen` is `rejected`, a model's answer, after a person's corrections. `image_path` is read if there is no `image`.
    RowError if a field is missing or invalid."""
    said, origin = _object(row.get("text"), "text"), row.get("origin_split")
    question, chosen, rejected = (text(said.get(name), f"text.{name}") for name in KEYS)
    media = media_of(row)
    if not media and (path := row.get("image_path")):
        media = {"image": [media_reference(path, "image_path")]}
    source = maybe_text(row.get("origin_dataset"), "origin_dataset") or maybe_text(row.get("ds_name"), "ds_name")
    return pair_draft(
        place_media(turns(question, "text.question", tags=True), media), Answer(chosen), Answer(rejected, _model(origin)),
        known={"source": source} if source else {}, id=maybe_text(row.get("idx"), "idx"),
    )  # fmt: skip


def _object(value: Any, name: str) -> dict:
    if isinstance(value, str):
        try:
            value = json.loads(text(value, name))
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise bad_row(f"{name} is not a JSON object; correct it")
    return value


def _model(origin: Any) -> str | None:
    """The model in `origin_split`, JSON of {model, type}; in other releases it is the name of a split."""
    if not isinstance(origin, str) or not origin.startswith("{"):
        return None
    return maybe_text(_object(origin, "origin_split").get("model"), "origin_split.model")
