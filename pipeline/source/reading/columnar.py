"""Reads rows of columnar files: Parquet, and Arrow and Feather (IPC files and streams).

The unpacked size of such a file is known only from its own metadata, so each reading step has a memory limit
(pipeline/storage/memory_limit.py), and large rows are converted to Python objects one at a time."""

from collections.abc import Callable, Collection, Iterator
from io import BufferedIOBase
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from pipeline.source.reading import bounds
from pipeline.storage.memory_limit import limit_memory
from schemas.errors import InputError, RowError

_BATCH = 64  # maximum rows per batch
_AT_ONCE = 32 << 20  # maximum bytes per batch: rows may contain their media


class Selection:
    """Which columns of tables are read; `left` are the others of the last table."""

    def __init__(self, wanted: Callable[[list[str]], Collection[str]]):
        """`wanted`: a table's columns -> those to read."""
        self._wanted = wanted
        self.left: tuple[str, ...] = ()

    def of(self, found: list[str]) -> list[str]:
        """The columns to read of a table that has the columns `found`."""
        wanted = self._wanted(found)
        self.left = tuple(title for title in found if title not in wanted)
        return [title for title in found if title in wanted]


Rows = Iterator[tuple[int, dict[str, Any] | RowError]]  # (row number from 1, row)


def parquet(file: BufferedIOBase, name: str, columns: Selection | None, need: str | None) -> Rows:
    """The rows of a Parquet file, with the selected columns (None: all). InputError if `need` is not a column; MemoryError or
    Arrow's errors if the file cannot be read."""
    with limit_memory():
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
    with table:
        wanted = _wanted(name, table.schema_arrow.names, columns, need)
        groups = [table.metadata.row_group(n) for n in range(table.num_row_groups)]
        largest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
        size = max(1, min(_BATCH, _AT_ONCE // max(1, largest)))
        yield from _numbered(table.iter_batches(size, columns=wanted, use_threads=False))


def arrow(file: BufferedIOBase, name: str, columns: Selection | None, need: str | None) -> Rows:
    """The rows of an Arrow or Feather file; see `parquet`."""
    stream = file.read(6) != b"ARROW1"
    file.seek(0)
    options = ipc.IpcReadOptions(use_threads=False)
    with limit_memory():
        reader = ipc.open_stream(file, options=options) if stream else ipc.open_file(file, options=options)
    with reader:
        wanted = _wanted(name, reader.schema.names, columns, need)
        found = reader if stream else (reader.get_batch(n) for n in range(reader.num_record_batches))
        yield from _numbered(batch.select(wanted) for batch in found)


def rows(batch: pa.RecordBatch | pa.Table) -> Iterator[dict[str, Any] | RowError]:
    """The rows of a batch; a RowError in place of each row that is too large."""
    for start in range(0, batch.num_rows, _BATCH):
        part = batch.slice(start, _BATCH)
        heavy = part.nbytes > bounds.TEXT
        if not heavy:
            try:
                with limit_memory(pa.total_allocated_bytes()):
                    found = part.to_pylist()
            except MemoryError:  # a dictionary or list entry may be repeated in every row
                heavy = True
            else:
                yield from found
        if heavy:
            yield from (_row(part.slice(place, 1)) for place in range(part.num_rows))


def missing_columns_error(path: str, missing: set[str], found) -> InputError:
    """The error for `missing` columns of a file that has the columns `found`."""
    lacks, has = ", ".join(sorted(missing)), ", ".join(sorted(map(str, found)))
    return InputError(f"{path} has no column {lacks}; it has {has}: map the names with columns: {{prompt: ...}}")


def _wanted(name: str, found: list[str], columns: Selection | None, need: str | None) -> list[str]:
    bounds.check_columns(name, len(found))
    if need and need not in found:
        raise missing_columns_error(name, {need}, found)
    return found if columns is None else columns.of(found)


def _numbered(batches: Iterator[pa.RecordBatch]) -> Rows:
    number = 0
    while True:
        with limit_memory(pa.total_allocated_bytes()):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)  # invalid offsets in a damaged file would crash the process
        for row in rows(batch):
            number += 1
            yield number, row
        del batch  # free it before reading the next one


def _row(part: pa.RecordBatch | pa.Table) -> dict[str, Any] | RowError:
    try:
        with limit_memory(pa.total_allocated_bytes()):
            (row,) = part.to_pylist()
        bounds.check(row)
    except MemoryError:
        return bounds.too_long()
    except RowError as error:
        return error.with_traceback(None)  # the traceback would keep the row in memory
    return row
