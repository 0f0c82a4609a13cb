import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fsspec
import pytest

from pipeline.storage.media_store import TAIL, FolderStore, UrlStore, open_store
from schemas.errors import DamageError, StoreError

SHA_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    return open_store(tmp_path / "media" if request.param == "folder" else f"memory://{tmp_path.name}/media")


def test_bytes_come_back_by_their_sha256(store):
    assert store.add(b"abc") == SHA_OF_ABC
    store.sync()
    assert store.read(SHA_OF_ABC) == b"abc"


def test_a_second_add_changes_nothing(store):
    assert store.add(b"abc") == store.add(b"abc")
    assert store.read(SHA_OF_ABC) == b"abc"


@pytest.mark.parametrize("name", [SHA_OF_ABC, "", "../../../../etc/passwd", "a" * 60 + "/../"])
def test_a_name_the_store_does_not_have_is_a_key_error(store, name):
    with pytest.raises(KeyError):
        store.read(name)


def test_the_scheme_chooses_the_store(tmp_path):
    assert isinstance(open_store(f"file://{tmp_path}"), FolderStore)
    assert isinstance(open_store(tmp_path), FolderStore)
    assert isinstance(open_store("memory://media"), UrlStore)


def test_a_bucket_without_credentials_is_one_clear_line(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # instances outlive the environment they were made in
    with pytest.raises(StoreError, match=r"s3://bucket/media fails \(\w+\); check its address, credentials"):
        open_store("s3://bucket/media").add(b"abc")


def test_other_processes_see_what_was_synced(tmp_path):
    store, other = FolderStore(tmp_path), FolderStore(tmp_path)
    store.add(b"abc")
    with pytest.raises(KeyError):
        other.read(SHA_OF_ABC)
    store.sync()
    assert other.read(SHA_OF_ABC) == FolderStore(tmp_path).read(SHA_OF_ABC) == b"abc"


def test_a_pack_that_lost_its_end_is_one_clear_line(tmp_path):
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    (pack,) = tmp_path.glob("*.pack")
    os.truncate(pack, 2)
    with pytest.raises(
        StoreError, match=rf"{pack}: media item {SHA_OF_ABC} is damaged.*.*run the same `pairwright build` again"
    ):
        FolderStore(tmp_path).read(SHA_OF_ABC)


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "media").write_text("a file in the way")
    store = FolderStore(tmp_path / "media")
    store.add(b"abc")
    with pytest.raises(StoreError, match="check its disk and permissions"):
        store.sync()


def test_a_medium_is_durable_before_the_index_names_it(tmp_path, monkeypatch):
    named, fsync = {}, os.fsync

    def spy(descriptor):
        with sqlite3.connect(tmp_path / "index.sqlite") as index:
            tables = index.execute("select count(*) from sqlite_master").fetchone()[0]
            name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
            named[name] = tables and index.execute("select count(*) from media").fetchone()[0]
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    (pack,) = tmp_path.glob("*.pack")
    assert named == {
        tmp_path.name: 0,
        f"{pack.name}.new": 0,
    }  # the folder that names the pack, and the pack, which had another name then


def test_a_killed_writer_leaves_nothing_half(tmp_path):
    # the child adds 8 MB over and over, and syncs now and then, until it is killed somewhere in the middle
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pipeline.storage.media_store import FolderStore; s = FolderStore(sys.argv[1])\n"
         "for i in range(10**6):\n    print(s.add(i.to_bytes(8, 'big') * 10**6), flush=True)\n    if i % 2: s.sync()", str(tmp_path)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    names = [child.stdout.readline().decode().strip() for _ in range(6)]
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with sqlite3.connect(tmp_path / "index.sqlite") as index:
        kept = [sha.hex() for (sha,) in index.execute("select sha from media")]
    assert set(names[:4]) <= set(kept)  # the sixth was said after the second sync
    for sha in kept:
        assert hashlib.sha256(FolderStore(tmp_path).read(sha)).hexdigest() == sha


def test_a_pack_of_a_killed_process_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    living = FolderStore(tmp_path)
    living.add(b"abc" * 1_000_000)
    living.add(b"is written now")
    script = (
        "import os, signal, sys; from pipeline.storage.media_store import FolderStore; s = FolderStore(sys.argv[1]); s.add(b'x' * 3_000_000)\n"
        "s.add(b'is written now'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)])
    assert len([*tmp_path.glob("*.pack.new")]) == 2
    other = FolderStore(tmp_path)
    other.add(b"abc")
    other.sync()
    (left,) = tmp_path.glob("*.pack.new")
    assert left.stat().st_size == 3_000_000 + TAIL
    living.sync()
    assert other.read(hashlib.sha256(b"abc" * 1_000_000).hexdigest()) == b"abc" * 1_000_000
    assert [*tmp_path.glob("*.new")] == []


def test_a_store_that_is_closed_has_no_file_open(tmp_path):
    def opened() -> list[str]:
        return [
            path for path in map(os.path.realpath, Path("/proc/self/fd").iterdir()) if path.startswith(str(tmp_path))
        ]

    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    assert store.read(SHA_OF_ABC) == b"abc"
    assert len(opened()) > 1
    store.close()
    assert opened() == []


def _add_all(root: Path) -> list[str]:
    store = FolderStore(root)
    names = [store.add(bytes([i % 20]) * 100_000) for i in range(200)]
    store.sync()
    return names


def test_many_processes_write_one_folder(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        first, *others = pool.map(_add_all, [tmp_path] * 3)
    assert others == [first, first]
    assert len(set(first)) == 20
    assert all(hashlib.sha256(FolderStore(tmp_path).read(sha)).hexdigest() == sha for sha in first)


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _stored(root: Path) -> Path:
    """The pack of a store that holds abc and nothing else."""
    store = FolderStore(root)
    store.add(b"abc")
    store.sync()
    (pack,) = root.glob("*.pack")
    return pack


def test_a_flipped_bit_never_leaves_and_is_named_until_the_bytes_are_added_again(tmp_path):
    _flip(_stored(tmp_path), 1)
    store = FolderStore(tmp_path)
    for _ in range(2):  # also when it is forgotten already
        with pytest.raises(DamageError, match=SHA_OF_ABC):
            store.read(SHA_OF_ABC)
    store.add(b"abc")
    assert store.read(SHA_OF_ABC) == b"abc"
    store.sync()
    assert FolderStore(tmp_path).read(SHA_OF_ABC) == b"abc"


@pytest.mark.parametrize(
    "damage", [lambda p: _flip(p, 0), lambda p: os.truncate(p, 1), Path.unlink, lambda p: p.write_bytes(b"")]
)
def test_bytes_that_are_added_again_replace_those_that_are_damaged_or_gone_though_nobody_read_them(tmp_path, damage):
    damage(_stored(tmp_path))
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    assert store.again == 1
    assert FolderStore(tmp_path).read(SHA_OF_ABC) == b"abc"


def test_a_store_of_an_older_version_is_checked_by_the_name_itself(tmp_path):
    pack = _stored(tmp_path).rename(tmp_path / "old.pack")
    os.truncate(pack, 3)
    with sqlite3.connect(tmp_path / "index.sqlite") as index:
        index.execute("update media set pack = 'old.pack'")
    assert FolderStore(tmp_path).read(SHA_OF_ABC) == b"abc"
    _flip(pack, 2)
    with pytest.raises(DamageError):
        FolderStore(tmp_path).read(SHA_OF_ABC)


@pytest.mark.parametrize(
    "place",
    [("''", 0, 3), ("'x.pack'", 0, 3), ("pack", -1, 3), ("pack", 0, 1 << 62), ("pack", "'z'", 3), ("pack", 1 << 40, 3)],
)
def test_an_index_that_names_no_place_is_damage(tmp_path, place):
    _stored(tmp_path)
    with sqlite3.connect(tmp_path / "index.sqlite") as index:
        index.execute(f"update media set pack = {place[0]}, at = {place[1]}, size = {place[2]}")
    with pytest.raises(DamageError):
        FolderStore(tmp_path).read(SHA_OF_ABC)


def test_a_broken_index_is_named_and_replaced_by_whoever_adds(tmp_path):
    _stored(tmp_path)
    with sqlite3.connect(tmp_path / "index.sqlite") as index:
        index.execute("pragma wal_checkpoint(truncate)")
    (tmp_path / "index.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(DamageError, match=r"index\.sqlite is damaged"):
        FolderStore(tmp_path).read(SHA_OF_ABC)
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    assert FolderStore(tmp_path).read(SHA_OF_ABC) == b"abc"
    assert (tmp_path / "index.sqlite.damaged").exists()


def test_an_object_that_was_changed_is_damage_until_it_is_added_again():
    store = open_store("memory://damaged/media")
    store.add(b"abc")
    fsspec.filesystem("memory").pipe_file(store._object(SHA_OF_ABC), b"abd")
    with pytest.raises(DamageError, match=SHA_OF_ABC):
        store.read(SHA_OF_ABC)
    store.add(b"abc")
    assert store.read(SHA_OF_ABC) == b"abc"


def test_what_is_missing_is_listed(store):
    store.add(b"abc")
    assert list(store.missing([SHA_OF_ABC, "0" * 64])) == ["0" * 64]


def test_a_form_is_found_under_its_item_and_its_name(store):
    item, made = store.add(b"item"), store.add(b"made")
    store.sync()
    assert store.form(item, "x") is None
    store.keep_form(item, "x", made)
    store.sync()
    assert store.form(item, "x") == made
    assert store.form(item, "y") is None
    store.keep_form(item, "y", "f" * 64)  # which the store does not have
    assert store.form(item, "y") is None
