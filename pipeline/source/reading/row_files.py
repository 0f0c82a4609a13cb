"""Reads row files of all formats as a stream; each row is named `file#number`.

JSON Lines (`.jsonl`, `.ndjson`), JSON (`.json`: an array, lines, or one object that is a row or holds the rows under a key), CSV and TSV, Parquet, Arrow and Feather (IPC files and streams);
text formats also as `.gz`, `.zst` or `.bz2`. Files may be local or at a URL. A row's number is its line in JSON Lines, otherwise the
row index, from 1."""

import csv
import heapq
import io
import os
import re
from collections.abc import Callable, Collection, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.media.fetch import Limits
from pipeline.source.reading import bounds, files, json_rows
from pipeline.source.reading.columnar import Selection, arrow, missing_columns_error, parquet
from pipeline.storage import memory_limit, urls
from schemas.errors import InputError, RowError, bad_row
from schemas.operator import OperatorSettings as Base
from schemas.records import Reason

_LONGEST = bounds.LONGEST
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BOOKKEEPING = (
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
)  # files of `datasets` without rows
_LONGEST_OBJECT = 16 << 20  # bytes of a .json file that is one object: it is parsed as a whole
_BOM = b"\xef\xbb\xbf"

Raw = bytes | dict | RowError  # an unparsed line, a parsed row, or an error


class Sampling(Base):
    """A seeded sample of the rows, drawn by their content: adding or reordering rows does not change which existing rows are drawn."""

    n: int | None = Field(None, ge=1)
    """number of rows drawn; the file is read twice"""
    share: float | None = Field(None, gt=0, lt=1)
    """share of the rows drawn, each independently; instead of n"""
    seed: int = 0
    """seed of the draw"""

    @model_validator(mode="after")
    def _exactly_one(self):
        if (self.n is None) == (self.share is None):
            raise ValueError("set either n or share")
        return self


class Row(NamedTuple):
    """A row; lines are not parsed yet."""

    place: str  # file#number
    folder: str  # path or URL that its relative paths start from
    raw: Raw
    media: tuple = ()  # further media besides the columns: paths or {bytes, path}, of any kind
    cells: bool = False  # its values are the cells of a CSV file: texts

    def values(self, reads: Collection[str] | None = None) -> dict[str, Any]:
        """The row's values by column. RowError BAD_ROW if it is not a JSON object, or if JSON cannot represent the value of a column in
        `reads` (None: of any column)."""
        if isinstance(self.raw, dict):
            return self.raw
        if isinstance(self.raw, RowError):
            raise self.raw
        return json_rows.parse(self.raw, "line", reads)


def read(
    path: str, *, columns: Selection | None = None, need: str | None = None, limit: int | None = None,
    sample: Sampling | None = None, fetch: Limits | None = None, below: str | None = None,
) -> Iterator[Row]:  # fmt: skip
    """The rows of a file, or of all row files in a folder in order of their names; `path#n` means the first n.

    `columns`: those read from a table (None: all). `need`: a column that a table must have. `limit`: maximum number of rows, valid or
    not; `sample` draws from these. `below`: a folder that the files must be in, after resolving links. In a folder, a file that is not
    regular becomes one row with a RowError.
    InputError if a file does not exist, has an unknown format, is unreadable as a whole, or lacks the needed column."""
    path, first = limited(path)
    max_rows = min((n for n in (first, limit) if n), default=None)
    return draw_sample(lambda: islice(_rows(path, columns, need, fetch or Limits(), below), max_rows), sample)


def draw_sample(every: Callable[[], Iterator[Row]], sample: Sampling | None) -> Iterator[Row]:
    """The rows that `sample` draws, in order; all rows without it. `every` returns an iterator from the first row, and may be called twice."""
    if sample is None:
        yield from every()
    elif sample.share is not None:
        yield from (row for row in every() if _draw(row, sample.seed) < sample.share)
    elif sample.n is not None:  # one of the two is set
        least: list[tuple[float, int]] = []  # heap of the n smallest draws, negated: the largest of them comes first
        for at, row in enumerate(every()):
            held = (-_draw(row, sample.seed), -at)
            if len(least) < sample.n:
                heapq.heappush(least, held)
            elif held > least[0]:
                heapq.heapreplace(least, held)
        drawn = {-at for _, at in least}
        yield from (row for at, row in enumerate(every()) if at in drawn)


def readable(name: str) -> bool:
    """Whether a file with this name can contain rows, judging by the name alone."""
    return _format(name) is not None and files.base(name) not in _BOOKKEEPING


def limited(path: str) -> tuple[str, int | None]:
    """The path, and n of `path#n`, the first n rows of it; None if it names no number."""
    found = re.fullmatch(r"(.+)#([1-9]\d*)", path, re.DOTALL)
    return (found[1], int(found[2])) if found and not os.path.exists(path) else (path, None)


def _draw(row: Row, seed: int) -> float:
    """A number in [0, 1) determined by the row's content and the seed."""
    raw = row.raw
    if isinstance(raw, dict):
        hashed = lambda value: sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)
        try:
            raw = orjson.dumps(raw, default=hashed, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:  # nested too deeply
            raw = row.place.encode(errors="surrogatepass")
    elif isinstance(raw, RowError):
        raw = row.place.encode(errors="surrogatepass")
    return int.from_bytes(sha256(b"%d\0" % seed + raw.strip()).digest()[:8]) / 2**64


def _rows(path: str, columns: Selection | None, need: str | None, limits: Limits, below: str | None) -> Iterator[Row]:
    for file, label in list_row_files(path):
        try:
            yield from _file(file, label, columns, need, limits, below)
        except files.Refused as error:
            if file == path:
                raise
            yield Row(label, files.parent(file), error.as_row())


def _file(
    file: str, label: str, columns: Selection | None, need: str | None, limits: Limits, below: str | None
) -> Iterator[Row]:
    reader, compression = _format(file) or (_jsonl, None)
    name = urls.clean(file) if urls.is_url(file) else file
    with files.opened(file, limits, below) as opened:
        stream = pa.CompressedInputStream(opened, compression) if compression else opened
        folder = files.parent(file)
        if columns:
            columns.left = ()
        try:
            for number, raw in reader(stream, name, columns, need):
                yield Row(f"{label}#{number}", folder, raw, (), reader in (_csv, _tsv))
        except MemoryError as error:
            what = f"{_NAMES[reader]} within {memory_limit.MOST >> 20} MB of memory"
            raise InputError(f"cannot read {name} as {what}; write it with smaller pages, batches or rows") from error
        except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {name} as {_NAMES[reader]} (corrupt?); regenerate the file") from error


def list_row_files(root: str) -> list[tuple[str, str]]:
    """(path or URL, name in messages) of each row file. InputError if there is none."""
    label = urls.clean(root) if urls.is_url(root) else root
    if files.is_file(root):
        found = [(root, files.base(root))] if readable(files.base(root)) else []
    elif urls.is_url(root) or os.path.isdir(root):
        names = sorted(filter(readable, files.walk(root)), key=lambda name: PurePosixPath(name).parts)
        found = [(files.join(root, name), name) for name in names]
    else:
        raise files.no_such_file_error(root)
    if not found:
        raise InputError(
            f"{label} is not a row file, or a folder with one (.jsonl, .json, .csv, .tsv, .parquet, .arrow, .feather); "
            "convert the rows to one of these formats"
        )
    return found


def _format(name: str) -> "tuple[Reader, str | None] | None":
    """The reader and compression for a file name; None if it is not a row format."""
    stem, suffix = os.path.splitext(files.base(name).lower())
    if compression := _COMPRESSED.get(suffix):
        reader = _READERS.get(os.path.splitext(stem)[1])
        return (reader, compression) if reader and reader in (_jsonl, _json, _csv, _tsv) else None
    reader = _READERS.get(suffix)
    return (reader, None) if reader else None


Reader = Callable[[io.BufferedIOBase, str, Selection | None, str | None], Iterator[tuple[int, Raw]]]


def _jsonl(file: io.BufferedIOBase, name: str, columns, need) -> Iterator[tuple[int, Raw]]:
    return _lines(io.BufferedReader(file, 1 << 20).readline)


def _lines(readline: Callable[[int], bytes]) -> Iterator[tuple[int, Raw]]:
    number = 0
    while line := readline(_LONGEST):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            del line
            while (more := readline(1 << 20)) and not more.endswith(b"\n"):
                pass
            yield number, bounds.too_long("line")
        elif line and not line.isspace():
            yield number, line


def _json(file: io.BufferedIOBase, name: str, columns, need) -> Iterator[tuple[int, Raw]]:
    file = io.BufferedReader(file, 1 << 16)
    if file.peek(3).startswith(_BOM):
        file.read(3)
    start = file.peek(1).lstrip()[:1]
    if start == b"{":
        yield from _objects(file, name)
        return
    number = 0
    try:
        for item in json_rows.Items(file):
            number += 1
            yield number, item if item.__class__ is dict else _parsed(item)
    except EOFError as error:
        raise InputError(
            f"cannot read {name} as a JSON array: broken after row {number}; regenerate the file"
        ) from error


def _objects(file: Any, name: str) -> Iterator[tuple[int, Raw]]:
    """The rows of a .json file that begins with an object: lines, or one object that is a row or holds the rows under one of its keys."""
    held = [file.readline(_LONGEST)]
    while held[-1].isspace():  # blank lines
        held.append(file.readline(_LONGEST))
    if held[-1].rstrip()[-1:] not in (b"{", b"[", b","):  # the first line is a whole object, or a broken one
        held.append(file.readline(_LONGEST))
        while held[-1].isspace():
            held.append(file.readline(_LONGEST))
        if held[-1] or not json_rows.is_object(held[-2]):
            yield from _lines(lambda size: held.pop(0) if held else file.readline(size))
            return
    data = b"".join(held) + file.read(_LONGEST_OBJECT)
    if len(data) > _LONGEST_OBJECT:
        raise InputError(
            f"{name} is one JSON object of more than {_LONGEST_OBJECT >> 20} MiB; write its rows as lines, or as an array"
        )
    try:
        rows = json_rows.rows_of_object(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"cannot read {name} as JSON ({error}); write one object a line, or an array") from None
    yield from enumerate(rows, 1)


def _parsed(item: json_rows.Item) -> Raw:
    """An item of an array as a row. Invalid JSON is kept as bytes, for callers with a more lenient parser."""
    if not isinstance(item, bytes):
        return item
    try:
        return json_rows.parse(item)
    except RowError as error:
        return (
            item if error.reason == Reason.BAD_ROW else error.with_traceback(None)
        )  # the traceback would keep the row in memory


def _csv(file: io.BufferedIOBase, name: str, columns, need, delimiter: str = ",") -> Iterator[tuple[int, Raw]]:
    """Reads CSV. All values are texts; empty ones are absent (None)."""
    csv.field_size_limit(bounds.LONGEST)
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number, header = 0, None
    while True:
        lines.size = 0
        try:
            found = next(reader)
        except StopIteration:
            return
        except (csv.Error, RowError) as error:
            if header is None:
                raise InputError(f"cannot read {name} as CSV ({error}); regenerate the file") from error
            number += 1
            yield (
                number,
                error.with_traceback(None)
                if isinstance(error, RowError)
                else bad_row(f"the row is not valid CSV ({error}); correct its quotes"),
            )
            continue
        if not found:
            continue
        if header is None:
            header = [title.strip() for title in found]
            bounds.check_columns(name, len(header))
            if need and need not in header:
                raise missing_columns_error(name, {need}, header)
            continue
        number += 1
        if len(found) != len(header):
            yield (
                number,
                bad_row(
                    f"the row has {len(found)} fields, but the header has {len(header)}; correct its commas and quotes"
                ),
            )
        elif not all(value.isascii() or _is_utf8(value) for value in found):
            yield number, bad_row("the row is not UTF-8; save the file as UTF-8")
        else:
            row = {title: value or None for title, value in zip(header, found)}
            yield number, row if lines.size <= bounds.TEXT // 4 else _checked(row)


class _Lines:
    """The lines of a CSV file. Raises RowError if a row is too long, after skipping the rest of the line."""

    def __init__(self, file: io.BufferedIOBase):
        # the type stub requires a file with a name, io does not
        self._lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")  # ty: ignore[invalid-argument-type]
        self.size = 0  # characters since the start of the row

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._lines.readline(bounds.LONGEST)
        if not line:
            raise StopIteration
        self.size += len(line)
        if self.size >= bounds.LONGEST:
            while line and not line.endswith(("\n", "\r")):
                line = self._lines.readline(1 << 20)
            raise bounds.too_long()
        return line


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(row: dict) -> dict | RowError:
    try:
        bounds.check(row)
    except RowError as error:
        return error.with_traceback(None)
    return row


def _tsv(file: io.BufferedIOBase, name: str, columns, need) -> Iterator[tuple[int, Raw]]:
    return _csv(file, name, columns, need, "\t")


_READERS: dict[str, Reader] = {
    ".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _tsv,
    ".parquet": parquet, ".arrow": arrow, ".feather": arrow,
}  # fmt: skip
_NAMES: dict[Reader, str] = {
    _jsonl: "JSON Lines",
    _json: "JSON",
    _csv: "CSV",
    _tsv: "TSV",
    parquet: "Parquet",
    arrow: "Arrow",
}
