"""Reads an exported dataset as training examples."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset import manifest
from pipeline.dataset.columns import MEDIA_OF, VERSION
from schemas.disk import error_line
from schemas.errors import DamageError, InputError
from schemas.records import SAMPLE_KINDS, Message, Part, media_parts, one_line

BATCH = 64  # most rows in memory at a time, of one row group


class Example(NamedTuple):
    """One pair with its media."""

    id: str
    sample: str
    messages: tuple[Message, ...]
    media: tuple[tuple[str, bytes], ...]  # (kind, bytes) in prompt order
    kind: str  # of SAMPLE_KINDS
    chosen: str
    rejected: str | None
    margin: float | None
    rejected_media: tuple[tuple[str, bytes], ...] | None = (
        None  # media for `rejected`, like `media`; None: the same media
    )


def read_examples(folder: Path) -> Iterator[Example]:
    """The examples of an exported dataset, by kind and file, always in the same order.

    InputError if the folder contains no dataset, or one of a newer version. DamageError if a file differs from what was exported."""
    files = dataset_files(folder)
    if not files:
        raise InputError(f"{folder} contains no exported dataset: pass the `dataset` folder of a finished run")
    for kind, path in files:
        yield from _examples(kind, path)


def rows_by_kind(folder: Path) -> dict[str, int]:
    """kind -> number of rows of an exported dataset, without reading them; errors as in `read_examples`."""
    found: dict[str, int] = {}
    for kind, path in dataset_files(folder):
        with open_dataset_file(path) as file:
            found[kind] = found.get(kind, 0) + file.metadata.num_rows
    return found


def dataset_files(folder: Path) -> list[tuple[str, Path]]:
    """(kind, path) of each file of an exported dataset, in order; empty if there is none."""
    return [(kind, path) for kind in SAMPLE_KINDS for path in sorted((Path(folder) / kind).glob("train-*.parquet"))]


def _examples(kind: str, path: Path) -> Iterator[Example]:
    files = [f"{side}{m}s" for side in ("", "rejected_") for m in MEDIA_OF[kind]]
    names = ["id", "sample", "prompt", "chosen", "rejected", "margin", "media", "rejected_media", *files]
    with open_dataset_file(path) as file:
        for group in range(
            file.num_row_groups
        ):  # a row group is small or one row: batches over several would add up large files
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=names):
                for row in batch.to_pylist():
                    yield _example(kind, row)


@contextmanager
def open_dataset_file(path: Path) -> Generator[pq.ParquetFile]:
    """Opens an exported file. InputError if a newer version or another program wrote it. DamageError if it differs from what was exported."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_version(file, path)
            yield file
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:  # a system error; Arrow's own OSErrors (bad bytes) have no errno
            raise DamageError(error_line(error, path)) from error
        raise DamageError(f"{path} cannot be read ({one_line(str(error))}); {manifest.REMEDY}") from None


def _check_version(file: pq.ParquetFile, path: Path) -> None:
    about = json.loads((file.schema_arrow.metadata or {}).get(b"pairwright", b"{}"))
    if about.get("version", VERSION + 1) > VERSION:
        raise InputError(
            f"{path} was written by a newer Pairwright or another program; update Pairwright, or export the dataset again"
        )


def _example(kind: str, row: dict) -> Example:
    ids = iter(row["media"])
    messages = []
    for turn in row["prompt"]:
        parts = [
            Part("text", part["text"]) if part["type"] == "text" else Part(part["type"], media=next(ids))
            for part in turn["content"]
        ]
        messages.append(Message(turn["role"], tuple(parts)))
    kinds = [part.type for part in media_parts(messages)]
    return Example(
        row["id"], row["sample"], tuple(messages), _files(row, kinds, ""), kind, _text(row["chosen"]),
        row["rejected"] and _text(row["rejected"]), row["margin"],
        None if row["rejected_media"] is None else _files(row, kinds if row["rejected_media"] else [], "rejected_"),
    )  # fmt: skip


def _files(row: dict, kinds: list[str], side: str) -> tuple[tuple[str, bytes], ...]:
    """(kind, bytes) of the media of one side ("" or "rejected_"), in the order of `kinds`."""
    files = {medium: iter(row[f"{side}{medium}s"]) for medium in set(kinds)}
    return tuple((medium, next(files[medium])["bytes"]) for medium in kinds)


def _text(messages: list[dict]) -> str:
    return messages[0]["content"][0]["text"]
