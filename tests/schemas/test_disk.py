"""What a disk says, in one line that names the file and what helps."""

import errno
import os
import sqlite3
import threading
from contextlib import closing

import pytest

from schemas.disk import SAYS, disk, error_line, open_database, place, short_path
from schemas.errors import OutputError, StoreError


@pytest.mark.parametrize("number", [*SAYS, errno.EXDEV, None])
def test_every_word_of_the_system_is_one_line_with_the_file_and_a_remedy(number):
    error = OSError(number, os.strerror(number)) if number else OSError("said without a number")
    assert error_line(error, "/some/file").startswith("/some/file: ")
    assert "; " in error_line(error, "/some/file")
    with pytest.raises(StoreError, match=r"^/some/file: .+; .+$") as told, disk("/some/file"):
        raise error
    assert told.value.__cause__ is error


def test_the_file_that_the_system_names_is_named(tmp_path):
    with pytest.raises(StoreError, match="inner: it does not exist"), disk(tmp_path):
        (tmp_path / "inner").read_text()


def test_a_damaged_database_is_said_with_the_remedy_that_its_owner_knows(tmp_path):
    path = tmp_path / "file.sqlite"
    path.write_bytes(b"garbage" * 1000)
    said = pytest.raises(StoreError, match=r"file\.sqlite: it is damaged: .*; move it away")
    with closing(sqlite3.connect(path)) as db, said, disk(path, remedy="move it away"):
        db.execute("select * from x")


def test_a_database_that_somebody_holds_or_that_is_a_folder_is_said(tmp_path):
    path = tmp_path / "file.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as one, closing(sqlite3.connect(path, timeout=0)) as two:
        one.execute("begin exclusive")
        with pytest.raises(StoreError, match="another process has locked it; wait for it"), disk(path):
            two.execute("create table x (y)")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="cannot be opened or created; check"), disk(tmp_path / "folder"):
        sqlite3.connect(tmp_path / "folder")


def test_a_database_that_another_process_is_just_making_is_waited_for_though_sqlite_itself_does_not(tmp_path):
    path = tmp_path / "file.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("create table x (y)")
        other.execute("begin")
        other.execute("select * from x").fetchall()  # a reader: nobody else can switch the file to a log
        later = threading.Timer(0.3, other.execute, ("rollback",))
        later.start()
        with closing(open_database(path, "normal")) as db:
            assert db.execute("pragma journal_mode").fetchone() == ("wal",)
            assert db.execute("pragma synchronous").fetchone() == (1,)
        later.join()


def test_a_database_that_stays_held_is_an_error_when_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("schemas.disk.PATIENCE", 0.1)
    path = tmp_path / "file.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("create table x (y)")
        other.execute("begin")
        other.execute("select * from x").fetchall()
        with pytest.raises(StoreError, match="another process has locked it"), disk(path):
            open_database(path, "normal")


@pytest.mark.parametrize("name", ["nul\0", "x" * 300, "surrogate\ud800"])
def test_a_name_that_no_file_can_have_is_the_users_mistake_and_names_the_option(tmp_path, name):
    with pytest.raises(OutputError, match=r"^--out .*; ") as told, place(tmp_path / name, "--out"):
        (tmp_path / name).mkdir()
    assert str(told.value).isprintable()


def test_a_full_disk_is_nobodys_mistake(tmp_path):
    with pytest.raises(StoreError, match=r"--out .*its disk is full; free some space"), place(tmp_path, "--out"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_path_is_shown_on_one_line_and_cut():
    assert short_path("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert len(short_path("x" * 5000)) < 320
