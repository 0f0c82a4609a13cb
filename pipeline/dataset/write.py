"""Streams pairs, samples and media into Parquet: one config per media type, in the format that TRL accepts unchanged."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset import manifest
from pipeline.dataset.columns import BLOBS, CHAT, CONTENT, DATA_COLUMNS, MEDIA_OF, arrow_schema
from pipeline.media.portable import portable_id
from schemas.disk import disk
from schemas.errors import OutputError, RowError, RunError, StoreError
from schemas.operator import Tables
from schemas.ports import MediaStore
from schemas.published import publisher
from schemas.records import SAMPLE_KINDS

GROUP_BYTES = 8 << 20  # a random read loads a whole row group
FILE_BYTES = 500 << 20
BLOB = BLOBS.value_type
SAMPLE_LINEAGE = ("source", "licence", "split")  # text columns that say where a row is from, cleaned before publication
PAIR_LINEAGE = ("generator_chosen", "generator_rejected", "media_op", "recipe")
PLACES = r"://|^/|[\\~@=%]|\s/|localhost|\d\.\d+\.\d|\.(local|internal|intranet|lan|corp)"  # texts without a match are published unchanged
SAMPLE_COLUMNS = ["id", "kind", "prompt", *(c.name for c in DATA_COLUMNS if c.origin == "samples")]


def write(
    tables: Tables, media: MediaStore, out: Path, info: dict, form: Literal["portable", "original"] = "portable"
) -> dict[str, int]:
    """Writes the live pairs to `out/<kind>/train-<n>.parquet` and returns the number of pairs by kind (zeros left out).

    `info` (JSON values) is stored in each file's metadata. The same rows give the same bytes. `out` appears complete, with a manifest, or
    not at all; an earlier export there is replaced. Memory is one row group of media per kind, for any number of pairs. Without pairs
    `out` is an empty folder. `form`: of the media, see DatasetSettings of schemas/recipe.py.
    OutputError if `out` contains other files. StoreError if the media store lacks a file or has it damaged. RunError if a pair's sample is
    not live or out of order."""
    out = Path(out)
    part = out.with_name(out.name + ".part")
    with disk(out):
        _check_ours(out)
        try:
            return _write(tables, _Files(media, form), out, part, info)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)  # free the space if the disk is full
            raise


def _write(tables: Tables, media: "_Files", out: Path, part: Path, info: dict) -> dict[str, int]:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    configs: dict[str, _Config] = {}
    for pairs, samples in _joined(tables):
        kinds = samples["kind"]
        for kind in kinds.unique().to_pylist():
            if kind not in configs:
                configs[kind] = _Config(part / kind, kind, media, info)
            rows = pc.indices_nonzero(pc.equal(kinds, kind))
            configs[kind].add(pairs.take(rows), samples.take(rows))
    for config in configs.values():
        config.close()
    if configs:
        _sync(manifest.write(part))
    _sync(part)
    _swap(part, out)
    return {kind: configs[kind].pairs for kind in SAMPLE_KINDS if kind in configs}


def _check_ours(out: Path) -> None:
    strangers = {p.name for p in out.iterdir()} - {*SAMPLE_KINDS, "README.md", manifest.NAME} if out.exists() else set()
    inside = (p for kind in SAMPLE_KINDS for p in (out / kind).glob("*"))
    strangers |= {f"{p.parent.name}/{p.name}" for p in inside if not p.match("train-*.parquet")}
    if strangers:
        raise OutputError(
            f"{out} contains {min(strangers)}, which is not part of an export; move it away, or choose another dataset folder"
        )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _swap(part: Path, out: Path) -> None:
    old = out.with_name(out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    part.rename(out)
    _sync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _joined(tables: Tables) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Batches of pairs with their samples, row by row. Both tables are in the order of samples."""
    samples = _Samples(tables.batches("samples", SAMPLE_COLUMNS))
    for batch in tables.batches("pairs"):
        if batch.num_rows:
            yield pa.Table.from_batches([batch]), samples.find(batch["sample"])


class _Samples:
    """A stream of samples, read only as far as the pairs need."""

    def __init__(self, batches: Iterable[pa.RecordBatch]):
        self.batches = iter(batches)
        self.batch = next(self.batches, None)

    def find(self, ids: pa.Array) -> pa.Table:
        """One row per id, in the order of `ids`; ids may repeat."""
        wanted = ids.unique()
        found, missing = [], len(wanted)
        while self.batch is not None:
            found.append(self.batch.filter(pc.is_in(self.batch["id"], wanted)))
            missing -= found[-1].num_rows
            if not missing:
                table = pa.Table.from_batches(found)
                return table.take(pc.index_in(ids, table["id"].combine_chunks()))
            self.batch = next(self.batches, None)  # the matching batch is kept: later pairs may need it too
        raise RunError(
            f"{missing} samples of a batch of {len(ids)} pairs are not live or out of order; run the build again"
        )


class _Files:
    """The files of media in the form that a dataset holds them."""

    def __init__(self, media: MediaStore, form: Literal["portable", "original"]):
        self._media, self._form = media, form

    def read(self, sha: str, kind: str) -> bytes:
        """KeyError if the store has no such item."""
        if self._form == "portable":
            with suppress(RowError):  # what cannot be converted stays as it is: it was accepted as a good file
                sha = portable_id(self._media, sha, kind)
        return self._media.read(sha)


class _Config:
    """The files of one media type. Rows are buffered until they fill a row group."""

    def __init__(self, folder: Path, kind: str, media: "_Files", info: dict):
        self.folder, self.media = folder, media
        self.schema = arrow_schema(kind, info)
        self.leaves = [leaf for field in self.schema for leaf in _leaves(field.name, field.type)]
        self.columns = {prefix: [f"{prefix}{m}s" for m in MEDIA_OF[kind]] for prefix in ("", "rejected_", "ranked_")}
        self.pairs = self.files = self.file_bytes = 0
        self.writer: pq.ParquetWriter | None = None
        folder.mkdir()
        self._empty()

    def _empty(self) -> None:
        self.slices: list[tuple[pa.Table, pa.Table]] = []
        self.blobs: dict[str, list[list[bytes] | None]] = {
            name: [] for names in self.columns.values() for name in names
        }
        self.read: dict[tuple[str, str], bytes] = {}  # pairs of a sample share its media
        self.bytes = 0

    def add(self, pairs: pa.Table, samples: pa.Table) -> None:
        """Buffers rows; writes a row group whenever one is full."""
        start = 0
        ids = (pairs[name].to_pylist() for name in ("rejected_media", "media_list", "id"))
        rows = zip(_text_bytes(pairs, samples), _media(samples), *ids)
        for end, (text, shown, rejected, ranked, pair) in enumerate(rows, 1):
            self.bytes += text + self._open("", shown, pair)
            self.bytes += self._open("rejected_", _rejected_media(shown, rejected, pair), pair)
            self.bytes += self._open("ranked_", _ranked_media(shown, ranked, pair), pair)
            if self.bytes >= GROUP_BYTES:
                self.slices.append((pairs.slice(start, end - start), samples.slice(start, end - start)))
                self._flush()
                start = end
        if start < pairs.num_rows:
            self.slices.append((pairs.slice(start), samples.slice(start)))

    def _open(self, prefix: str, shown: list[tuple[str, str]] | None, pair: str) -> int:
        """Adds one row to the media columns and returns its size in bytes."""
        cells: dict[str, list[bytes]] = {name: [] for name in self.columns[prefix]}
        for medium, sha in shown or ():
            if (sha, medium) not in self.read:
                try:
                    self.read[sha, medium] = self.media.read(sha, medium)
                except KeyError:
                    raise StoreError(
                        f"pair {pair}: {medium} {sha} is missing from the media store; run the source again"
                    ) from None
            cells[f"{prefix}{medium}s"].append(self.read[sha, medium])
        for name, cell in cells.items():
            self.blobs[name].append(None if shown is None else cell)
        return sum(len(blob) for cell in cells.values() for blob in cell)

    def _flush(self) -> None:
        pairs, samples = (pa.concat_tables(tables).combine_chunks() for tables in zip(*self.slices))
        built = {
            "prompt": _prompt(samples["prompt"].combine_chunks()),
            "chosen": _as_messages(pairs["chosen"].combine_chunks()),
            "rejected": _as_messages(pairs["rejected"].combine_chunks()),
            **{name: _blobs(cells) for name, cells in self.blobs.items()},
            **{c.name: (pairs if c.origin == "pairs" else samples)[c.name] for c in DATA_COLUMNS if c.origin},
            **{name: _public(samples[name].combine_chunks()) for name in SAMPLE_LINEAGE},
            **{name: _public(pairs[name].combine_chunks()) for name in PAIR_LINEAGE},
            "desirable": pairs["label"],
        }
        group = pa.table([built[name] for name in self.schema.names], schema=self.schema)
        if self.writer is None:
            self.writer = self._new_file(
                shared=len(self.read) < sum(len(c or ()) for cells in self.blobs.values() for c in cells)
            )
        self.writer.write_table(group, row_group_size=group.num_rows)
        self.pairs += group.num_rows
        self.file_bytes += self.bytes
        self._empty()
        if self.file_bytes >= FILE_BYTES:
            self._end_file(self.writer)

    def _new_file(self, shared: bool) -> pq.ParquetWriter:
        """Opens the next file. `shared`: pairs share media, so dictionary encoding stores each file once per row group."""
        self.path = self.folder / f"train-{self.files:05d}.parquet"
        return pq.ParquetWriter(
            self.path, self.schema,
            compression={leaf: "none" if leaf.endswith(".bytes") else "zstd" for leaf in self.leaves},
            use_dictionary=[leaf for leaf in self.leaves if shared or not leaf.endswith(".bytes")],
            dictionary_pagesize_limit=2 * GROUP_BYTES, write_statistics=False, write_page_checksum=True,
        )  # fmt: skip

    def _end_file(self, writer: pq.ParquetWriter) -> None:
        writer.close()
        _sync(self.path)
        self.writer, self.file_bytes, self.files = None, 0, self.files + 1

    def close(self) -> None:
        if self.slices:
            self._flush()
        if self.writer:
            self._end_file(self.writer)
        _sync(self.folder)


def _leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Parquet column paths of an Arrow field."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path


def _text_bytes(pairs: pa.Table, samples: pa.Table) -> list[int]:
    """Approximate bytes of text per row: its longest columns, plus 512 for ids and numbers."""
    long = (pairs["chosen"], pairs["rejected"], samples["facts"], samples["reference"])
    sizes = [pc.fill_null(pc.binary_length(column), 0) for column in long]
    return [512 + sum(row) for row in zip(*(column.to_pylist() for column in sizes))]


def _media(samples: pa.Table) -> list[list[tuple[str, str]]]:
    """For each sample, the (kind, id) of its media in prompt order."""
    prompts = samples["prompt"].combine_chunks()
    parts = prompts.flatten().field("parts").flatten()
    kinds = iter(parts.field("type").filter(parts.field("media").is_valid()).to_pylist())
    return [[(next(kinds), sha) for sha in ids] for ids in samples["media"].to_pylist()]


def _rejected_media(shown: list[tuple[str, str]], ids: list[str] | None, pair: str) -> list[tuple[str, str]] | None:
    """The (kind, id) of the rejected media: one for each of the prompt's, none at all ([]), or None if they are the same."""
    if not ids:
        return None if ids is None else []
    if len(ids) != len(shown):
        raise RunError(
            f"pair {pair} has {len(ids)} rejected media, but its prompt has {len(shown)}; give one for each, or none"
        )
    return [(kind, sha) for (kind, _), sha in zip(shown, ids)]


def _ranked_media(shown: list[tuple[str, str]], ids: list[str] | None, pair: str) -> list[tuple[str, str]] | None:
    """The (kind, id) of ranked media, each an alternative to the prompt's only one; None if there is no ranking."""
    if ids is None:
        return None
    if len(shown) != 1:
        raise RunError(
            f"pair {pair} ranks media, but its prompt has {len(shown)}; only prompts with one can have ranked media"
        )
    return [(shown[0][0], sha) for sha in ids]


def _prompt(messages: pa.ListArray) -> pa.ListArray:
    """Converts Messages to the chat format: the same lists under other names, without media ids."""
    flat = messages.flatten()
    parts = flat.field("parts")
    each = parts.flatten()
    content = pa.ListArray.from_arrays(
        _offsets(parts),
        pa.StructArray.from_arrays([each.field("type"), each.field("text")], fields=list(CONTENT.value_type)),
    )
    turns = pa.StructArray.from_arrays([flat.field("role"), content], fields=list(CHAT.value_type))
    return pa.ListArray.from_arrays(_offsets(messages), turns)


def _offsets(lists: pa.ListArray) -> pa.Array:
    """Offsets into `lists.flatten()`, starting from 0 even if `lists` is a slice."""
    return pa.array([0, *accumulate(pc.list_value_length(lists).to_pylist())], pa.int32())


def _public(texts: pa.StringArray) -> pa.StringArray:
    """Lineage texts without secrets, server names or local paths."""
    if not pc.any(pc.match_substring_regex(texts, PLACES)).as_py():
        return texts
    cleaned, coded = publisher(), texts.dictionary_encode()
    return pa.array([cleaned(text) for text in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)


def _as_messages(texts: pa.StringArray) -> pa.ListArray:
    """Each text as a list of one assistant message; null stays null."""
    count = len(texts)
    each = pa.array(range(count + 1), pa.int32())
    parts = pa.StructArray.from_arrays([pa.repeat("text", count), texts], fields=list(CONTENT.value_type))
    turns = pa.StructArray.from_arrays(
        [pa.repeat("assistant", count), pa.ListArray.from_arrays(each, parts)], fields=list(CHAT.value_type)
    )
    return pa.ListArray.from_arrays(each, turns, mask=texts.is_null())


def _blobs(cells: list[list[bytes] | None]) -> pa.ListArray:
    """Lists of files as list<struct<bytes, path>>; None becomes null, paths are null."""
    flat = [blob for cell in cells for blob in cell or ()]
    ends = pa.array([0, *accumulate(map(len, flat))], pa.int32())
    data = pa.Array.from_buffers(pa.binary(), len(flat), [None, ends.buffers()[1], pa.py_buffer(b"".join(flat))])
    files = pa.StructArray.from_arrays([data, pa.nulls(len(flat), pa.string())], fields=list(BLOB))
    offsets = pa.array([0, *accumulate(len(cell or ()) for cell in cells)], pa.int32())
    return pa.ListArray.from_arrays(offsets, files, mask=pa.array([cell is None for cell in cells]))
