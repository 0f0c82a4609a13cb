"""Lists the files of a source in a stable order and opens them, locally or at a URL."""

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

_DOWNLOAD = 16 << 30, 3600.0  # maximum bytes and seconds for a row file from a web server


class Refused(InputError):
    """The path is not a regular file, or a link that leads out of its folder."""

    def __init__(self, detail: str, reason: Reason = Reason.MISSING_FILE):
        super().__init__(detail)
        self.reason = reason

    def as_row(self) -> RowError:
        """The error as a RowError, to reject a row instead of ending the run."""
        return RowError(self.reason, str(self))


def is_file(path: str) -> bool:
    """Whether `path` is a single file; always true for a web address. InputError if its object store cannot be reached."""
    if not urls.is_url(path):
        return os.path.isfile(path)
    if urls.scheme(path) in urls.WEB:
        return True
    with _input_errors(path):
        system, inside = _system(path)
        return system.isfile(inside)


def folders(root: str) -> Iterator[tuple[str, list[str]]]:
    """Yields a folder and its subfolders, each with its file names in order; the path is relative to `root`, "" for the root itself.
    Hidden files and folders are skipped. InputError if it cannot be listed."""
    if not urls.is_url(root):
        found = os.walk(root, onerror=_unlistable)
        below = lambda folder: os.path.relpath(folder, root)
    elif urls.scheme(root) in urls.WEB:
        raise InputError(
            f"{urls.clean(root)}: web servers cannot list folders; name single files, or use an object store such as s3://"
        )
    else:
        system, path = _system(root)
        found = system.walk(path, on_error="raise")
        below = lambda folder: folder.rstrip("/")[len(path.rstrip("/")) :].strip("/") or "."
    with _input_errors(root):
        for folder, inside, names in found:
            inside[:] = sorted(name for name in inside if not name.startswith("."))
            name = below(folder)
            yield "" if name == "." else name, sorted(name for name in names if name and not name.startswith("."))


def walk(root: str) -> Iterator[str]:
    """Paths of all files below a folder, relative to it; a folder's own files come before those of its subfolders."""
    for folder, names in folders(root):
        for name in names:
            yield f"{folder}/{name}" if folder else name


def join(root: str, name: str) -> str:
    """`name` below the folder or URL `root`."""
    return urls.join(root, name) if urls.is_url(root) else os.path.join(root, name)


def parent(path: str) -> str:
    """The folder of a path or URL."""
    return urls.parent(path) if urls.is_url(path) else os.path.dirname(path)


def base(path: str) -> str:
    """The last part of a path or URL."""
    return urls.clean(path).rstrip("/").rpartition("/")[2] if urls.is_url(path) else os.path.basename(path)


def no_such_file_error(path: str) -> InputError:
    """The error for a path that is neither a readable file nor a folder."""
    if not urls.is_url(path) and (kind := kind_of(path)):
        return Refused(f"{path} is {kind}, not a regular file; set path to a file or folder")
    return InputError(f"{path} does not exist; correct path")


@contextmanager
def opened(path: str, limits: Limits, below: str | None = None) -> Generator[BufferedIOBase]:
    """Opens a file for reading from its start, seekable. Files from a web server are downloaded to a temporary file first.

    With `below`, a local file must be inside that folder after resolving links. InputError (Refused): it does not exist, is not a
    regular file, or reading fails, whatever the backend raises."""
    if not urls.is_url(path):
        try:
            file = os.fdopen(open_regular(path, below)[0], "rb")
        except NotRegular as error:
            raise Refused(f"{path} is {error}, not a regular file; set another path or remove it") from error
        except Outside as error:
            detail = f"{path} is a link that leads out of its folder; replace it with the file"
            raise Refused(detail, Reason.UNSAFE) from error
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read {path} ({why}); correct its permissions or set another path") from error
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
        with _input_errors(path):
            system, inside = _system(path)
            with system.open(inside, "rb") as file:
                yield file


def _system(url: str):
    if urls.scheme(url) not in urls.OBJECTS or "::" in url:
        allowed = ", ".join((*urls.WEB, *urls.OBJECTS))
        raise InputError(f"{urls.clean(url)}: unsupported scheme; use one of {allowed}")
    with _input_errors(url):
        return urls.filesystem(url)


@contextmanager
def _input_errors(path: str) -> Generator[None]:
    """Converts errors of fsspec backends into one InputError; their own texts may contain credentials."""
    try:
        yield
    except PairwrightError:
        raise
    except FileNotFoundError:
        label = urls.clean(path) if urls.is_url(path) else path
        raise InputError(f"{label} does not exist; correct path") from None
    except ImportError as error:
        raise InputError(f"reading {urls.clean(path)} needs the package {error.name}; install it") from None
    except Exception as error:
        if not urls.is_url(path):
            raise
        kind = type(error).__name__
        raise InputError(
            f"cannot read {urls.clean(path)} ({kind}); check that it exists and whether it needs credentials"
        ) from None


def _unlistable(error: OSError) -> None:
    raise InputError(
        f"cannot list the folder {error.filename} ({error.strerror}); correct its permissions or set another path"
    )
