"""What a unit left and cannot be read any more: a build drops it, and makes it again from the cache."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from flows import shards
from flows.notes import Damaged
from pipeline.dataset.read import dataset_files, opened
from schemas.errors import StoreError


def drop(place: Path, note: Callable[[str], object]) -> None:
    """Removes from the folder of a unit what cannot be read: shards, and done.json where it or the table's own rows are damaged.

    `note` is told of each. OutputError where a newer Pairwright wrote something: that stays."""
    for record in sorted(place.glob("[!.]*/record.json")):
        try:
            _check_shard(record)
        except Damaged as damage:
            note(f"{damage.what}: its shard is made again")
            shutil.rmtree(record.parent)
    try:
        shards.read_json(place / "done.json")
        _count(place / "rejections.arrow")
    except Damaged as damage:
        note(f"{damage.what}: {place.name} is done again")
        (place / "done.json").unlink()


def drop_dataset(place: Path, dataset: Path, note: Callable[[str], object]) -> None:
    """Removes done.json of the unit that wrote the dataset where a file of it is not there or damaged, so that it is written again.

    InputError where a newer Pairwright wrote it: that stays."""
    done = shards.read_json(place / "done.json")
    if done is None:
        return
    try:
        pairs = Counter()
        for kind, path in dataset_files(dataset):
            with opened(path) as file:
                pairs[kind] += file.metadata.num_rows
        if pairs != Counter(done["pairs"]) or not dataset.is_dir():
            note(f"{dataset} is not as it was written: it is written again")
            (place / "done.json").unlink()
    except StoreError as damage:
        note(f"{damage}; it is written again")
        (place / "done.json").unlink()


def _check_shard(record: Path) -> None:
    """Damaged where the record or a table cannot be read, or a table has not the rows that the record counts."""
    for table, rows in shards.read_json(record)["counts"].items():
        path = record.with_name(f"{table}.arrow")
        if (found := _count(path)) != rows:
            raise Damaged(f"{path} has {found} rows, and its record counts {rows}")


def _count(path: Path) -> int:
    return sum(batch.num_rows for batch in shards.batches(path))
