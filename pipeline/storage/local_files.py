"""Opens local files that rows, sources and recipes name, and only regular files.

A pipe would block, a device may be endless, and a link may lead to either. The check is made on the open descriptor, not on the name, so
nothing can change between check and reading."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_FLAGS = (
    os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
)  # does not block on a pipe, and does not take over a terminal
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
}  # fmt: skip


class NotRegular(OSError):
    """The path exists but is not a regular file; the message says what it is."""


class Outside(OSError):
    """The file is outside of the expected folder: a link leads out of it."""


def open_regular(path: str, below: str | None = None) -> tuple[int, int]:
    """(descriptor, size in bytes) of the regular file at `path`; the caller closes it.

    With `below`, the file must be in that folder after all links are resolved. OSError if it cannot be opened, including NotRegular and
    Outside; ValueError for a path with a null byte."""
    try:
        file = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NotRegular("a socket or a device") from None
        raise
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotRegular(_KINDS.get(stat.S_IFMT(found.st_mode), "not a file"))
        if below is not None and not is_below(os.readlink(f"/proc/self/fd/{file}"), os.path.realpath(below)):
            raise Outside(path)
    except BaseException:
        os.close(file)
        raise
    return file, found.st_size


def open_for_reading(path: Path) -> BufferedReader:
    """The regular file at `path`, open for reading. OSError as from `open_regular`, IsADirectoryError for a folder."""
    try:
        return os.fdopen(open_regular(str(path))[0], "rb")
    except NotRegular:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise


def read(path: Path) -> bytes:
    """The content of the regular file at `path`. OSError as from `opened`."""
    with open_for_reading(path) as file:
        return file.read()


def is_below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or below it; both with links resolved."""
    return os.path.commonpath((path, folder)) == folder


def kind_of(path: str) -> str | None:
    """What is at `path`: `a pipe`, `a socket`, `a device` or `a folder`; None for a regular file or a missing one."""
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):
        return None
