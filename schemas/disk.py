"""Disk and SQLite errors as one line with a remedy, for all code that reads or writes files."""

import errno
import shutil
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import OutputError, PairwrightError, RecipeError, StoreError
from schemas.records import one_line

ROOM = 64 << 10  # bytes; with less free space a disk counts as full
PATIENCE = 60.0  # seconds to wait for other processes that write the same SQLite file
AGAIN = "run the same command again"
# errno -> what is wrong, and its remedy
SAYS = {
    errno.ENOSPC: ("its disk is full", f"free some space, then {AGAIN}"),
    errno.EDQUOT: ("your quota on its disk is used up", f"free some space, then {AGAIN}"),
    errno.EFBIG: ("a file would exceed the size limit", f"raise the limit (`ulimit -f`), then {AGAIN}"),
    errno.EROFS: ("its disk is read-only", "make it writable, or choose another folder"),
    errno.EACCES: ("permission denied", "grant yourself access, or choose another place"),
    errno.EPERM: ("permission denied", "grant yourself access, or choose another place"),
    errno.ENOENT: ("it does not exist", "correct the path, or create the folder"),
    errno.EEXIST: ("something else is in its place", "move that away, or choose another place"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "correct the path, or choose another place"),
    errno.EISDIR: ("a folder is in its place", f"move that folder away, then {AGAIN}"),
    errno.ENXIO: ("a pipe, a socket or a device is in its place", f"move that away, then {AGAIN}"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
    errno.ELOOP: ("its links form a loop", "correct the links, or choose another place"),
    errno.EINVAL: ("not a valid file name", "correct the path"),
    errno.EIO: ("I/O error on its disk", f"check the disk, then {AGAIN}"),
    errno.ESTALE: ("its network disk is not mounted", f"mount it, then {AGAIN}"),
    errno.EMFILE: ("too many files are open", f"raise the limit (`ulimit -n`), then {AGAIN}"),
    errno.ENFILE: ("too many files are open", f"close other programs, then {AGAIN}"),
    errno.ENOMEM: ("out of memory", f"free some memory, then {AGAIN}"),
}
# errors that are not the user's mistake, wherever they occur
FAILS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# SQLite's primary error code -> the same
SAYS_SQLITE = {
    sqlite3.SQLITE_FULL: SAYS[errno.ENOSPC],
    sqlite3.SQLITE_IOERR: SAYS[errno.EIO],
    sqlite3.SQLITE_READONLY: ("it cannot be written", "make it and its folder writable, or choose another folder"),
    sqlite3.SQLITE_PERM: SAYS[errno.EACCES],
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened or created", "check that it is a file, and the permissions and free space of its folder"
    ),
    sqlite3.SQLITE_BUSY: ("another process has locked it", f"wait for it or end it, then {AGAIN}"),
    sqlite3.SQLITE_LOCKED: ("another process has locked it", f"wait for it or end it, then {AGAIN}"),
}  # fmt: skip
BROKEN_SQLITE = "it is damaged: SQLite cannot read it"  # all other codes, including those of a damaged file


def error_line(error: OSError | sqlite3.Error, where: Path | str, remedy: str = "") -> str:
    """`PATH: cause; remedy` for an error of the system or SQLite at `where`. `remedy`: the remedy for a damaged SQLite file."""
    cause, helps = cause_and_remedy(error, where, remedy)
    return f"{short_path(where)}: {cause}; {helps}"


def cause_and_remedy(error: OSError | sqlite3.Error, where: Path | str, remedy: str = "") -> tuple[str, str]:
    """The (cause, remedy) of `error_line`."""
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        return SAYS.get(error.errno or 0, (text.lower(), f"check the disk and your permissions, then {AGAIN}"))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_IOERR and _is_full(where):
        return SAYS[errno.ENOSPC]
    return SAYS_SQLITE.get(code, (BROKEN_SQLITE, remedy or "restore it from a backup"))


def _is_full(where: Path | str) -> bool:
    """Whether the disk of a file is full: for its auxiliary files SQLite only reports an I/O error."""
    try:
        return shutil.disk_usage(Path(where).parent).free < ROOM
    except OSError:
        return False


def short_path(where: Path | str) -> str:
    """A path for a message: on one line, and shortened in the middle beyond 300 characters."""
    text = one_line(str(where))
    return text if len(text) <= 300 else f"{text[:150]}...{text[-150:]}"


def read_text(file: Path, what: str) -> str:
    """The text of a file that a recipe names; `what` describes it in messages. RecipeError if it is not a regular file (reading a pipe
    would block), cannot be read or is not UTF-8."""
    try:
        if file.exists() and not file.is_file():
            raise RecipeError(f"cannot read the {what} {short_path(file)}: it is a folder or a device; set a text file")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"cannot read the {what} {short_path(file)}: it is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"cannot read the {what} {error_line(error, file)}") from None
    except ValueError:
        raise RecipeError(
            f"cannot read the {what} {short_path(file)}: not a valid file name; correct the path"
        ) from None


def open_database(path: Path | str, synchronous: str) -> sqlite3.Connection:
    """Opens or creates a SQLite file (WAL) for concurrent writers in processes and threads, each of which waits PATIENCE for the others.
    `synchronous`: `full` if commits must survive a power cut, else `normal`. sqlite3.Error."""
    db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE, check_same_thread=False)
    until = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                db.execute("pragma journal_mode=wal")
                break
            except sqlite3.OperationalError as error:  # SQLite's timeout does not apply to this statement
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        db.execute(f"pragma synchronous={synchronous}")
    except sqlite3.Error:
        db.close()
        raise
    return db


@contextmanager
def disk(where: Path | str, kind: type[PairwrightError] = StoreError, remedy: str = "") -> Generator[None]:
    """Within the context, errors of the system or SQLite are raised as `kind`, with the file that they name, else `where`."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise kind(error_line(error, _named(error) or where, remedy)) from error


@contextmanager
def place(where: Path | str, option: str = "", kind: type[PairwrightError] = OutputError) -> Generator[None]:
    """Like `disk`, for a path that the user gave, as `option` if set; also for invalid file names. StoreError if it is the disk's fault
    (FAILS)."""
    head = f"{option} " if option else ""
    try:
        yield
    except OSError as error:
        kind = StoreError if error.errno in FAILS else kind
        raise kind(head + error_line(error, _named(error) or where)) from error
    except ValueError as error:  # a null byte, or a character that the file system does not support
        raise kind(f"{head}{short_path(where)}: not a valid file name; correct the path") from error


def _named(error: Exception) -> str | None:
    name = getattr(error, "filename", None)
    return None if name is None or isinstance(name, int) else str(name)
