import hashlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from pipeline.store import FolderStore, UrlStore, open_store
from schemas.errors import StoreError

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


def test_only_a_folder_has_paths(tmp_path):
    store, remote = FolderStore(tmp_path), UrlStore("memory://media")
    assert store.path(SHA_OF_ABC) is None
    store.add(b"abc")
    remote.add(b"abc")
    assert store.path(SHA_OF_ABC) == tmp_path / SHA_OF_ABC[:2] / SHA_OF_ABC[2:]
    assert remote.path(SHA_OF_ABC) is None


def test_a_file_that_lost_its_bytes_is_written_again(tmp_path):
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.path(SHA_OF_ABC).write_bytes(b"")  # what a power cut before the sync may leave
    FolderStore(tmp_path).add(b"abc")
    assert store.read(SHA_OF_ABC) == b"abc"


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "media").write_text("a file in the way")
    with pytest.raises(StoreError, match="check its disk and rights"):
        FolderStore(tmp_path / "media").add(b"abc")


def test_sync_makes_files_and_folders_durable(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    store = FolderStore(tmp_path)
    store.add(b"abc")
    store.sync()
    file = store.path(SHA_OF_ABC)
    assert synced == [str(file), str(file.parent), str(tmp_path)]
    store.sync()
    assert len(synced) == 3  # nothing was added in between


def test_a_killed_writer_leaves_no_half_file(tmp_path):
    # the child adds 8 MB over and over until it is killed somewhere in the middle
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pipeline.store import FolderStore; s = FolderStore(sys.argv[1])\n"
         "for i in range(10**6): print(s.add(i.to_bytes(8, 'big') * 10**6), flush=True)", str(tmp_path)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    for _ in range(5):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    names = [file for file in tmp_path.glob("??/*") if "." not in file.name]
    assert len(names) >= 5
    for file in names:
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file.parent.name + file.name


def _add_all(root: Path) -> list[str]:
    store = FolderStore(root)
    return [store.add(bytes([i % 20]) * 100_000) for i in range(200)]


def test_many_processes_write_one_folder(tmp_path):
    with ProcessPoolExecutor(3) as pool:
        first, *others = pool.map(_add_all, [tmp_path] * 3)
    assert others == [first, first]
    assert sorted(f.parent.name + f.name for f in tmp_path.glob("??/*")) == sorted(set(first))
    assert all(hashlib.sha256(FolderStore(tmp_path).read(sha)).hexdigest() == sha for sha in first)
