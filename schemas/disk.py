"""What a disk says, as one line with its remedy: whoever reads or writes a file translates with this, at that file."""

import errno
import shutil
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import OutputError, PairwrightError, RecipeError, StoreError
from schemas.records import one_line

ROOM = 64 << 10  # bytes
PATIENCE = 60.0  # seconds that a SQLite file is waited for while other processes write it
AGAIN = "run the same command again"
# errno -> what is wrong, and its remedy
SAYS = {
    errno.ENOSPC: ("its disk is full", f"free some space, then {AGAIN}"),
    errno.EDQUOT: ("your quota on its disk is used up", f"free some space, then {AGAIN}"),
    errno.EFBIG: ("a file would be larger than is allowed", f"raise the limit (`ulimit -f`), then {AGAIN}"),
    errno.EROFS: ("its disk is read-only", "make it writable, or choose another folder"),
    errno.EACCES: ("permission denied", "give yourself the rights to it, or choose another place"),
    errno.EPERM: ("permission denied", "give yourself the rights to it, or choose another place"),
    errno.ENOENT: ("it is not there", "correct the path, or make the folder that it is to be in"),
    errno.EEXIST: ("something else is in its place", "move that away, or choose another place"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "correct the path, or choose another place"),
    errno.EISDIR: ("a folder is in its place", f"move that folder away, then {AGAIN}"),
    errno.ENXIO: ("a pipe, a socket or a device is in its place", f"move that away, then {AGAIN}"),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter one"),
    errno.ELOOP: ("its links lead in a circle", "correct the links, or choose another place"),
    errno.EINVAL: ("no file can have this name", "correct the path"),
    errno.EIO: ("its disk cannot be read or written (I/O error)", f"check the disk, then {AGAIN}"),
    errno.ESTALE: ("its network disk went away", f"mount it again, then {AGAIN}"),
    errno.EMFILE: ("too many files are open", f"raise the limit (`ulimit -n`), then {AGAIN}"),
    errno.ENFILE: ("too many files are open", f"close other programs, then {AGAIN}"),
    errno.ENOMEM: ("there is not enough memory", f"free some, then {AGAIN}"),
}
# what is nobody's mistake, wherever it comes up
FAILS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# SQLite's primary code -> the same, of one of its files
SAYS_SQLITE = {
    sqlite3.SQLITE_FULL: SAYS[errno.ENOSPC],
    sqlite3.SQLITE_IOERR: SAYS[errno.EIO],
    sqlite3.SQLITE_READONLY: ("it cannot be written", "make it and its folder writable, or choose another folder"),
    sqlite3.SQLITE_PERM: SAYS[errno.EACCES],
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened or made", "check that it is a file, and the rights and free space of its folder"
    ),
    sqlite3.SQLITE_BUSY: ("another process holds it", f"wait for that one or end it, then {AGAIN}"),
    sqlite3.SQLITE_LOCKED: ("another process holds it", f"wait for that one or end it, then {AGAIN}"),
}  # fmt: skip
BROKEN_SQLITE = "it is damaged: SQLite cannot read it"  # other codes, among them those of a damaged file


def error_line(error: OSError | sqlite3.Error, where: Path | str, remedy: str = "") -> str:
    """The line for what the system or SQLite raised about `where`. `remedy`: what helps against a damaged SQLite file."""
    what, helps = cause_and_remedy(error, where, remedy)
    return f"{short_path(where)}: {what}; {helps}"


def cause_and_remedy(error: OSError | sqlite3.Error, where: Path | str, remedy: str = "") -> tuple[str, str]:
    """(what is wrong, what helps) of that line."""
    if isinstance(error, OSError):
        named = error.strerror or str(error) or type(error).__name__
        return SAYS.get(error.errno or 0, (named.lower(), f"check the disk and your rights, then {AGAIN}"))
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_IOERR and _is_full(where):
        return SAYS[errno.ENOSPC]
    return SAYS_SQLITE.get(code, (BROKEN_SQLITE, remedy or "put it back from a copy"))


def _is_full(where: Path | str) -> bool:
    """Whether the disk of a file has no room for what SQLite keeps beside it, of which it says no more than that it cannot be written."""
    try:
        return shutil.disk_usage(Path(where).parent).free < ROOM
    except OSError:
        return False


def short_path(where: Path | str) -> str:
    """A path as a line shows it: on one line, and cut where it is very long."""
    text = one_line(str(where))
    return text if len(text) <= 300 else f"{text[:150]}...{text[-150:]}"


def read_text(file: Path, what: str) -> str:
    """The text of a file that a recipe names; `what` it is, in the words of the line. RecipeError where it is not a regular file (a pipe
    would be waited for), cannot be read or is not UTF-8."""
    try:
        if file.exists() and not file.is_file():
            raise RecipeError(
                f"cannot read the {what} {short_path(file)}: it is a folder or a device; name a text file"
            )
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"cannot read the {what} {short_path(file)}: it is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"cannot read the {what} {error_line(error, file)}") from None
    except ValueError:
        raise RecipeError(
            f"cannot read the {what} {short_path(file)}: no file can have this name; correct the path"
        ) from None


def database(path: Path | str, synchronous: str) -> sqlite3.Connection:
    """Opens (or makes) a SQLite file that several processes and threads may write; each waits PATIENCE for the others. `synchronous`: `full` when a
    commit must outlive a power cut, else `normal`. sqlite3.Error."""
    db = sqlite3.connect(path, isolation_level=None, timeout=PATIENCE, check_same_thread=False)
    until = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                db.execute("pragma journal_mode=wal")
                break
            except sqlite3.OperationalError as error:  # for this statement SQLite itself does not wait
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
    """Inside, what the system or SQLite raises is raised as one `kind` that names the file it is about, `where` if it names none."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise kind(error_line(error, _named(error) or where, remedy)) from error


@contextmanager
def place(where: Path | str, option: str = "", kind: type[PairwrightError] = OutputError) -> Generator[None]:
    """The same for a place that a user named, by `option` if there is one; also where no file can have such a name. StoreError where it
    is the disk's fault."""
    head = f"{option} " if option else ""
    try:
        yield
    except OSError as error:
        kind = StoreError if error.errno in FAILS else kind
        raise kind(head + error_line(error, _named(error) or where)) from error
    except ValueError as error:  # a NUL, or a character that the file system cannot hold
        raise kind(f"{head}{short_path(where)}: no file can have this name; correct the path") from error


def _named(error: Exception) -> str | None:
    name = getattr(error, "filename", None)
    return None if name is None or isinstance(name, int) else str(name)
