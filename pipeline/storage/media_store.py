"""The media store: bytes by their SHA-256, in a local folder or at any fsspec URL.

Bytes are verified when they are read: a damaged media item raises an error and is removed, and is stored again when it is next added."""

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
from pipeline.storage.local_files import NotRegular, open_for_reading
from schemas.disk import cause_and_remedy, open_database
from schemas.errors import DamageError, StoreError

BUFFER, MEDIA = 2 << 20, 1000  # bytes and items per write; a system call takes 1,024 pieces
SUMMED = ".sum.pack"  # suffix of packs with a checksum after each item; those of older versions have none
TAIL = 8  # bytes of that checksum, XXH3
_PLACE = "select pack, at, size from media where sha = ?"
_FORM = "select made from forms where sha = ? and name = ?"
_FORMS = "create table if not exists forms (sha blob, name text, made blob, primary key (sha, name)) without rowid"
_BROKEN = ("SQLITE_CORRUPT", "SQLITE_NOTADB")  # prefixes of SQLite error names that mean a damaged file


class Place(NamedTuple):
    """Location of a media item."""

    pack: str  # file name
    at: int  # offset in bytes
    size: int  # bytes, without the checksum


def open_store(where: str | Path) -> "FolderStore | UrlStore":
    """The store at a folder (`data/media`, `file:///data/media`) or at an fsspec URL (`s3://bucket/media`)."""
    scheme, separator, rest = str(where).partition("://")
    if not separator:
        return FolderStore(where)
    return FolderStore(rest) if scheme == "file" else UrlStore(str(where))


class FolderStore:
    """Media in a local folder, safe for any number of concurrent writers: each process appends to its own pack (one file per item would cost
    ten times the CPU), and `index.sqlite` maps ids to places in packs.

    Writes are atomic. What a killed process wrote before its `sync` is not in the index and is never read; a pack that was never synced is
    still called NAME.new, and is removed by the next process that writes media."""

    def __init__(self, root: str | Path):
        self.root = os.path.abspath(root)
        self._index = f"{self.root}/index.sqlite"
        self._lock = threading.Lock()  # sources add media from their own thread
        self._db: sqlite3.Connection | None = None
        self._packs: dict[str, int] = {}  # name -> file descriptor, for reading
        self._own: tuple[str, int] | None = None  # (name, descriptor) of this process's pack
        self._synced = False  # whether that pack has its final name
        self._end = 0  # size of that pack
        self._new: dict[str, tuple[int, int]] = {}  # not written yet: (offset, size) in the buffer
        self._buffer = memoryview(b"")  # one buffer: separate objects needed new memory pages each time
        self._filled = 0
        self._written: dict[bytes, Place] = {}  # by key; written but not in the index yet
        self._forms: dict[tuple[bytes, str], bytes] = {}  # not in the index yet
        self._damaged: set[bytes] = set()  # keys of damaged items that were not added again
        self.again = 0
        """number of items that were found lost or damaged when they were added, and stored again"""

    def add(self, data: bytes) -> str:
        """Stores `data` (durably at the next `sync`) and returns its SHA-256 in hex. StoreError if the folder cannot be written."""
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
        """The bytes. KeyError if the store has no such id, DamageError if the stored bytes are damaged."""
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
                    f"{self.root}/{place.pack if place else ''}: media item {sha} is damaged; run the same "
                    "`pairwright build` again, which stores it again"
                )
        return data

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have. Their bytes are not verified."""
        for sha in names:
            with self._lock, _translated(self.root):
                if sha not in self._new and self._find(_key(sha)) is None:
                    yield sha

    def form(self, sha: str, name: str) -> str | None:
        """The id of an item's form that was kept under `name`; None if there is none, or the store no longer has it."""
        key = _key(sha), name
        with self._lock, _translated(self.root):
            made = self._forms.get(key)
            if made is None and (self._db or os.path.exists(self._index)):
                made = self._kept_form(key)
            if made is None or (made.hex() not in self._new and self._find(made) is None):
                return None
        return made.hex()

    def keep_form(self, sha: str, name: str, made: str) -> None:
        """Keeps `made`, the id of an item that was added, as a form of the item `sha`; durable at the next `sync`."""
        with self._lock:
            self._forms[_key(sha), name] = _key(made)

    def _kept_form(self, key: tuple[bytes, str]) -> bytes | None:
        try:
            row = self._open_index().execute(_FORM, key).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # the index of an older version
                return None
            raise
        return row and row[0]

    def sync(self) -> None:
        """Makes everything added since the last sync durable and visible to other processes."""
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
            if self._forms:
                db = self._open_index()
                db.rollback()
                with db:
                    db.execute("begin immediate")
                    db.execute(_FORMS)
                    forms = ((*key, made) for key, made in self._forms.items())
                    db.executemany("insert or replace into forms values (?, ?, ?)", forms)
                self._forms = {}

    def close(self) -> None:
        """Closes its files. What was not synced is lost."""
        with self._lock:
            for file in {*self._packs.values(), *([self._own[1]] if self._own else ())}:
                os.close(file)
            if self._db is not None:
                self._db.close()
            self._packs, self._own, self._db = {}, None, None

    def _bytes(self, place: Place) -> bytes:
        """The bytes at a place, with their checksum; fewer or none if the pack is truncated or missing, or the index is invalid."""
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
            return b""  # a corrupt index may contain anything
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ESPIPE, errno.ENXIO):  # a negative offset, or not a file
                return b""
            raise

    def _forget(self, key: bytes) -> None:
        """Removes an item from the index, so that it is stored again when it is next added. An index that cannot be written is left as it is."""
        self._damaged.add(key)
        self._written.pop(key, None)
        with suppress(sqlite3.Error):
            db = self._open_index()
            db.rollback()
            with db:
                db.execute("begin immediate")
                db.execute("delete from media where sha = ?", (key,))

    def _find(self, key: bytes) -> Place | None:
        """The place of an item that was written, by this process or, as far as synced, by others."""
        place = self._written.get(key)
        if place is None and (self._db or os.path.exists(self._index)):
            db = self._open_index()
            if not db.in_transaction:  # within one, lookups take no lock; each sync ends it
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
            db = open_database(self._index, "full")
            db.execute(
                "create table if not exists media (sha blob primary key, pack text, at integer, size integer) without rowid"
            )
            self._db = db
        return self._db

    def _drop_index(self) -> None:
        """Discards a damaged index; it is kept as `index.sqlite.damaged`."""
        if self._db is not None:
            self._db.close()
            self._db = None
        for path in (f"{self._index}-wal", f"{self._index}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(path)
        with suppress(FileNotFoundError):
            os.replace(self._index, f"{self._index}.damaged")

    def _make_room(self, size: int) -> int:
        """Writes the buffer out. Returns where the next item, of `size` bytes, ends in it."""
        with _translated(self.root):
            self._write()
        if len(self._buffer) != max(size, BUFFER):  # a buffer that was enlarged for a large item is replaced
            self._buffer = memoryview(bytearray(max(size, BUFFER)))
        return size

    def _write(self) -> None:
        """Appends what is new to this process's pack, in few system calls, as each one hands the GIL to other threads."""
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
        if written < total:  # disk nearly full, or more than two gigabytes
            rest = memoryview(b"".join(new.values()))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
        for key, data in new.items():
            self._written[key] = Place(name, self._end, len(data) - TAIL)
            self._end += len(data)
            self._damaged.discard(key)

    def _held(self, new: dict[bytes, memoryview]) -> list[bytes]:
        """The keys of items that are already stored, byte for byte; damaged ones are removed from the index."""
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
        """Whether these bytes, with a valid checksum, are stored at the place."""
        found = self._bytes(place)
        return found == new if str(place.pack).endswith(SUMMED) else found == new[:-TAIL]


class UrlStore:
    """Media as objects `url/ab/cdef...` of an fsspec filesystem that writes objects atomically."""

    again = 0  # as in FolderStore; always 0, as existing objects are not verified when they are added

    def __init__(self, url: str):
        self.url = url
        with _answering(url):
            import fsspec  # here: not needed for a local store

            self._system, self._root = fsspec.core.url_to_fs(url)

    def add(self, data: bytes) -> str:
        """Stores `data` and returns its SHA-256 in hex. StoreError if the store does not respond."""
        sha = hashlib.sha256(data).hexdigest()
        with _answering(self.url):
            if not self._system.exists(self._object(sha)):
                self._system.pipe_file(self._object(sha), data)
        return sha

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError if the store has no such id, DamageError if the stored bytes are damaged."""
        with _answering(self.url):
            try:
                data = self._system.cat_file(self._object(sha))
            except FileNotFoundError:
                raise KeyError(sha) from None
            if hashlib.sha256(data).hexdigest() == sha:
                return data
            with suppress(Exception):  # may lack the right to delete
                self._system.rm_file(self._object(sha))
        raise DamageError(
            f"the media store {urls.clean(self.url)}: media item {sha} is damaged; run the same `pairwright build` again, "
            "which stores it again"
        )

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have. Their bytes are not verified."""
        with _answering(self.url):
            yield from (sha for sha in names if not self._system.exists(self._object(sha)))

    def form(self, sha: str, name: str) -> str | None:
        """As FolderStore.form."""
        with _answering(self.url):
            try:
                made = self._system.cat_file(f"{self._root}/forms/{name}/{_key(sha).hex()}").decode()
            except FileNotFoundError:
                return None
            return made if self._system.exists(self._object(made)) else None

    def keep_form(self, sha: str, name: str, made: str) -> None:
        """As FolderStore.keep_form, durable at once."""
        with _answering(self.url):
            self._system.pipe_file(f"{self._root}/forms/{name}/{_key(sha).hex()}", made.encode())

    def sync(self) -> None:
        """Nothing to do: objects are durable once written."""

    def close(self) -> None:
        """Nothing to do."""

    def _object(self, sha: str) -> str:
        _key(sha)
        return f"{self._root}/{sha[:2]}/{sha[2:]}"


def _new_pack(root: str) -> tuple[str, int]:
    """(name, descriptor) of a new pack, locked while its process lives; until its first sync the file is called NAME.new."""
    while True:
        name = f"{secrets.token_hex(8)}{SUMMED}"
        file = os.open(f"{root}/{name}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink:  # otherwise another process removed it as abandoned before it was locked
            return name, file
        os.close(file)


def _clear(root: str) -> None:
    """Removes the packs of killed processes that were never synced."""
    for path in Path(root).glob("*.pack.new"):
        with suppress(FileNotFoundError, NotRegular), open_for_reading(path) as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _sync_folder(root: str) -> None:
    folder = os.open(root, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _checked(data: bytes, key: bytes, place: Place) -> bytes | None:
    """The item without its checksum; None if it is damaged. XXH3 detects accidental damage at a hundredth of the cost of SHA-256."""
    if str(place.pack).endswith(SUMMED):
        medium, tail = data[:-TAIL], data[-TAIL:]
        return medium if xxhash.xxh3_64_digest(medium) == tail and len(medium) == place.size else None
    return data if hashlib.sha256(data).digest() == key else None


def _broken(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith(_BROKEN)


def _key(sha: str) -> bytes:
    """The 32 bytes of an id. KeyError if it is not 64 hex digits: ids may come from other people's datasets."""
    if not re.fullmatch("[0-9a-f]{64}", sha):
        raise KeyError(sha)
    return bytes.fromhex(sha)


@contextmanager
def _translated(where: str) -> Generator[None]:
    """Translates errors of the disk or SQLite into a StoreError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and _broken(error):
            raise DamageError(
                f"{where}/index.sqlite is damaged ({error}); run the same `pairwright build` again, which stores the media again"
            ) from error
        cause, _ = cause_and_remedy(error, f"{where}/index.sqlite")
        raise StoreError(f"the media store {where} fails ({cause}); check its disk and permissions") from error


@contextmanager
def _answering(url: str) -> Generator[None]:
    """Translates any error of a filesystem's backend into a StoreError, without its text, which may contain credentials."""
    try:
        yield
    except KeyError:
        raise
    except Exception as error:  # noqa: BLE001  each backend has its own types
        failed = f"{urls.clean(url)} fails ({type(error).__name__})"
        raise StoreError(f"the media store {failed}; check its address, credentials and permissions") from None
