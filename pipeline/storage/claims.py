"""Which questions the builds on one cache have in flight, so that none is asked by two of them.

Each build has a file in a folder beside the answers: a table of the keys that it is asking, or whose answers it has not committed yet. All
map these files into memory, so a claim is a few bytes written there, and no lock and no system call is in a question's way. A file is
locked as long as its process lives, however that ends: what a dead one has claimed is free."""

import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import StoreError

SIZE = 16  # bytes of a key; as many stand before the first: whether others came or went, and the last place ever used
PLACES = 1 << 14  # questions that a build claims at a time; what it asks beyond that is not claimed
BYTES = SIZE * (PLACES + 1)
NOBODY = bytes(SIZE)


class _Table:
    """A build's file, mapped: its own one, or that of another."""

    def __init__(self, path: Path, file: int):
        self.path, self.file = path, file
        self.map = mmap.mmap(file, BYTES)

    def has(self, key: bytes) -> bool:
        return self.map.find(key, SIZE, int.from_bytes(self.map[8:16], "little") + SIZE) >= 0

    def close(self) -> None:
        self.map.close()
        os.close(self.file)


class Claims:
    """Those of one build. Nothing is there before its first claim. Not for several threads."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._own: _Table | None = None
        self._others: dict[str, _Table] = {}
        self._places: dict[bytes, int] = {}  # key -> where it stands
        self._free: list[int] = []  # places that were used
        self._last = 0  # place ever used
        self._fence = threading.Lock()  # taken between writing and reading: no processor may exchange these two

    def take(self, key: bytes) -> bool:
        """Claims a question. False where other builds are there: `ours` says whether one of them has it. StoreError when the disk does
        not take the table."""
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

    def ours(self, key: bytes) -> bool:
        """Whether no other build has the question that was claimed; the claim is given up where one has."""
        with self._fence:
            pass
        if self.elsewhere(key):
            self.drop((key,))
            return False
        return True

    def elsewhere(self, key: bytes) -> bool:
        """Whether another build has the question, and lives."""
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
        """Whether other builds were there when this was last looked at."""
        return bool(self._others)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Gives claims up: the answers are committed, or there will be none."""
        for key in keys:
            if (place := self._places.pop(key, None)) is not None and self._own is not None:
                self._own.map[place : place + SIZE] = NOBODY
                self._free.append(place)

    def close(self) -> None:
        """Gives up all of them; the others are told, and what the dead left is removed."""
        if self._own is not None:
            with self._alone():
                self._own.path.unlink(missing_ok=True)
                self._look()
                for other in self._others.values():
                    other.map[0] = 1
            for table in (self._own, *self._others.values()):
                table.close()
            self._own, self._others, self._places, self._free, self._last = None, {}, {}, [], 0

    def _join(self) -> _Table:
        """A table of our own; the others are told."""
        path = self._folder / secrets.token_hex(8)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    os.posix_fallocate(file, 0, BYTES)  # a write to memory that finds the disk full ends the process
                    own = _Table(path, file)
                except BaseException:
                    os.close(file)
                    path.unlink()
                    raise
                self._look(path.name)
        except OSError as error:
            raise StoreError(
                f"{self._folder} cannot be written ({error.strerror}); check its disk and rights"
            ) from error
        for other in self._others.values():
            other.map[0] = 1
        return own

    def _look(self, own: str = "") -> None:
        """Finds who is there, and removes what the dead left."""
        own = own or (self._own.path.name if self._own else "")
        there = {path.name: path for path in self._folder.iterdir() if path.name != own}
        for name in self._others.keys() - there.keys():
            self._others.pop(name).close()
        for name, path in there.items():
            if name in self._others:
                continue
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            if _free(file):
                os.close(file)
                path.unlink()
            else:
                self._others[name] = _Table(path, file)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Inside, nobody else comes or goes."""
        gate = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield
        finally:
            os.close(gate)


def _free(file: int) -> bool:
    """Whether the process that locked a file is gone."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(file, fcntl.LOCK_UN)
        return True
    return False
