"""Files of this machine that rows, sources and recipes name, opened by one door: it reads regular files only.

A pipe would wait for a writer, a device may have no end, and a name may lead to either through a link. What is asked is the open
descriptor, never the name, so nothing can change between the check and the reading."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_FLAGS = (
    os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
)  # a pipe answers at once, and a terminal stays whose it was
_KINDS = {
    stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
}  # fmt: skip


class NotRegular(OSError):
    """There is something of this name, but not a file that can be read to its end; the text says what it is."""


class Outside(OSError):
    """The file lies outside of the folder in which it was looked for: a link led there."""


def open_regular(path: str, below: str | None = None) -> tuple[int, int]:
    """A descriptor of the regular file at `path`, to be read and closed by the caller, and its size in bytes.

    With `below` the file itself, whatever links lead to it, must lie in that folder. OSError when it cannot be opened, NotRegular
    and Outside among them; ValueError for a name with a zero byte."""
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


def opened(path: Path) -> BufferedReader:
    """The regular file at `path`, open for reading. OSError as of `open_regular`, IsADirectoryError for a folder."""
    try:
        return os.fdopen(open_regular(str(path))[0], "rb")
    except NotRegular:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
        raise


def read(path: Path) -> bytes:
    """What that file holds."""
    with opened(path) as file:
        return file.read()


def is_below(path: str, folder: str) -> bool:
    """Whether a path lies in a folder; both without links in them."""
    return os.path.commonpath((path, folder)) == folder


def kind_of(path: str) -> str | None:
    """What lies at `path`: `a pipe`, `a socket`, `a device`, `a folder`; None for a regular file and for nothing."""
    try:
        return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):
        return None
