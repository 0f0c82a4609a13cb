"""A dataset says what it is made of, and is checked before it is used."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset import manifest
from pipeline.dataset.card import write_card
from pipeline.dataset.hub import push
from pipeline.dataset.read import read_examples
from schemas.errors import DamageError
from tests.support import small_run


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported.folder, tmp_path / "dataset")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def first(folder: Path) -> Path:
    return folder / "image" / "train-00000.parquet"


def test_the_manifest_holds_the_rows_of_each_file(folder, exported):
    manifest.check(folder, exported.counts)
    known = json.loads((folder / manifest.NAME).read_text())["files"]
    assert {name.partition("/")[0]: of["rows"] for name, of in known.items()} == exported.counts == {
        name.partition("/")[0]: n for name, n in manifest.rows(folder).items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: flip(first(f), 1000), "image/train-00000.parquet is damaged"),
        (lambda f: os.truncate(first(f), 1000), "image/train-00000.parquet has 1,000 bytes instead of"),
        (lambda f: first(f).unlink(), "image/train-00000.parquet is missing"),
        (lambda f: shutil.rmtree(f / "audio"), "audio/train-00000.parquet is missing"),
        (
            lambda f: shutil.copy(first(f), f / "image" / "train-00001.parquet"),
            "image/train-00001.parquet is not part of this dataset",
        ),
        (lambda f: (f / manifest.NAME).unlink(), "manifest.json is missing"),
        (lambda f: (f / manifest.NAME).write_text("{"), "manifest.json cannot be read as JSON"),
        (lambda f: shutil.rmtree(f), "the folder is missing"),
    ],
)
def test_every_damage_is_named_with_what_to_do(folder, damage, said):
    damage(folder)
    with pytest.raises(DamageError, match="run the same `pairwright build` again") as raised:
        manifest.check(folder)
    assert said in str(raised.value)


def test_a_manifest_of_another_dataset_is_damage(folder):
    with pytest.raises(DamageError, match="belongs to another dataset"):
        manifest.check(folder, {"image": 1})


def test_what_an_older_version_exported_is_read_and_counted(folder, exported):
    (folder / manifest.NAME).unlink()
    for path in folder.glob("*/*.parquet"):
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[b"pairwright"]) | {"manifest": False}
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"pairwright": json.dumps(about)}), path)
    manifest.check(folder, exported.counts)
    os.truncate(first(folder), 1000)
    with pytest.raises(DamageError, match=r"image/train-00000\.parquet cannot be read"):
        manifest.check(folder)
    first(folder).unlink()
    with pytest.raises(DamageError, match="image has 0 rows instead of"):
        manifest.check(folder, exported.counts)


def test_a_flipped_bit_in_a_page_is_found_where_it_is_read(folder):
    data = first(folder).read_bytes()
    flip(first(folder), data.index(b"\x89PNG") + 60)
    with pytest.raises(DamageError, match=r"image/train-00000\.parquet cannot be read"):
        list(read_examples(folder))


def test_a_damaged_dataset_is_not_pushed(folder):
    flip(first(folder), 1000)
    with pytest.raises(DamageError, match="is damaged"):
        push(folder, "tester/pairs", True, "a token")


def test_datasets_does_not_take_the_manifest_for_rows(folder, exported, hub_cache):
    import datasets

    write_card(folder, small_run.summarised(exported.tables), small_run.RECIPE)
    assert datasets.get_dataset_config_names(str(folder)) == list(exported.counts)
    for kind, count in exported.counts.items():
        assert (
            len(datasets.load_dataset(str(folder), kind, split="train", cache_dir=str(hub_cache / "copies"))) == count
        )
    (folder / "README.md").unlink()  # as it is before a run is finished
    files = datasets.data_files.DataFilesDict.from_patterns(
        datasets.data_files.get_data_patterns(str(folder)), base_path=str(folder)
    )
    assert {Path(path).suffix for paths in files.values() for path in paths} == {".parquet"}
