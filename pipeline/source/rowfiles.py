"""Rows of files, one after the other: JSON Lines, JSON arrays, Parquet, Arrow IPC and CSV."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ijson
import orjson
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from schemas.dialects.fields import Cell, bad
from schemas.errors import InputError

BATCH = 64  # Arrow rows at a time: they may carry the bytes of their media
Rows = Iterator[tuple[int, Any]]


def files_of(path: str) -> list[Path]:
    """The file itself, or those of a folder with a known ending, in order; hidden ones are passed over.

    InputError when there is none."""
    root = Path(path)
    if not root.exists():
        raise InputError(f"there is no file or folder {root}; set path to one")
    found = [root] if root.is_file() else sorted(f for f in root.rglob("*.*") if not _hidden(f.relative_to(root)))
    found = [file for file in found if file.suffix in READERS]
    if not found:
        raise InputError(
            f"{root} is not, and holds no, file of rows ({', '.join(READERS)}); convert the rows to one of these"
        )
    return found


def rows_of(file: Path) -> Rows:
    """(number, row) of a file, from 1: of JSON Lines the line's. A row is what stood there, of whatever type; a line that is no JSON
    is its bytes, a line of CSV with too many fields a RowError. InputError when the file cannot be read any further."""
    try:
        yield from READERS[file.suffix](file)
    except (pa.ArrowException, ijson.JSONError, csv.Error, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{file} breaks off or is no {file.suffix} file ({said}); write it anew") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}); mend its rights or set another path") from error


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _lines(file: Path) -> Rows:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.isspace():
                yield number, _parsed(line)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)  # it takes the NaN that Python writes, so that the field can be named
    except (ValueError, RecursionError):
        return line


def _json(file: Path) -> Rows:
    """An array; files of lines are called .json, too."""
    with file.open("rb") as start:
        first = next((byte for block in iter(lambda: start.read(4096), b"") for byte in block.lstrip()[:1]), None)
    if first != ord("["):
        yield from _lines(file)
        return
    with file.open("rb") as array:
        yield from enumerate(ijson.items(array, "item", use_float=True), 1)


def _batched(batches: Iterator[pa.RecordBatch]) -> Rows:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH):
            for row in batch.slice(start, BATCH).to_pylist():
                number += 1
                yield number, row


def _parquet(file: Path) -> Rows:
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as table:
        yield from _batched(table.iter_batches(BATCH))


def _arrow(file: Path) -> Rows:
    with pa.memory_map(str(file)) as source:
        if source.read(6) == b"ARROW1":
            reader = ipc.open_file(source)
            yield from _batched(reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            source.seek(0)
            yield from _batched(iter(ipc.open_stream(source)))


def _csv(file: Path) -> Rows:
    csv.field_size_limit(1 << 30)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 1):
            if None in row:
                yield number, bad("the row has more fields than the header; mend its commas and quotes")
            else:
                yield number, {name: _cell(value) for name, value in row.items()}


def _cell(value: str | None) -> Any:
    """A cell that holds a list or an object in JSON is that; any other is a text that may stand for a number."""
    if not value:
        return None
    if value[0] in "[{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return Cell(value)


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _lines, ".json": _json, ".parquet": _parquet, ".arrow": _arrow, ".csv": _csv,
}  # fmt: skip
