"""An exported dataset back as examples to train on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from pipeline.dataset.columns import MEDIA_OF, VERSION
from schemas.errors import InputError
from schemas.records import SAMPLE_KINDS, Message, Part

BATCH = 64  # rows in memory at a time, beside one row group of media


class Example(NamedTuple):
    """One pair with its media at hand."""

    id: str
    sample: str
    messages: tuple[Message, ...]
    media: tuple[tuple[str, bytes], ...]  # (kind, bytes) in prompt order
    kind: str  # of SAMPLE_KINDS
    chosen: str
    rejected: str | None
    margin: float | None


def read_examples(folder: Path) -> Iterator[Example]:
    """The examples of an exported dataset, kind by kind and file by file, always in the same order.

    InputError when the folder holds no dataset, or one of a newer version."""
    files = dataset_files(folder)
    if not files:
        raise InputError(f"{folder} holds no exported dataset: name the `dataset` folder of a finished run")
    for kind, path in files:
        yield from _examples(kind, path)


def dataset_files(folder: Path) -> list[tuple[str, Path]]:
    """(kind, file) of an exported dataset, in order."""
    return [(kind, path) for kind in SAMPLE_KINDS for path in sorted((Path(folder) / kind).glob("train-*.parquet"))]


def _examples(kind: str, path: Path) -> Iterator[Example]:
    names = ["id", "sample", "prompt", "chosen", "rejected", "margin", "media", *(f"{m}s" for m in MEDIA_OF[kind])]
    with pq.ParquetFile(path) as file:
        _check_version(file, path)
        for batch in file.iter_batches(BATCH, columns=names):
            for row in batch.to_pylist():
                yield _example(kind, row)


def _check_version(file: pq.ParquetFile, path: Path) -> None:
    about = json.loads((file.schema_arrow.metadata or {}).get(b"pairwright", b"{}"))
    if about.get("version", VERSION + 1) > VERSION:
        raise InputError(f"{path} was not written by this Pairwright or an older one: export it again")


def _example(kind: str, row: dict) -> Example:
    ids = iter(row["media"])
    files = {medium: iter(row[f"{medium}s"]) for medium in MEDIA_OF[kind]}
    messages, media = [], []
    for turn in row["prompt"]:
        parts = []
        for part in turn["content"]:
            if part["type"] == "text":
                parts.append(Part("text", part["text"]))
            else:
                parts.append(Part(part["type"], media=next(ids)))
                media.append((part["type"], next(files[part["type"]])["bytes"]))
        messages.append(Message(turn["role"], tuple(parts)))
    return Example(
        row["id"], row["sample"], tuple(messages), tuple(media), kind,
        _text(row["chosen"]), row["rejected"] and _text(row["rejected"]), row["margin"],
    )  # fmt: skip


def _text(said: list[dict]) -> str:
    return said[0]["content"][0]["text"]
