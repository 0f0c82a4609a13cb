"""Storage of rows: one folder per pass and shard, with one Arrow IPC file per table and a `record.json`.

A folder is written under a temporary name, fsynced and renamed, so existing means finished. `done.json` lists a finished pass's shards
in order. `record.json` holds the row counts and checksums of the files, and every JSON file contains its own checksum."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc

from flows.runs import notes
from flows.runs.notes import REMEDY
from flows.runs.notes import read as read_json
from pipeline.storage import checksum
from pipeline.storage.local_files import kind_of
from schemas import arrow, redact
from schemas.disk import disk, error_line
from schemas.errors import DamageError, OutputError
from schemas.records import Reason, one_line

__all__ = [
    "REMEDY",
    "RunTables",
    "batches",
    "check",
    "damage",
    "damages",
    "publish",
    "read_json",
    "read_json_or_none",
    "record_of",
    "rows",
    "write_json",
    "write_table",
    "wrong_row_count",
]  # fmt: skip

SIZE = 512  # samples per shard
MADE = ("candidates", "claims", "judgements", "pairs")  # tables of rows that steps make from samples
REDACTED_COLUMNS = {
    "media": ("source",),
    "rejections": ("id", "detail"),
}  # columns that may contain paths and addresses: secrets are removed from them
OPEN = "-open-"  # follows the shard's name if requests are open; the complete shard has the name alone


def fsync(path: Path) -> None:
    """Flushes a file or folder to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json_or_none(path: Path) -> dict | None:
    """The content of a JSON file of the run; None if it is missing or damaged."""
    try:
        return read_json(path)
    except DamageError:
        return None


def write_json(path: Path, value: dict, sort_keys: bool = True) -> None:
    """Writes a JSON file atomically, with a checksum and without secrets. `sort_keys`: False if the order has a meaning, as in a recipe.
    StoreError if the disk fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with disk(path):
        try:
            beside.write_text(checksum.to_checked_json(redact.document(value), sort_keys))
            fsync(beside)
            beside.rename(path)
            fsync(path.parent)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def record_of(folder: Path) -> dict:
    """A shard's record. DamageError if it is missing or damaged."""
    if (record := read_json(folder / "record.json")) is None:
        raise DamageError(f"{folder / 'record.json'} is missing; {REMEDY}")
    return record


def damages(folder: Path) -> Iterator[str]:
    """Each damage of a shard, in a few words. Reads all of its bytes once."""
    try:
        record = notes.parsed(folder / "record.json")
    except DamageError as error:
        yield f"record.json {error}"
        return
    if record is None:
        yield "record.json is missing"
        return
    if not isinstance(record, dict) or not str(record.get("key", "")).startswith(
        folder.name.partition(OPEN)[0].partition("-")[2]
    ):
        yield "record.json belongs to another shard"
        return
    counts = record.get("counts", {})
    yield from (
        f"{p.name} does not belong to this run" for p in sorted(folder.glob("*.arrow")) if not counts.get(p.stem)
    )
    if (files := record.get("files")) is not None:
        yield from checksum.find_damage(folder, files)
    else:  # written by an older version
        yield from filter(None, (wrong_row_count(folder / f"{name}.arrow", n) for name, n in counts.items() if n))


def damage(folder: Path) -> str | None:
    """The first of `damages`; None if the shard is intact."""
    return next(damages(folder), None)


def wrong_row_count(path: Path, rows: int) -> str | None:
    """Why an Arrow file does not hold `rows` rows, in a few words; None if it does."""
    if not path.exists():
        return f"{path.name} is missing"
    try:
        found = 0
        for batch in batches(path):
            batch.validate(full=True)
            found += batch.num_rows
    except (DamageError, pa.ArrowInvalid):
        return f"{path.name} cannot be read"
    return None if found == rows else f"{path.name} has {found:,} rows instead of {rows:,}"


def check(folder: Path) -> None:
    """DamageError if a shard is damaged."""
    if (what := damage(folder)) is not None:
        raise DamageError(f"{folder} is damaged ({what}); {REMEDY}")


def publish(folder: Path, tables: dict[str, list], record: dict) -> None:
    """Writes a shard's rows and record atomically: the folder exists completely or not at all. Replaces a damaged one, and one with open
    requests, as their reasons may have changed. StoreError if the disk fails."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    with disk(folder):
        try:
            _publish(folder, beside, tables, record)
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)  # frees space if the disk is full
            raise


def _publish(folder: Path, beside: Path, tables: dict[str, list], record: dict) -> None:
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, rows in tables.items():
        if rows:
            write_table(beside / f"{name}.arrow", name, rows)
    files = checksum.file_checksums(beside, [f"{name}.arrow" for name, rows in tables.items() if rows])
    (beside / "record.json").write_text(checksum.to_checked_json(redact.document(record) | {"files": files}))
    for path in beside.iterdir():
        fsync(path)
    if folder.exists():
        if (
            OPEN not in folder.name and damage(folder) is None
        ):  # another process was faster: the same key means the same rows
            shutil.rmtree(beside)
            return
        damaged = folder.with_name(f".{folder.name}.damaged")
        shutil.rmtree(damaged, ignore_errors=True)
        folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    beside.rename(folder)
    fsync(folder.parent)


def open_shard_record(place: Path, name: str) -> dict | None:
    """The latest record of the shard `name` published with open requests; None if there is none."""
    found = sorted(place.glob(f"{name}{OPEN}*/record.json"), key=lambda path: path.stat().st_mtime)
    return next((record for path in reversed(found) if (record := _intact_record(path)) is not None), None)


def _intact_record(path: Path) -> dict | None:
    try:
        return notes.parsed(path)
    except DamageError:
        return None


def made_anything(folder: Path) -> bool:
    """Whether the steps of a run have left rows, a model, figures or people's votes in its folder, besides samples and rejections."""
    if (folder / "people").exists():
        return True
    for path in folder.glob("steps/*/done.json"):
        done = read_json_or_none(path)
        if done is None or done.get("result") or any(done.get("pairs", {}).values()):
            return True
    records = (read_json_or_none(path) for path in folder.glob("passes/*/[!.]*/record.json"))
    return any(record is None or any(record["counts"].get(table) for table in MADE) for record in records)


def published_shards(place: Path) -> list[str]:
    """The names of a pass's shards: those of its done.json, else all published so far. A complete shard replaces its versions with
    open requests."""
    if (done := read_json(place / "done.json")) is not None:
        return done["shards"]
    names = sorted(path.parent.name for path in place.glob("[!.]*/record.json"))
    return [name for name in names if OPEN not in name or name.partition(OPEN)[0] not in names]


def remove_stale_shards(place: Path) -> None:
    """Removes shards that a finished pass no longer lists: their rows have changed, or their open requests are answered."""
    names = set(read_json(place / "done.json")["shards"])
    for path in place.glob("[!.]*/record.json"):
        if path.parent.name not in names:
            shutil.rmtree(path.parent)


def write_table(path: Path, name: str, rows: list) -> None:
    """Writes records of the table `name` as an Arrow IPC file, with secrets removed from the columns in REDACTED_COLUMNS."""
    if told := REDACTED_COLUMNS.get(name):
        clean = redact.cleaner()
        rows = [row._replace(**{field: clean(text) for field in told if (text := getattr(row, field))}) for row in rows]
    with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, arrow.TABLES[name][1]) as writer:
        for start in range(0, len(rows), 4096):
            writer.write_batch(arrow.to_batch(name, rows[start : start + 4096]))


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The record batches of an Arrow file; none if it is missing. DamageError if it cannot be read, OutputError if it was written by a
    newer Pairwright."""
    if path.exists():
        if (kind := kind_of(str(path))) is not None:  # Arrow would block on a pipe
            raise DamageError(f"{path} cannot be read (it is {kind}); {REMEDY}")
        try:
            with pa.memory_map(str(path)) as source, ipc.open_file(source) as reader:
                _check_version(path, reader.schema)
                for number in range(reader.num_record_batches):
                    yield reader.get_batch(number)
        except pa.ArrowException as error:
            raise DamageError(f"{path} cannot be read ({one_line(str(error))}); {REMEDY}") from None
        except OSError as error:
            raise DamageError(error_line(error, path)) from error


def _check_version(path: Path, schema: pa.Schema) -> None:
    version = int((schema.metadata or {}).get(b"version", b"0"))
    if version > arrow.VERSION:
        raise OutputError(
            f"{path} was written by a newer Pairwright (version {version}, this one reads {arrow.VERSION}); "
            "update Pairwright, or choose another --out"
        )


def rows(path: Path, name: str) -> list:
    """All records of an Arrow file of the table `name`; empty if it is missing. Errors as in `batches`."""
    return [row for batch in batches(path) for row in arrow.from_batch(name, batch)]


@dataclass
class RunTables:
    """All live rows of a round: the rows of its finished passes without those rejected by passes or table steps. Streams by shard."""

    passes: list[list[Path]]
    """for each pass in order, the folders of its shards in order (every pass has the same shards)"""
    filters: list[Path] = field(default_factory=list)
    """rejections.arrow of the table steps so far"""
    order: Sequence[str] = ()
    """the recipe's step names: rows of a sample from several passes are sorted by them"""

    def shards(self) -> "Iterator[tuple[tuple[Path, ...], RunTables]]":
        """For each shard, its folders (one per pass) and its live rows."""
        for folders in zip(*self.passes, strict=True):
            shard = RunTables([[f] for f in folders], self.filters, self.order)
            shard.dropped = self.dropped  # read once for all shards
            yield folders, shard

    def successors(self) -> Iterator[tuple[str, str, str]]:
        """(old id, new id, step of the old one) of samples superseded by prompt steps, in order."""
        for folders in zip(*self.passes, strict=True):
            found = [
                (row.id, row.sample)
                for folder in folders
                for row in rows(folder / "rejections.arrow", "rejections")
                if row.reason == Reason.SUPERSEDED and row.table == "samples"
            ]
            stored = (batch for folder in folders for batch in batches(folder / "samples.arrow")) if found else ()
            steps = {
                id: step for b in stored for id, step in zip(b["id"].to_pylist(), b["step"].to_pylist(), strict=True)
            }
            yield from ((old, new, steps[old]) for old, new in found)

    def batches(self, table: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The live rows of a table in sample order, as record batches with all columns or those given. DamageError, OutputError."""
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
        """Ids rejected by table steps: table -> ids."""
        import pyarrow.compute as pc  # slow to import, and only needed for rows

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
        if table not in ("samples", "media"):  # a rejected sample takes its rows with it
            found = _without(found, "sample", pa.array(sorted(lost), pa.string()))
            found = _without(found, "sample", self.dropped.get("samples"))
        return found

    def _in_sample_order(
        self, table: str, folders: tuple[Path, ...], found: list[pa.RecordBatch]
    ) -> list[pa.RecordBatch]:
        """Sorts rows of several passes by sample; a sample takes the position of the one it superseded."""
        import pyarrow.compute as pc

        if not found:
            return found
        before = {new: old for old, new, _ in RunTables([[f] for f in folders]).successors()}
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
    """The batches without the rows whose `column` is in `ids`."""
    if ids is None or not len(ids):
        return found
    import pyarrow.compute as pc

    return [b.filter(pc.invert(pc.is_in(b.column(column), ids))) for b in found]
