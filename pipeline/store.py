"""The media store: bytes under their SHA-256, in a local folder or at any fsspec URL."""

import hashlib
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec

from schemas.errors import StoreError

_SYNCING = 8  # files at a time


def open_store(where: str | Path) -> "FolderStore | UrlStore":
    """The store at a folder (`data/media`, `file:///data/media`) or at an fsspec URL (`s3://bucket/media`)."""
    scheme, separator, rest = str(where).partition("://")
    if not separator:
        return FolderStore(where)
    return FolderStore(rest) if scheme == "file" else UrlStore(str(where))


class FolderStore:
    """Media as files `root/ab/cdef...` of a local folder, which any number of processes may write at once.

    A file appears whole or not at all, but may be lost when the machine goes down before `sync()`."""

    def __init__(self, root: str | Path):
        self.root = os.path.abspath(root)
        self._unsynced: set[str] = set()

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex. StoreError when the folder cannot be written."""
        sha = hashlib.sha256(data).hexdigest()
        path = self._file(sha)
        try:
            if not _holds(path, len(data)):
                _write(path, data)
        except OSError as error:
            raise _failed(self.root, error) from error
        self._unsynced.add(path)
        return sha

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name."""
        try:
            with open(self._file(sha), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise KeyError(sha) from None
        except OSError as error:
            raise _failed(self.root, error) from error

    def path(self, sha: str) -> Path | None:
        """Where the bytes lie; None when the store has none of that name."""
        path = Path(self._file(sha))
        return path if path.exists() else None

    def sync(self) -> None:
        """Makes durable what was added since the last sync, also where another process wrote it first."""
        paths, self._unsynced = self._unsynced, set()
        folders = {os.path.dirname(path) for path in paths}
        try:
            # side by side, because a filesystem writes its journal once for all that wait for it
            with ThreadPoolExecutor(_SYNCING) as pool:
                for batch in (paths, folders, [self.root] if folders else []):
                    list(pool.map(_fsync, batch))
        except OSError as error:
            raise _failed(self.root, error) from error

    def _file(self, sha: str) -> str:
        _check(sha)
        return f"{self.root}/{sha[:2]}/{sha[2:]}"


class UrlStore:
    """Media as objects `url/ab/cdef...` of a filesystem that fsspec knows and that puts objects whole or not at all."""

    def __init__(self, url: str):
        self.url = url
        self._system, self._root = fsspec.core.url_to_fs(url)

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex. StoreError when the store does not answer."""
        sha = hashlib.sha256(data).hexdigest()
        try:
            if not self._system.exists(self._object(sha)):
                self._system.pipe_file(self._object(sha), data)
        except OSError as error:
            raise _failed(self.url, error) from error
        return sha

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name."""
        try:
            return self._system.cat_file(self._object(sha))
        except FileNotFoundError:
            raise KeyError(sha) from None
        except OSError as error:
            raise _failed(self.url, error) from error

    def path(self, sha: str) -> None:
        """None: nothing here has a local path."""

    def sync(self) -> None:
        """Nothing to do: an object that was put is durable."""

    def _object(self, sha: str) -> str:
        _check(sha)
        return f"{self._root}/{sha[:2]}/{sha[2:]}"


def _check(sha: str) -> None:
    # ids may come from other people's datasets: no name may lead out of the store
    if len(sha) != 64 or not sha.isalnum():
        raise KeyError(sha)


def _holds(path: str, size: int) -> bool:
    # the size is compared because a power cut before a sync can leave a name without its bytes
    try:
        return os.stat(path).st_size == size
    except FileNotFoundError:
        return False


def _write(path: str, data: bytes) -> None:
    beside = f"{path}.{secrets.token_hex(8)}"
    try:
        descriptor = _create(beside)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = _create(beside)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(where: str, error: OSError) -> StoreError:
    return StoreError(f"the media store {where} does not answer ({error.strerror or error}); check its disk and rights")
