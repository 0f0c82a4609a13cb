"""A run's folder: made, taken and checked; what its files say is believed only when they hold what they should."""

import errno
import json
import sqlite3

import pytest

from flows.runs import executor, notes
from flows.runs.folder import disk_errors_translated, lock_folder, make_folder, read_run_note, require_run_note
from schemas.errors import DamageError, OutputError, StoreError

RECIPE = {"name": "x", "models": {}, "steps": []}
RUN = {"recipe": RECIPE, "cache": "/cache", "version": notes.VERSION}
RIGHT = {
    "run.json": RUN,
    "done.json": {"key": "k", "seconds": 1, "shards": [], "usage": {"step": {"model": {"asked": 1, "seconds": 0.5}}}},
    "record.json": {"key": "k", "counts": {"pairs": 1}, "rejections": {}, "steps": {"step": {"models": {}}}},
    "engines.json": {"spec": {"identity": "i", "can": ["Generate"], "media": [], "slots": 4}},
    "crashes.json": {"times": {"ab": 2}, "culprits": []},
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize(
    "wrong",
    ["", "{", "[]", "null", "7", '"x"', "{}", "[" * 10_000, "9" * 10_000, '{"key": 1}', b"\xff\xfe{}", b"\0" * 50],
)
def test_a_file_that_does_not_hold_what_it_should_is_one_line_with_its_name_and_remedy(tmp_path, name, wrong):
    path = tmp_path / "passes" / "pass0" / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(RIGHT[name]))
    assert notes.read(path) == RIGHT[name]
    path.write_bytes(wrong if isinstance(wrong, bytes) else wrong.encode())
    if name == "engines.json" and wrong == "{}":
        return  # nothing was asked yet
    with pytest.raises(DamageError, match=f"{name} .*pairwright build") as told:
        notes.read(path)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 500


def test_a_file_that_is_not_there_is_none_and_a_folder_in_its_place_is_said(tmp_path):
    assert notes.read(tmp_path / "done.json") is None
    (tmp_path / "done.json").mkdir()
    with pytest.raises(DamageError, match=r"done\.json cannot be read \(a folder is in its place\)"):
        notes.read(tmp_path / "done.json")


def test_a_newer_versions_folder_is_named_and_nothing_in_it_changes(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"version": notes.VERSION + 1, "all": "else"}))
    for look in (
        require_run_note,
        read_run_note,
        executor.reopen,
        executor.resume,
        lambda folder: lock_folder(folder, lambda note: None),
    ):
        with pytest.raises(OutputError, match=r"newer Pairwright \(version 3 .*; update Pairwright"):
            look(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "place",
    [
        "/proc/x",
        "/dev/null",
        "/dev/null/x",
        "{}/file",
        "{}/file/x",
        "{}/dangling",
        "{}/loop/x",
        "{}/" + "x" * 300,
        "{}/\0",
    ],
)
def test_a_place_where_no_folder_can_be_is_the_users_mistake(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match="--out"):
        make_folder(type(tmp_path)(place.format(tmp_path)), "--out")


def test_a_folder_of_somebody_else_and_one_of_another_recipe_stay_as_they_are(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="contains files that are not from a Pairwright run"):
        lock_folder(tmp_path, lambda note: None)
    (tmp_path / "run.json").write_text(json.dumps(RUN))

    def another(note):
        raise OutputError(f"{note['recipe']['name']} is another recipe")

    with pytest.raises(OutputError, match="x is another recipe"):
        lock_folder(tmp_path, another)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "thesis.txt"]


def test_what_a_disk_says_while_a_run_works_is_one_error(tmp_path):
    with pytest.raises(StoreError, match="its disk is full; free"), disk_errors_translated(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StoreError, match="set TMPDIR"), disk_errors_translated(tmp_path):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    with pytest.raises(StoreError, match="temporary file"), disk_errors_translated(tmp_path):
        raise sqlite3.OperationalError("disk I/O error")
    with pytest.raises(ConnectionResetError), disk_errors_translated(tmp_path):  # of a network: whoever asked names it
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
