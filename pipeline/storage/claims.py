"""Requests claimed by the builds that share a cache, so that no two of them send the same one.

Each build has a file in a folder next to the cache: a table of the keys that are in flight, or whose answers are not committed yet. All
builds map these files into memory, so a claim is a write of a few bytes, without locks or system calls. A file is locked while its process
lives: the claims of a dead process are void."""

import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import StoreError

SIZE = 16  # bytes of a key; the header has as many: a flag that builds came or went (byte 0), the last place ever used (bytes 8-15)
PLACES = 1 << 14  # maximum claims of a build at a time; requests beyond that are not claimed
BYTES = SIZE * (PLACES + 1)
NOBODY = bytes(SIZE)


class _Table:
    """A mapped file, of this build or another one."""

    def __init__(self, path: Path, file: int):
        self.path, self.file = path, file
        self.map = mmap.mmap(file, BYTES)

    def has(self, key: bytes) -> bool:
        return self.map.find(key, SIZE, int.from_bytes(self.map[8:16], "little") + SIZE) >= 0

    def close(self) -> None:
        self.map.close()
        os.close(self.file)


class Claims:
    """The claims of one build. Creates no file before its first claim. Not thread-safe."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._own: _Table | None = None
        self._others: dict[str, _Table] = {}
        self._places: dict[bytes, int] = {}  # key -> its place in the table
        self._free: list[int] = []  # places to reuse
        self._last = 0  # last place ever used
        self._fence = threading.Lock()  # memory barrier between writing and reading

    def claim(self, key: bytes) -> bool:
        """Claims a request. False if there are other builds: then `is_mine` tells whether one of them has claimed it. StoreError if the table
        cannot be written."""
        if self._own is None:
            self._own = self._join()
        table = self._own.map
        if self._free:
            place = self._free.pop()
        elif self._last < SIZE * PLACES:
            place = self._last = self._last + SIZE
            table[8:16] = place.to_bytes(8, "little")
        else:
            return True
        self._places[key] = place
        table[place : place + SIZE] = key
        return not self._others and not table[0]

    def is_mine(self, key: bytes) -> bool:
        """Whether no other build has claimed the same request; otherwise this claim is dropped."""
        with self._fence:
            pass
        if self.is_claimed_elsewhere(key):
            self.release((key,))
            return False
        return True

    def is_claimed_elsewhere(self, key: bytes) -> bool:
        """Whether another living build has claimed the request."""
        if self._own is not None and self._own.map[0]:
            self._own.map[0] = 0
            with self._alone():
                self._look()
        for name, other in list(self._others.items()):
            if other.has(key):
                if not _free(other.file):
                    return True
                other.path.unlink(missing_ok=True)
                self._others.pop(name).close()
        return False

    @property
    def shared(self) -> bool:
        """Whether there were other builds at the last check."""
        return bool(self._others)

    def release(self, keys: Iterable[bytes]) -> None:
        """Releases claims: their answers are committed, or failed."""
        for key in keys:
            if (place := self._places.pop(key, None)) is not None and self._own is not None:
                self._own.map[place : place + SIZE] = NOBODY
                self._free.append(place)

    def close(self) -> None:
        """Releases all claims, notifies the other builds, and removes the files of dead ones."""
        if self._own is None:
            with suppress(OSError):  # no folder, or a read-only one
                self._tidy()
        else:
            with self._alone():
                self._own.path.unlink(missing_ok=True)
                self._look()
                for other in self._others.values():
                    other.map[0] = 1
            for table in (self._own, *self._others.values()):
                table.close()
            self._own, self._others, self._places, self._free, self._last = None, {}, {}, [], 0

    def _tidy(self) -> None:
        """Removes the files of dead builds, for a build that claimed nothing."""
        with self._alone():
            self._look()
        for table in self._others.values():
            table.close()
        self._others = {}

    def _join(self) -> _Table:
        """Creates this build's table and notifies the other builds."""
        path = self._folder / secrets.token_hex(8)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    os.posix_fallocate(
                        file, 0, BYTES
                    )  # otherwise a write to mapped memory on a full disk kills the process
                    own = _Table(path, file)
                except BaseException:
                    os.close(file)
                    path.unlink()
                    raise
                self._look(path.name)
        except OSError as error:
            raise StoreError(
                f"cannot write to {self._folder} ({error.strerror}); check its disk and permissions"
            ) from error
        for other in self._others.values():
            other.map[0] = 1
        return own

    def _look(self, own: str = "") -> None:
        """Finds the other builds, and removes the files of dead ones."""
        own = own or (self._own.path.name if self._own else "")
        there = {path.name: path for path in self._folder.iterdir() if path.name != own}
        for name in self._others.keys() - there.keys():
            self._others.pop(name).close()
        for name, path in there.items():
            known = self._others.get(name)
            file = known.file if known else os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if _free(file):
                path.unlink()
                if known:
                    self._others.pop(name).close()
                else:
                    os.close(file)
            elif known is None:
                self._others[name] = _Table(path, file)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Within the context, no other build joins or leaves."""
        gate = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)


def _free(file: int) -> bool:
    """Whether the process that locked a file has ended."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        return True
    return False
