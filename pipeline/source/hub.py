"""Reads a dataset of the Hugging Face Hub, or one that the `datasets` library can load from a folder.

Media are taken as the bytes stored in the dataset; nothing is decoded. A Hub dataset is read at one commit, which each row's source
names, so that a changed dataset gives new rows. The token comes from HF_TOKEN."""

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from pipeline.media.fetch import Limits
from pipeline.media.remote import Remote
from pipeline.source.reading import column_mapping, files, row_files
from pipeline.source.reading import columnar as columns
from pipeline.source.reading.column_mapping import Column
from pipeline.source.reading.conversation import MediaLookup, schemes_for
from pipeline.source.reading.row_files import Row, Sampling
from pipeline.storage.local_files import kind_of
from schemas.errors import InputError
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Rejection, Sample, digest

READS = ()
LEAVES = ("media", "samples")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
_BATCH = 64  # most rows per batch
_AT_ONCE = 32 << 20  # bytes from which a batch is complete: rows may contain their media


class Settings(Base):
    path: str
    """OWNER/NAME on the Hub, or a local folder that `datasets` can load, also one written by `save_to_disk`"""
    config: str | None = None
    """the dataset's config (subset); by default its only or default one"""
    split: str = "train"
    """the split"""
    revision: str | None = None
    """branch, tag or commit on the Hub; by default the main branch"""
    streaming: bool = True
    """whether to stream rows; otherwise the dataset is first copied to the library's cache, which later runs read"""
    columns: dict[Column, str] = Field({})
    """column names used in the dataset, if different: {prompt: question, image: img}"""
    licence: str | None = None
    """licence of rows that state none; by default that of the dataset card"""
    limit: int | None = Field(None, ge=1)
    """maximum number of rows read, valid or not; no limit by default"""
    sample: Sampling | None = None
    """a seeded sample of the rows: {n: 1000} or {share: 0.1}, with an optional seed"""
    fetch: Limits = Limits()
    """limits on fetching URLs in rows: {allow_private: [host], max_bytes, seconds, at_once}"""


def read(settings: Settings, context: Context) -> Iterator[Media | Sample | Rejection]:
    """Yields each row's Media, then its Sample, like `source.rows`. A bad row is a Rejection named `path[@commit]/[config/]split#number`.

    Rows from the Hub may name URLs and files of the dataset, never other local files. InputError if the dataset, config, split or prompt
    column does not exist, or the dataset cannot be reached."""
    local = os.path.exists(settings.path)
    if local:
        _check_files(settings.path)
    if not local and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", settings.path):
        raise InputError(
            f"{settings.path} is neither a folder nor a dataset name of the Hub; use OWNER/NAME or an existing folder"
        )
    commit, licence = (None, None) if local else _card(settings)
    data = _load(settings, commit)
    named = f"{settings.path}@{commit[:12]}" if commit else Path(settings.path).name
    label = "/".join(filter(None, (named, settings.config, settings.split)))
    names = column_mapping.column_names(settings.columns)
    if data.column_names and names["prompt"] not in data.column_names:
        raise columns.missing_columns_error(label, {names["prompt"]}, data.column_names)
    selection = column_mapping.selection(settings.columns)
    rows = row_files.draw_sample(
        lambda: islice(_rows(data, label, selection, settings.path), settings.limit), settings.sample
    )
    root, within = _media(settings, commit)
    with Remote(settings.fetch, context.media, context.cache) as remote:
        schemes = schemes_for(settings.fetch)
        lookup = lru_cache(1)(lambda folder: MediaLookup(root, context.media, remote, within, schemes))
        source = column_mapping.Rows(rows, label, settings.columns, settings.licence or licence, selection)
        yield from column_mapping.read(source, lookup, remote, context)


def _check_files(path: str) -> None:
    """InputError if the folder contains a pipe, socket or device: the library would open it and block."""
    if not os.path.isdir(path):
        raise (
            files.no_such_file_error(path)
            if kind_of(path)
            else InputError(f"{path} is a file; use source.rows, or set path to a folder")
        )
    for folder, names in files.folders(path):
        for name in names:
            if kind := kind_of(file := os.path.join(path, folder, name)):
                raise InputError(f"{file} is {kind}, not a regular file; remove it")


def _card(settings: Settings) -> tuple[str | None, str | None]:
    """The commit that is read, and the licence on the dataset card."""
    from huggingface_hub import HfApi

    try:
        found = HfApi(token=_token(), library_name="pairwright").dataset_info(settings.path, revision=settings.revision)
    except Exception as error:  # noqa: BLE001 - whatever the library raises
        raise _unreadable(settings, error) from None
    licence = found.card_data.get("license") if found.card_data else None
    return found.sha, ", ".join(licence) if isinstance(licence, list) else licence


def _load(settings: Settings, commit: str | None) -> Any:
    import datasets

    datasets.disable_progress_bars()
    folder = Path(settings.path)
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            data = datasets.load_from_disk(settings.path)
            if not isinstance(data, datasets.DatasetDict):
                return data
            if settings.split not in data:
                raise InputError(
                    f"{settings.path}: unknown split {settings.split}; set split to one of {', '.join(data)}"
                )
            return data[settings.split]
        data = datasets.load_dataset(
            settings.path, settings.config, split=settings.split, streaming=settings.streaming, revision=commit,
            token=None if folder.exists() else _token(), cache_dir=_copies(settings),
        )  # fmt: skip
        return data.decode(False) if settings.streaming else data
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the library raises
        raise _unreadable(settings, error) from None


def _copies(settings: Settings) -> str | None:
    """Where `datasets` keeps its copy of a local folder: by the names, sizes and times of its files, as the library itself takes a folder that
    has changed for the one that it has copied. None: its usual place."""
    import datasets

    if settings.streaming or not os.path.isdir(settings.path):
        return None
    found = [
        (folder, name, state.st_size, state.st_mtime_ns)
        for folder, names in files.folders(settings.path)
        for name in sorted(names)
        for state in [os.stat(os.path.join(settings.path, folder, name))]
    ]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / f"folder-{digest(sorted(found))[:16]}")


def _rows(data: Any, label: str, selection: columns.Selection, path: str) -> Iterator[Row]:
    if data.column_names:
        data = data.select_columns(selection.of(data.column_names))
    number = 0
    batches = _batches(data.with_format("arrow").iter(1))
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:  # noqa: BLE001 - whatever the library raises
            raise InputError(
                f"{path}: reading failed after {number} rows ({type(error).__name__}); run again, or set streaming: false"
            ) from None
        if batch is None:
            return
        for row in columns.rows(batch):
            number += 1
            yield Row(f"{label}#{number}", path, row)


def _batches(rows: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables of one row each, put together without a copy until they have enough rows or bytes."""
    waiting: list[pa.Table] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += row.nbytes
        if len(waiting) == _BATCH or size >= _AT_ONCE:
            yield pa.concat_tables(waiting)
            waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _media(settings: Settings, commit: str | None) -> tuple[str, tuple[str, ...] | None]:
    """The base of relative media paths, and the only local folders that rows may name (None: no restriction)."""
    if commit is None:
        return settings.path, None
    if settings.streaming:
        return f"hf://datasets/{settings.path}@{commit}", ()
    import datasets

    cache = str(datasets.config.HF_CACHE_HOME)
    return cache, (cache,)


def _token() -> str | None:
    return os.environ.get("HF_TOKEN")


def _unreadable(settings: Settings, error: Exception) -> InputError:
    """Summarises an error of the library or the Hub in one line: their own texts contain URLs and span several lines."""
    kind = type(error).__name__
    dataset = " ".join(filter(None, (settings.path, settings.config, settings.split)))
    known = "; ".join(re.findall(r"(?:Available|available|one of|Should be)[^\n]{0,200}", str(error))[:1])
    hint = known or "check the name, config and split, and that HF_TOKEN may read it"
    return InputError(f"cannot read the dataset {dataset} ({kind}): {hint}")
