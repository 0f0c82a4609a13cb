"""Rows of JSON Lines and Parquet files that say what is asked of which media."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.source.conversation import Shelf, converse
from schemas.errors import InputError, RowError
from schemas.operator import Context
from schemas.operator import Settings as Base
from schemas.records import MEDIA_KINDS, SAMPLE_KINDS, Media, Reason, Rejection, Sample, one_line, sample

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1

Column = Literal[
    "id", "prompt", "image", "images", "video", "videos", "audio", "audios",
    "answer", "answer_type", "facts", "reference", "source", "licence", "split",
]  # fmt: skip
_BATCH = 64  # Parquet rows at a time: they may carry the bytes of their media


class Settings(Base):
    path: str
    """A .jsonl or .parquet file, or a folder of them."""
    columns: dict[Column, str] = Field({})
    """What the file calls its columns, where not as here: {prompt: question, image: image_path}."""
    media_root: str | None = None
    """Folder that media paths are relative to; the folder of the row's file when absent."""
    limit: int | None = Field(None, ge=1)
    """How many rows are read at most, good and bad; all when absent."""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """One Sample a row, behind the Media it shows. A row that is no good is a Rejection named `file#number`, from 1.

    `prompt` is a text or a list of messages `{role, content}`, whose content is a text or a list of parts
    `{type, text | path}`. Media columns hold a path, `{bytes, path}`, or a list of these. They fill the parts that have
    no path; without such parts they stand before the first user message's text.
    InputError when a file cannot be read, when there are no rows, or when none has a column that `columns` names."""
    names: dict[str, str] = {name: name for name in get_args(Column)} | settings.columns
    missing = {names["prompt"], *settings.columns.values()}
    held: dict | None = None
    rows = 0
    for place, row, shelf in islice(_rows(settings, names, context), settings.limit):
        rows += 1
        try:
            held = _object(row)
            missing -= held.keys()
            media, made = _sample(held, names, place, shelf, context.step)
        except RowError as error:
            yield Rejection(place, "samples", context.step, error.reason, f"{place}: {error.detail}")
            continue
        yield from media
        yield made
    if not rows:
        raise InputError(f"{settings.path} holds no rows; set path to a file that has some")
    if missing and held is not None:
        raise _no_columns(settings.path, missing, held)


def _rows(settings: Settings, names: dict[str, str], context: Context) -> Iterator[tuple[str, bytes | dict, Shelf]]:
    """Each row's place, the row itself (of JSON Lines: its line), and the shelf its media lie on."""
    root = Path(settings.path)
    for file in _files(root):
        label = one_line(file.name if file == root else file.relative_to(root).as_posix())
        shelf = Shelf(settings.media_root or str(file.parent), context.media)
        lines = _lines(file) if file.suffix == ".jsonl" else _records(file, names)
        for number, row in lines:
            yield f"{label}#{number}", row, shelf


def _files(root: Path) -> list[Path]:
    if root.is_file():
        files = [root]
    elif root.is_dir():
        files = sorted(file for file in root.rglob("*.*") if not any(p[0] == "." for p in file.relative_to(root).parts))
    else:
        raise InputError(f"there is no file or folder {root}; set path to one")
    files = [file for file in files if file.suffix in (".jsonl", ".parquet")]
    if not files:
        raise InputError(f"{root} is not, and holds no, .jsonl or .parquet file; convert the rows to one of these")
    return files


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.isspace():
                    yield number, line
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); mend its rights or set another path") from error


def _records(file: Path, names: dict[str, str]) -> Iterator[tuple[int, dict]]:
    number = 0
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as table:
            found = table.schema_arrow.names
            if names["prompt"] not in found:
                raise _no_columns(str(file), {names["prompt"]}, found)
            wanted = [name for name in found if name in names.values()]
            for batch in table.iter_batches(_BATCH, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no Parquet file that can be read; write it anew") from error


def _object(row: bytes | dict) -> dict:
    if isinstance(row, dict):
        return row
    try:
        found = orjson.loads(row)
    except orjson.JSONDecodeError as error:
        raise _bad(f"the line is not JSON ({error}); mend it") from error
    if not isinstance(found, dict):
        raise _bad(f"the line is {type(found).__name__}, not an object; write it as {{...}}")
    return found


def _sample(row: dict, names: dict[str, str], place: str, shelf: Shelf, step: str) -> tuple[list[Media], Sample]:
    known = {
        name: _text(name, row.get(names[name]))
        for name in ("answer", "answer_type", "reference", "source", "licence", "split", "id")
    }
    file, _, number = place.rpartition("#")
    known["source"] = known["source"] or f"{file}#{known['id'] or number}"
    del known["id"]
    shown = {kind: _listed(row.get(names[kind])) + _listed(row.get(names[f"{kind}s"])) for kind in MEDIA_KINDS}
    facts = _facts(row.get(names["facts"]))
    messages, media = converse(row.get(names["prompt"]), shown, shelf)
    return media, sample(messages, facts=facts, step=step, **known)


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _bad(f"{name} is {type(value).__name__}; make it a text")


def _facts(value: Any) -> str | None:
    """JSON with sorted keys."""
    if value is None:
        return None
    try:
        found = json.loads(value) if isinstance(value, str) else value
        text = json.dumps(found, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise _bad(f"facts are not JSON ({error}); mend them") from error
    if not isinstance(found, dict):
        raise _bad(f"facts are {type(found).__name__}; make them an object")
    return text


def _listed(value: Any) -> list:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _no_columns(path: str, missing: set[str], found) -> InputError:
    lacks, has = ", ".join(sorted(missing)), ", ".join(sorted(found))
    return InputError(f"{path} has no column {lacks}; it has {has}: say which is which in columns: {{prompt: ...}}")


def _bad(detail: str) -> RowError:
    return RowError(Reason.BAD_ROW, detail)
