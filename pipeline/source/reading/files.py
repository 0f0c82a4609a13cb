"""Files of a source, on this machine or at a URL: listed in an order that stays, and opened to be read."""

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import BufferedIOBase

from pipeline.media.fetch import Fetcher, Limits
from pipeline.storage import urls
from pipeline.storage.local_files import NotRegular, Outside, kind_of, open_regular
from schemas.errors import InputError, PairwrightError, RowError
from schemas.records import Reason

_DOWNLOAD = 16 << 30, 3600.0  # bytes and seconds of a file of rows that comes from a web server


class Refused(InputError):
    """What is named is not a regular file, or is a link that leads out of its folder."""

    def __init__(self, detail: str, reason: Reason = Reason.MISSING_FILE):
        super().__init__(detail)
        self.reason = reason

    def as_row(self) -> RowError:
        """The same, where it costs a row and not the run."""
        return RowError(self.reason, str(self))


def is_file(path: str) -> bool:
    """Whether there is one file at `path`; a web address always is one. InputError when its store does not answer."""
    if not urls.is_url(path):
        return os.path.isfile(path)
    if urls.scheme(path) in urls.WEB:
        return True
    with _told(path):
        system, inside = _system(path)
        return system.isfile(inside)


def folders(root: str) -> Iterator[tuple[str, list[str]]]:
    """A folder and all below it, each with the names of its files in order; a folder's path is relative, "" for the first.
    Hidden ones are passed over. InputError when it cannot be listed."""
    if not urls.is_url(root):
        found = os.walk(root, onerror=_unlistable)
        below = lambda folder: os.path.relpath(folder, root)
    elif urls.scheme(root) in urls.WEB:
        raise InputError(
            f"{urls.clean(root)}: a web server has no folders to list; name its files, or a store like s3://"
        )
    else:
        system, path = _system(root)
        found = system.walk(path, on_error="raise")
        below = lambda folder: folder.rstrip("/")[len(path.rstrip("/")) :].strip("/") or "."
    with _told(root):
        for folder, inside, names in found:
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            name = below(folder)
            yield "" if name == "." else name, sorted(name for name in names if name and not name.startswith("."))


def walk(root: str) -> Iterator[str]:
    """Paths of all files below a folder, relative to it: those of a folder first, then those of the folders in it."""
    for folder, names in folders(root):
        for name in names:
            yield f"{folder}/{name}" if folder else name


def join(root: str, name: str) -> str:
    return urls.join(root, name) if urls.is_url(root) else os.path.join(root, name)


def parent(path: str) -> str:
    return urls.parent(path) if urls.is_url(path) else os.path.dirname(path)


def base(path: str) -> str:
    """The last part of a path or URL."""
    return urls.clean(path).rstrip("/").rpartition("/")[2] if urls.is_url(path) else os.path.basename(path)


def missing(path: str) -> InputError:
    """What to say of a path that is neither a file nor a folder that can be read."""
    if not urls.is_url(path) and (kind := kind_of(path)):
        return Refused(f"{path} is {kind}, not a regular file; set path to a file or folder")
    return InputError(f"there is no file or folder {path}; set path to one")


@contextmanager
def opened(path: str, limits: Limits, below: str | None = None) -> Generator[BufferedIOBase]:
    """The file, to be read from its start, seekable. One from a web server is brought into a temporary file first.

    With `below` a file of this machine must lie in that folder, whatever links lead to it.
    InputError when it is not there, is not a regular file or breaks off, whatever the backend raises."""
    if not urls.is_url(path):
        try:
            file = os.fdopen(open_regular(path, below)[0], "rb")
        except NotRegular as error:
            raise Refused(f"{path} is {error}, not a regular file; set another path or remove it") from error
        except Outside as error:
            detail = f"{path} is a link that leads out of its folder; put the file itself there"
            raise Refused(detail, Reason.UNSAFE) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"{path} cannot be read ({why}); correct its rights or set another path") from error
        with file:
            yield file
    elif urls.scheme(path) in urls.WEB:
        with tempfile.TemporaryFile() as file:
            fetcher = Fetcher(limits)
            try:
                fetcher.download(path, file.write, *_DOWNLOAD, rewind=lambda: (file.seek(0), file.truncate()))
            except RowError as error:
                raise InputError(error.detail) from None
            finally:
                fetcher.close()
            file.seek(0)
            yield file
    else:
        with _told(path):
            system, inside = _system(path)
            with system.open(inside, "rb") as file:
                yield file


def _system(url: str):
    if urls.scheme(url) not in urls.OBJECTS or "::" in url:
        allowed = ", ".join((*urls.WEB, *urls.OBJECTS))
        raise InputError(f"{urls.clean(url)}: its scheme is none of {allowed}")
    with _told(url):
        return urls.filesystem(url)


@contextmanager
def _told(path: str) -> Generator[None]:
    """Turns what a backend of fsspec raises into one InputError; its own texts may hold credentials."""
    try:
        yield
    except PairwrightError:
        raise
    except FileNotFoundError:
        said = urls.clean(path) if urls.is_url(path) else path
        raise InputError(f"there is no file or folder {said}; set path to one") from None
    except ImportError as error:
        raise InputError(f"{urls.clean(path)} needs the package {error.name}; install it") from None
    except Exception as error:
        if not urls.is_url(path):
            raise
        kind = type(error).__name__
        raise InputError(
            f"{urls.clean(path)} cannot be read ({kind}); see whether it is there and needs credentials"
        ) from None


def _unlistable(error: OSError) -> None:
    raise InputError(f"the folder {error.filename} cannot be listed ({error.strerror}); set path to a folder of media")
