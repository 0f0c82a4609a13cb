"""Where rows lie: one folder for each pass and shard, one Arrow IPC file a table, `record.json` beside them.

A folder is written beside, fsynced and renamed, so existing means finished. `done.json` lists a finished pass's shards in order."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from schemas import arrow, redact
from schemas.records import Reason, Rejection

SIZE = 512  # samples a shard
TOLD = {"media": ("source",), "rejections": ("id", "detail")}  # columns that may name files and addresses, less their secrets


def fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, value) -> None:
    """Atomically: a reader sees the old file or the new one. Without secrets."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(redact.document(value), indent=1, sort_keys=True))
    fsync(beside)
    beside.rename(path)
    fsync(path.parent)


def read_json(path: Path):
    """The parsed file, or None when there is none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def publish(folder: Path, tables: dict[str, list], record: dict) -> None:
    """Writes a shard's rows and its record so that the folder exists whole or not at all."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, rows in tables.items():
        if rows:
            write_table(beside / f"{name}.arrow", name, rows)
    (beside / "record.json").write_text(json.dumps(redact.document(record), indent=1, sort_keys=True))
    for path in beside.iterdir():
        fsync(path)
    if folder.exists():  # another process was quicker: the same key holds the same rows
        shutil.rmtree(beside)
        return
    beside.rename(folder)
    fsync(folder.parent)


def write_table(path: Path, name: str, rows: list) -> None:
    if told := TOLD.get(name):
        clean = redact.cleaner()
        rows = [row._replace(**{field: clean(text) for field in told if (text := getattr(row, field))}) for row in rows]
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, arrow.TABLES[name][1]) as writer:
        for start in range(0, len(rows), 4096):
            writer.write_batch(arrow.to_batch(name, rows[start : start + 4096]))


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.exists():
        with pa.memory_map(str(path)) as source, ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def rows(path: Path, name: str) -> list:
    return [row for batch in batches(path) for row in arrow.from_batch(name, batch)]


@dataclass
class RunTables:
    """All live rows of a round: what its finished passes left, less what they or its filters rejected. Streams shard by shard."""

    passes: list[list[Path]]
    """for each pass in order, its shards' folders in order (every pass has the same shards)"""
    filters: list[Path] = field(default_factory=list)
    """rejections.arrow of the table steps so far"""
    order: Sequence[str] = ()
    """the names of the recipe's steps: of a sample's rows in several passes, those of earlier steps stand before those of later ones"""

    def shards(self) -> "Iterator[tuple[tuple[Path, ...], RunTables]]":
        """Shard by shard: its folders, one a pass, and the live rows in them."""
        for folders in zip(*self.passes, strict=True):
            shard = RunTables([[f] for f in folders], self.filters, self.order)
            shard.dropped = self.dropped  # read once, not once a shard
            yield folders, shard

    def successors(self) -> Iterator[tuple[str, str]]:
        """(old, new) ids of the samples that prompt steps superseded, in order."""
        for folders in zip(*self.passes, strict=True):
            for folder in folders:
                for row in rows(folder / "rejections.arrow", "rejections"):
                    if row.reason == Reason.SUPERSEDED and row.table == "samples":
                        yield row.id, row.sample

    def batches(self, table: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        for folders in zip(*self.passes, strict=True):
            if table == "rejections":
                found = [b for f in folders for b in batches(f / "rejections.arrow")]
            else:
                found = self._live(table, folders)
            for batch in found:
                if batch.num_rows:
                    yield batch.select(columns) if columns else batch
        if table == "rejections":
            for path in self.filters:
                for batch in batches(path):
                    yield batch.select(columns) if columns else batch

    @cached_property
    def dropped(self) -> dict[str, pa.Array]:
        """What table steps rejected: table -> ids."""
        found: dict[str, list[pa.Array]] = {}
        for path in self.filters:
            for batch in batches(path):
                for table in batch.column("table").unique().to_pylist():
                    ids = batch.filter(pc.equal(batch.column("table"), table)).column("id")
                    found.setdefault(table, []).append(ids)
        return {table: pa.concat_arrays(ids).unique() for table, ids in found.items()}

    def _live(self, table: str, folders: tuple[Path, ...]) -> list[pa.RecordBatch]:
        gone, lost = set(), set()
        for folder in folders:
            for row in rows(folder / "rejections.arrow", "rejections"):
                if row.table == table:
                    gone.add(row.id)
                if row.table == "samples":
                    lost.add(row.id)
        found = [b for f in folders for b in batches(f / f"{table}.arrow")]
        if sum((f / f"{table}.arrow").exists() for f in folders) > 1 and table != "media":
            found = self._in_sample_order(table, folders, found)
        found = _without(found, "id", pa.array(sorted(gone), pa.string()))
        found = _without(found, "id", self.dropped.get(table))
        if table not in ("samples", "media"):  # with a sample go all its rows
            found = _without(found, "sample", pa.array(sorted(lost), pa.string()))
            found = _without(found, "sample", self.dropped.get("samples"))
        return found

    def _in_sample_order(
        self, table: str, folders: tuple[Path, ...], found: list[pa.RecordBatch]
    ) -> list[pa.RecordBatch]:
        """Rows that several passes left, sample by sample again; a sample stands where the one it superseded stood."""
        if not found:
            return found
        before = {new: old for old, new in RunTables([[f] for f in folders]).successors()}
        places: dict[str, int] = {}
        for folder in folders:
            for batch in batches(folder / "samples.arrow"):
                for name in batch.column("id").to_pylist():
                    places[name] = places.get(before.get(name, ""), len(places))
        whole = pa.Table.from_batches(found).combine_chunks()
        names = whole.column("id" if table == "samples" else "sample")
        place = pa.array(places.values()).take(pc.index_in(names, pa.array(places, pa.string())))
        step = pc.fill_null(pc.index_in(whole.column("step"), pa.array(self.order, pa.string())), -1)
        order = pc.sort_indices(
            pa.table({"p": place, "s": step, "i": range(len(whole))}), sort_keys=[(name, "ascending") for name in "psi"]
        )
        return whole.take(order).to_batches()


def _without(found: list[pa.RecordBatch], column: str, ids: pa.Array | None) -> list[pa.RecordBatch]:
    """The batches less the rows whose `column` is among `ids`."""
    if ids is None or not len(ids):
        return found
    return [b.filter(pc.invert(pc.is_in(b.column(column), ids))) for b in found]


def counted(rejections: list[Rejection]) -> dict[str, dict[str, int]]:
    """{step: {reason: n}}"""
    out: dict[str, dict[str, int]] = {}
    for row in rejections:
        reasons = out.setdefault(row.step, {})
        reasons[str(Reason(row.reason))] = reasons.get(str(row.reason), 0) + 1
    return out
