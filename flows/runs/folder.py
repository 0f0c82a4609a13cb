"""A run's folder: made, checked by its run.json and taken by one run at a time; and what its disk says while a run works in it."""

import errno
import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from flows.runs import notes
from schemas.disk import SAYS, error_line, place, short_path
from schemas.errors import OutputError, StoreError

WAIT = 10.0  # seconds for the run that holds a folder
LEFT = (".lock", ".run.json")  # what a folder may hold without a run.json: names begin so

used: Path | None = None
"""the folder that this process works in, for a note about an error that nobody expected"""


def make_folder(folder: Path, option: str) -> Path:
    """The folder, there now, as an absolute path. OutputError that names `option` where it cannot be one."""
    with place(folder, option):
        folder = folder.absolute()
        if folder.is_symlink() and not folder.exists():
            raise OutputError(
                f"{option} {short_path(folder)} is a link to {short_path(os.readlink(folder))}, which is not there: correct the link"
            )
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{short_path(folder)} is a file: choose a folder for {option}")
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def note_of(folder: Path) -> dict[str, Any]:
    """The run.json of a folder. OutputError where there is none, or a newer Pairwright wrote it."""
    if (found := begun_run(folder)) is None:
        raise OutputError(f"{short_path(folder)} is not the folder of a run: name the --out of a `pairwright build`")
    return found


def begun_run(folder: Path, option: str = "") -> dict[str, Any] | None:
    """The same, None where there is none. `option`: by which a user named the folder."""
    check_name(folder, option)
    return notes.read(folder / "run.json")


def check_name(path: Path, option: str = "") -> None:
    """OutputError where nothing can be at a path that a user named, or it may not be looked at. What is not there is fine."""
    with place(path, option), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def take_folder(folder: Path, check: Callable[[dict[str, Any] | None], object]) -> tuple[TextIO, dict[str, Any] | None]:
    """(the lock, the run.json) of a folder for a run, which has it alone until the lock is closed; without a run.json it holds nothing.

    OutputError where it cannot be: it holds something else, is in use, a newer Pairwright wrote it, or what `check` raises of its
    run.json; then it is left as it is."""
    global used
    with place(folder, "--out"):
        _looked_at(folder, check)  # before anything is written there
        lock = _locked(folder)
        try:
            found = _looked_at(folder, check)  # whoever had it meanwhile may have left something
        except BaseException:
            lock.close()
            raise
    used = folder
    return lock, found


def _looked_at(folder: Path, check: Callable[[dict[str, Any] | None], object]) -> dict[str, Any] | None:
    found = notes.read(folder / "run.json")
    if found is None and any(not path.name.startswith(LEFT) for path in folder.iterdir()):
        raise OutputError(
            f"{short_path(folder)} holds files that no run of Pairwright left: choose an empty folder for --out"
        )
    check(found)
    return found


def _at_once(path: str, flags: int) -> int:
    """A descriptor; OSError for a pipe, whose reader would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _locked(folder: Path) -> TextIO:
    """One run a folder at a time. A child holds the lock too, so a run started again waits until its orphan is gone."""
    lock = open(folder / ".lock", "a", opener=_at_once)  # noqa: SIM115 - one that is there stays as it is
    until = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                lock.close()
                raise OutputError(
                    f"{short_path(folder)} is in use by another run: wait for it, or choose another --out"
                ) from None
            time.sleep(0.1)
        except BaseException:
            lock.close()
            raise
        else:
            os.set_inheritable(lock.fileno(), True)
            return lock


@contextmanager
def at_work(*folders: Path) -> Generator[None]:
    """Inside a run works in these folders: what their disks, and that of temporary files, say that no one nearer has named is one
    StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno not in SAYS or isinstance(error, ConnectionError):  # whoever asks over a network names that
            raise
        if error.errno == errno.ENOENT and error.filename is None:  # the one without a name that `tempfile` raises
            raise StoreError("no folder for temporary files can be written; set TMPDIR to one that can") from error
        raise StoreError(error_line(error, error.filename or _fullest(folders))) from error
    except sqlite3.Error as error:  # of the spool of arrivals, which lies where temporary files do
        raise StoreError(
            error_line(error, f"a temporary file for {folders[0]}", "set TMPDIR to a folder that can be written")
        ) from error


def _fullest(folders: tuple[Path, ...]) -> Path:
    """The folder whose disk has the least free space, that of temporary files among them."""
    free = {}
    for folder in (Path(tempfile.gettempdir()), *folders):
        with suppress(OSError):
            free[shutil.disk_usage(folder).free] = folder
    return free[min(free)] if free else folders[0]
