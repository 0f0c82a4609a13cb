"""A shard's files are those that were written, or it is named."""

import json
import os
from pathlib import Path

import pytest

from flows.runs import shards
from pipeline.storage import checksum
from schemas import messages
from schemas.errors import DamageError
from schemas.records import Reason, Rejection, sample

KEY = "0123456789abcdef0123"


@pytest.fixture
def shard(tmp_path) -> Path:
    return published(tmp_path / f"00000-{KEY[:16]}")


def published(folder: Path) -> Path:
    rows = [sample((messages.user(f"what is {i} ?"),), step="rows") for i in range(9)]
    dropped = [Rejection("r", "samples", "rows", Reason.DUPLICATE, "seen before", "r")]
    record = {"key": KEY, "counts": {"samples": 9, "rejections": 1, "pairs": 0}, "rejections": {}, "steps": {}}
    shards.publish(folder, {"samples": rows, "pairs": [], "rejections": dropped}, record)
    return folder


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = [
    (lambda f: flip(f / "samples.arrow"), "samples.arrow is damaged"),
    (lambda f: os.truncate(f / "samples.arrow", 100), "samples.arrow has 100 bytes instead of"),
    (lambda f: (f / "samples.arrow").unlink(), "samples.arrow is missing"),
    (
        lambda f: (f / "samples.arrow").unlink() or os.mkfifo(f / "samples.arrow"),
        "samples.arrow cannot be read (a pipe)",
    ),
    (lambda f: (f / "record.json").unlink() or os.mkfifo(f / "record.json"), "record.json cannot be read (a pipe)"),
    (lambda f: (f / "pairs.arrow").write_bytes(b""), "pairs.arrow does not belong to this run"),
    (lambda f: (f / "record.json").unlink(), "record.json is missing"),
    (lambda f: (f / "record.json").write_text(""), "record.json is empty"),
    (lambda f: flip(f / "record.json"), "record.json"),
    (
        lambda f: (f / "record.json").write_text(
            checksum.to_checked_json({"key": "fedcba", "counts": {}, "rejections": {}, "steps": {}})
        ),
        "record.json belongs to another shard",
    ),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGES)
def test_a_damage_is_named_and_the_shard_replaced_when_it_is_written_again(shard, damage, said):
    assert shards.damage(shard) is None
    damage(shard)
    with pytest.raises(DamageError, match="run the same `pairwright build` again") as raised:
        shards.check(shard)
    assert said in str(raised.value)
    published(shard)
    assert shards.damage(shard) is None
    assert [p.name for p in shard.parent.iterdir()] == [shard.name]


def test_one_that_is_as_it_was_written_is_left_alone(shard):
    before = (shard / "record.json").stat().st_ino
    published(shard)
    assert (shard / "record.json").stat().st_ino == before


def test_a_shard_of_an_older_version_is_opened_and_counted(shard):
    record = shards.record_of(shard)
    files = record.pop("files")
    (shard / "record.json").write_text(json.dumps(record, indent=1, sort_keys=True))
    assert set(files) == {"samples.arrow", "rejections.arrow"}
    assert shards.damage(shard) is None
    os.truncate(shard / "samples.arrow", 300)
    assert shards.damage(shard) == "samples.arrow cannot be read"
    (shard / "samples.arrow").unlink()
    assert shards.damage(shard) == "samples.arrow is missing"
    shards.write_table(shard / "samples.arrow", "samples", [])
    assert shards.damage(shard) == "samples.arrow has 0 rows instead of 9"
