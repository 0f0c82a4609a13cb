"""The media store: bytes under their SHA-256, in a local folder or at any fsspec URL.

Bytes are checked when they leave: what is not what was stored is forgotten and named, and stored again by whoever adds it again."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import xxhash

from pipeline.storage import urls
from pipeline.storage.local_files import NotRegular, opened
from schemas.disk import cause_and_remedy, database
from schemas.errors import DamageError, StoreError

BUFFER, MEDIA = 2 << 20, 1000  # bytes and media that are written together; a system call takes 1,024 pieces
SUMMED = ".sum.pack"  # how the name of a pack ends in which XXH3's eight bytes stand behind each medium; an older version left others
TAIL = 8
_PLACE = "select pack, at, size from media where sha = ?"
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")  # names of SQLite's errors that begin like this: the file is damaged


class Place(NamedTuple):
    """Where a medium lies."""

    pack: str
    at: int
    size: int  # of the medium, without what stands behind it


def open_store(where: str | Path) -> "FolderStore | UrlStore":
    """The store at a folder (`data/media`, `file:///data/media`) or at an fsspec URL (`s3://bucket/media`)."""
    scheme, separator, rest = str(where).partition("://")
    if not separator:
        return FolderStore(where)
    return FolderStore(rest) if scheme == "file" else UrlStore(str(where))


class FolderStore:
    """Media in a local folder, which any number of processes may write at once: each process appends to a pack of its own
    (a file a medium would cost ten times the CPU), and `index.sqlite` says where in which pack a medium lies.

    A medium appears whole or not at all. What a killed process wrote before its `sync` is in no index, and never read; a pack that was never
    synced is still called NAME.new, and the next process that writes media removes it."""

    def __init__(self, root: str | Path):
        self.root = os.path.abspath(root)
        self._index = f"{self.root}/index.sqlite"
        self._lock = threading.Lock()  # sources add on a thread of their own
        self._db: sqlite3.Connection | None = None
        self._packs: dict[str, int] = {}  # name -> file descriptor, for reading
        self._own: tuple[str, int] | None = None  # name and descriptor of the pack that is written
        self._synced = False  # whether that pack has its name
        self._end = 0  # where that pack ends
        self._new: dict[str, tuple[int, int]] = {}  # not written yet: offset and size in the buffer
        self._buffer = memoryview(
            b""
        )  # one for all: media that were held until they are written took their pages anew each time
        self._filled = 0
        self._written: dict[bytes, Place] = {}  # by key; not in the index yet
        self._damaged: set[bytes] = set()  # keys of media that were found so and not added again
        self.again = 0
        """media that were added and found lost or damaged, so that they were stored again"""

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex. StoreError when the folder cannot be written."""
        sha = hashlib.sha256(data).hexdigest()
        with self._lock:
            if sha not in self._new:
                end = self._filled + len(data) + TAIL
                if end > len(self._buffer) or len(self._new) >= MEDIA:
                    end = self._make_room(len(data) + TAIL)
                self._buffer[self._filled : end - TAIL] = data
                self._buffer[end - TAIL : end] = xxhash.xxh3_64_digest(data)
                self._new[sha] = self._filled, len(data)
                self._filled = end
        return sha

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name, DamageError when it has others under it."""
        key = _key(sha)
        with self._lock, _translated(self.root):
            if (place := self._new.get(sha)) is not None:
                return bytes(self._buffer[place[0] : sum(place)])
            place = self._find(key)
            if place is None and key not in self._damaged:
                raise KeyError(sha)
            data = _checked(self._bytes(place), key, place) if place else None
            if data is None:
                self._forget(key)
                raise DamageError(
                    f"{self.root}/{place.pack if place else ''} does not hold medium {sha} as it was stored: run the same "
                    "`pairwright build` again, which stores it again"
                )
        return data

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have. Their bytes are not looked at."""
        for sha in names:
            with self._lock, _translated(self.root):
                if sha not in self._new and self._find(_key(sha)) is None:
                    yield sha

    def sync(self) -> None:
        """Makes durable what was added since the last sync, and lets other processes see it."""
        with self._lock, _translated(self.root):
            self._write()
            if self._own and self._written:
                os.fsync(self._own[1])
                if not self._synced:
                    os.rename(f"{self.root}/{self._own[0]}.new", f"{self.root}/{self._own[0]}")
                    _sync_folder(self.root)
                    self._synced = True
                db = self._open_index()
                db.rollback()
                with db:
                    db.execute("begin immediate")
                    rows = ((key, *place) for key, place in self._written.items())
                    db.executemany("insert or ignore into media values (?, ?, ?, ?)", rows)
                self._written = {}

    def close(self) -> None:
        """Lets go of its files. What was not synced is lost."""
        with self._lock:
            for file in {*self._packs.values(), *([self._own[1]] if self._own else ())}:
                os.close(file)
            if self._db is not None:
                self._db.close()
            self._packs, self._own, self._db = {}, None, None

    def _bytes(self, place: Place) -> bytes:
        """What lies there, with the checksum behind it; less or nothing where the pack is cut off or gone, or the index names no place."""
        try:
            if (file := self._packs.get(place.pack)) is None:
                file = self._packs[place.pack] = os.open(
                    f"{self.root}/{place.pack}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                )
            return os.pread(file, place.size + (TAIL if place.pack.endswith(SUMMED) else 0), place.at)
        except (
            FileNotFoundError,
            IsADirectoryError,
            NotADirectoryError,
            AttributeError,
            TypeError,
            ValueError,
            OverflowError,
            MemoryError,
        ):
            return b""  # an index whose bits were flipped may hold anything
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ESPIPE, errno.ENXIO):  # a place before the file's start, or no file
                return b""
            raise

    def _forget(self, key: bytes) -> None:
        """Takes a medium out of the index, so that it is stored again when it is added again. One that cannot be written stays as it is."""
        self._damaged.add(key)
        self._written.pop(key, None)
        with suppress(sqlite3.Error):
            db = self._open_index()
            db.rollback()
            with db:
                db.execute("begin immediate")
                db.execute("delete from media where sha = ?", (key,))

    def _find(self, key: bytes) -> Place | None:
        """Where a medium lies that was written, also by another process since the last sync."""
        place = self._written.get(key)
        if place is None and (self._db or os.path.exists(self._index)):
            db = self._open_index()
            if not db.in_transaction:  # inside one, looking up takes no lock; each sync ends it
                db.execute("begin")
            place = db.execute(_PLACE, (key,)).fetchone()
            if place is None:
                db.rollback()
                place = db.execute(_PLACE, (key,)).fetchone()
            place = place and Place(*place)
        return place

    def _open_index(self) -> sqlite3.Connection:
        if self._db is None:
            os.makedirs(self.root, exist_ok=True)
            db = database(self._index, "full")
            db.execute(
                "create table if not exists media (sha blob primary key, pack text, at integer, size integer) without rowid"
            )
            self._db = db
        return self._db

    def _drop_index(self) -> None:
        """Begins another index in place of one that is damaged; `index.sqlite.damaged` is what is left of it."""
        if self._db is not None:
            self._db.close()
            self._db = None
        for path in (f"{self._index}-wal", f"{self._index}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path)
        with suppress(FileNotFoundError):
            os.replace(self._index, f"{self._index}.damaged")

    def _make_room(self, size: int) -> int:
        """Empties the buffer; where the next medium, of `size` bytes, ends in it."""
        with _translated(self.root):
            self._write()
        if len(self._buffer) != max(size, BUFFER):  # one that was made for a large medium goes with it
            self._buffer = memoryview(bytearray(max(size, BUFFER)))
        return size

    def _write(self) -> None:
        """Appends what is new to this process's pack, in few calls: each lets other threads run, which costs more than it does."""
        new = {bytes.fromhex(sha): self._buffer[at : at + size + TAIL] for sha, (at, size) in self._new.items()}
        self._new, self._filled = {}, 0
        for key in self._held(new):
            del new[key]
        new = {key: data for key, data in new.items() if key not in self._written}
        if not new:
            return
        if self._own is None:
            os.makedirs(self.root, exist_ok=True)
            _clear(self.root)
            self._own = _new_pack(self.root)
            self._packs[self._own[0]] = self._own[1]
        name, file = self._own
        written, total = os.writev(file, list(new.values())), sum(map(len, new.values()))
        if written < total:  # a disk that is nearly full, or more than two gigabytes
            rest = memoryview(b"".join(new.values()))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
        for key, data in new.items():
            self._written[key] = Place(name, self._end, len(data) - TAIL)
            self._end += len(data)
            self._damaged.discard(key)

    def _held(self, new: dict[bytes, memoryview]) -> list[bytes]:
        """The keys of those that lie in a pack already, byte for byte; what lies there damaged is forgotten."""
        if not new or not (self._db or os.path.exists(self._index)):
            return []
        known = f"select sha, pack, at, size from media where sha in ({','.join('?' * len(new))})"
        try:
            found = self._open_index().execute(known, list(new)).fetchall()
        except sqlite3.DatabaseError as error:
            if not _broken(error):
                raise
            self._drop_index()
            return []
        held = [key for key, *place in found if self._same(Place(*place), new[key])]
        for key in {key for key, *_ in found} - set(held):
            self._forget(key)
            self.again += 1
        return held

    def _same(self, place: Place, new: memoryview) -> bool:
        """Whether these bytes lie there, and a reader would take them."""
        found = self._bytes(place)
        return found == new if str(place.pack).endswith(SUMMED) else found == new[:-TAIL]


class UrlStore:
    """Media as objects `url/ab/cdef...` of a filesystem that fsspec knows and that puts objects whole or not at all."""

    again = 0  # as FolderStore's: an object is not looked at when it is added

    def __init__(self, url: str):
        self.url = url
        with _answering(url):
            import fsspec  # here, as a local store needs none of it

            self._system, self._root = fsspec.core.url_to_fs(url)

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex. StoreError when the store does not answer."""
        sha = hashlib.sha256(data).hexdigest()
        with _answering(self.url):
            if not self._system.exists(self._object(sha)):
                self._system.pipe_file(self._object(sha), data)
        return sha

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name, DamageError when it has others under it."""
        with _answering(self.url):
            try:
                data = self._system.cat_file(self._object(sha))
            except FileNotFoundError:
                raise KeyError(sha) from None
            if hashlib.sha256(data).hexdigest() == sha:
                return data
            with suppress(Exception):  # who may not remove it may read it
                self._system.rm_file(self._object(sha))
        raise DamageError(
            f"the media store {urls.clean(self.url)} does not hold medium {sha} as it was stored: run the same `pairwright build` again, "
            "which stores it again"
        )

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have. Their bytes are not looked at."""
        with _answering(self.url):
            yield from (sha for sha in names if not self._system.exists(self._object(sha)))

    def sync(self) -> None:
        """Nothing to do: an object that was put is durable."""

    def close(self) -> None:
        """Nothing to do."""

    def _object(self, sha: str) -> str:
        _key(sha)
        return f"{self._root}/{sha[:2]}/{sha[2:]}"


def _new_pack(root: str) -> tuple[str, int]:
    """Name and descriptor of a new pack, locked as long as its process lives; until its first sync the file is NAME.new."""
    while True:
        name = f"{secrets.token_hex(8)}{SUMMED}"
        file = os.open(f"{root}/{name}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:  # else another process took it for one that was left, before it was locked
            return name, file
        os.close(file)


def _clear(root: str) -> None:
    """Removes the packs of killed processes that were never synced."""
    for path in Path(root).glob("*.pack.new"):
        with suppress(FileNotFoundError, NotRegular), opened(path) as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(root: str) -> None:
    folder = os.open(root, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _checked(data: bytes, key: bytes, place: Place) -> bytes | None:
    """The medium, when these are the bytes that were stored. XXH3 sees what an accident changed, at a hundredth of the price of SHA-256."""
    if str(place.pack).endswith(SUMMED):
        medium, tail = data[:-TAIL], data[-TAIL:]
        return medium if xxhash.xxh3_64_digest(medium) == tail and len(medium) == place.size else None
    return data if hashlib.sha256(data).digest() == key else None


def _broken(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(_BROKEN)


def _key(sha: str) -> bytes:
    """The 32 bytes of a name. KeyError for what is none: ids may come from other people's datasets."""
    if not re.fullmatch("[0-9a-f]{64}", sha):
        raise KeyError(sha)
    return bytes.fromhex(sha)


@contextmanager
def _translated(where: str) -> Generator[None]:
    """Turns what the disk or SQLite raises into one StoreError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and _broken(error):
            raise DamageError(
                f"{where}/index.sqlite is damaged ({error}): run the same `pairwright build` again, which stores the media again"
            ) from error
        said, _ = cause_and_remedy(error, f"{where}/index.sqlite")
        raise StoreError(f"the media store {where} does not answer ({said}); check its disk and rights") from error


@contextmanager
def _answering(url: str) -> Generator[None]:
    """Turns whatever a filesystem's backend raises into one StoreError; its own text may hold credentials."""
    try:
        yield
    except KeyError:
        raise
    except Exception as error:  # noqa: BLE001  each backend has its own types
        said = f"{urls.clean(url)} does not answer ({type(error).__name__})"
        raise StoreError(f"the media store {said}; check its address, credentials and rights") from None
