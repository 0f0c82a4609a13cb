"""A run's folder: created, checked by its run.json and locked for one run at a time; translates disk errors while a run works in it."""

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

WAIT = 10.0  # seconds to wait for the run that holds a folder
ALLOWED_PREFIXES = (".lock", ".run.json")  # prefixes of names that a folder without a run.json may contain

used: Path | None = None
"""the folder this process works in, for logs of unexpected errors"""


def make_folder(folder: Path, option: str) -> Path:
    """Creates the folder if needed; returns its absolute path. OutputError, naming `option`, if that is impossible."""
    with place(folder, option):
        folder = folder.absolute()
        if folder.is_symlink() and not folder.exists():
            raise OutputError(
                f"{option} {short_path(folder)} is a link to {short_path(os.readlink(folder))}, which does not exist; correct the link"
            )
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{short_path(folder)} is a file; choose a folder for {option}")
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_run_note(folder: Path) -> dict[str, Any]:
    """The run.json of a folder. OutputError if there is none, or it was written by a newer Pairwright."""
    if (found := read_run_note(folder)) is None:
        raise OutputError(f"{short_path(folder)} is not the folder of a run; give the --out of a `pairwright build`")
    return found


def read_run_note(folder: Path, option: str = "") -> dict[str, Any] | None:
    """Like `note_of`, but None if there is none. `option`: the option with which the user named the folder, for messages."""
    check_path(folder, option)
    return notes.read(folder / "run.json")


def check_path(path: Path, option: str = "") -> None:
    """OutputError if a path named by the user is impossible or not accessible. A missing file is fine."""
    with place(path, option), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def lock_folder(folder: Path, check: Callable[[dict[str, Any] | None], object]) -> tuple[TextIO, dict[str, Any] | None]:
    """Locks a folder for a run and returns (lock, run.json). The run has the folder alone until the lock is closed; a folder without
    run.json must be empty.

    OutputError if it contains other files, is in use, or was written by a newer Pairwright; also raises what `check` raises about its
    run.json. The folder is then unchanged."""
    global used
    with place(folder, "--out"):
        _checked_note(folder, check)  # before writing anything
        lock = _locked(folder)
        try:
            found = _checked_note(folder, check)  # another run may have written meanwhile
        except BaseException:
            lock.close()
            raise
    used = folder
    return lock, found


def _checked_note(folder: Path, check: Callable[[dict[str, Any] | None], object]) -> dict[str, Any] | None:
    found = notes.read(folder / "run.json")
    if found is None and any(not path.name.startswith(ALLOWED_PREFIXES) for path in folder.iterdir()):
        raise OutputError(
            f"{short_path(folder)} contains files that are not from a Pairwright run; choose an empty folder for --out"
        )
    check(found)
    return found


def _open_nonblocking(path: str, flags: int) -> int:
    """A file descriptor; OSError for a pipe, which would block."""
    return os.open(path, flags | os.O_NONBLOCK, 0o666)


def _locked(folder: Path) -> TextIO:
    """Locks the folder. A child holds the lock too, so a restarted run waits until an orphan is gone."""
    lock = open(folder / ".lock", "a", opener=_open_nonblocking)  # noqa: SIM115 - must stay open
    until = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                lock.close()
                raise OutputError(
                    f"{short_path(folder)} is in use by another run; wait for it, or choose another --out"
                ) from None
            time.sleep(0.1)
        except BaseException:
            lock.close()
            raise
        else:
            os.set_inheritable(lock.fileno(), True)
            return lock


@contextmanager
def disk_errors_translated(*folders: Path) -> Generator[None]:
    """While a run works in these folders: errors of their disks, or of the disk of temporary files, that were not translated closer to
    their origin become a StoreError."""
    try:
        yield
    except OSError as error:
        if error.errno not in SAYS or isinstance(
            error, ConnectionError
        ):  # network errors are translated where requests are made
            raise
        if error.errno == errno.ENOENT and error.filename is None:  # raised by `tempfile`
            raise StoreError("no writable folder for temporary files; set TMPDIR to one") from error
        raise StoreError(error_line(error, error.filename or _fullest(folders))) from error
    except sqlite3.Error as error:  # from the temporary database of intake.py
        raise StoreError(
            error_line(error, f"a temporary file for {folders[0]}", "set TMPDIR to a writable folder")
        ) from error


def _fullest(folders: tuple[Path, ...]) -> Path:
    """The folder whose disk has the least free space, including that of temporary files."""
    free = {}
    for folder in (Path(tempfile.gettempdir()), *folders):
        with suppress(OSError):
            free[shutil.disk_usage(folder).free] = folder
    return free[min(free)] if free else folders[0]
