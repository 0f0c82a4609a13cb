"""Media at URLs: fetched some rows ahead, stored and remembered, so that a second run fetches only what changed."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import orjson
from cachetools import LRUCache

from pipeline.media.fetch import Fetcher, Limits
from pipeline.media.probe import probe_and_store
from pipeline.storage import checksum, urls
from pipeline.storage.answer_cache import AWAY
from schemas.disk import disk, open_database
from schemas.errors import DamageError, RowError
from schemas.ports import MediaStore
from schemas.records import Media, Reason

_REMEMBERED = 4096  # URLs whose results are cached, for rows that share them

FetchRecord = tuple[str, Media]  # (validator, or "" if the server gives none; the Media found)


class Remote:
    """Media that rows name by URL. Use it in a `with` statement: threads fetch the URLs passed to `start`."""

    def __init__(self, limits: Limits, store: MediaStore, cache: Path | None):
        """`cache`: folder that remembers what was fetched; None: nothing is remembered."""
        self._limits, self._store, self._cache = limits, store, cache
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="fetch")
        self.ahead = 2 * limits.at_once  # rows started before the first of them is taken
        self._begun: dict[str, Future] = {}
        self._taken: LRUCache[str, Media | RowError] = LRUCache(_REMEMBERED)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self._limits)

    @cached_property
    def _known(self) -> "_FetchRecords | None":
        return _FetchRecords(self._cache / "fetched.sqlite") if self._cache else None

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *raised) -> None:
        self._threads.shutdown(cancel_futures=True)
        if "_fetcher" in self.__dict__:
            self._fetcher.close()
        if known := self.__dict__.get("_known"):
            known.close()

    def start(self, url: str) -> None:
        """Starts fetching a URL that will be passed to `take` soon."""
        if url not in self._begun and url not in self._taken:
            self._begun[url] = self._threads.submit(self._fetch, url, self._recall(url))

    def drop(self, url: str) -> None:
        """Cancels a URL that was started and not taken."""
        if begun := self._begun.pop(url, None):
            begun.cancel()

    def take(self, url: str) -> Media:
        """The Media at a URL, stored in the media store; its source is the URL without secrets.

        RowError: UNSAFE, TOO_LARGE, MISSING_FILE, UNREACHABLE, and those of `probe`. If the server is unreachable, the copy of an earlier run
        is used."""
        if (found := self._taken.get(url)) is None:
            self.start(url)
            try:
                found = self._keep(url, self._begun.pop(url).result())
            except RowError as error:
                found = error
            self._taken[url] = found
        if isinstance(found, RowError):
            raise found
        return found

    def _keep(self, url: str, fetched: tuple[bytes, str | None] | Media) -> Media:
        if isinstance(fetched, Media):
            return fetched
        data, validator = fetched
        media = probe_and_store(data, urls.clean(url), self._store)
        if self._known:
            self._known.put(urls.key(url), validator or "", media)
        return media

    def _recall(self, url: str) -> FetchRecord | None:
        """The result of an earlier run, if the store still has the file."""
        found = self._known.get(urls.key(url)) if self._known else None
        if found is None:
            return None
        try:
            self._store.read(found[1].id)
        except (KeyError, DamageError):  # fetched again
            return None
        return found[0], found[1]._replace(source=urls.clean(url))

    def _fetch(self, url: str, known: FetchRecord | None) -> tuple[bytes, str | None] | Media:
        """Runs on a thread: the new bytes and validator, or the unchanged Media."""
        validator, media = known or (None, None)
        if media and not validator:
            return media
        try:
            web = urls.scheme(url) in urls.WEB
            data, validator = self._fetcher.get(url, validator) if web else self._object(url, validator)
        except RowError as error:
            if media and error.reason == Reason.UNREACHABLE:
                return media
            raise
        return media if data is None and media else (data or b"", validator)

    def _object(self, url: str, known: str | None) -> tuple[bytes | None, str | None]:
        """Like `Fetcher.get`, for an object store."""
        name = urls.clean(url)
        if urls.scheme(url) not in urls.OBJECTS or "::" in url:
            allowed = ", ".join((*urls.WEB, *urls.OBJECTS))
            raise RowError(Reason.UNSAFE, f"{name} was not fetched: its scheme is not one of {allowed}")
        try:
            system, path = urls.filesystem(url)
            facts = system.info(path)
            if facts.get("type") == "directory":
                raise IsADirectoryError
            validator = next((str(facts[k]) for k in ("ETag", "etag", "md5Hash", "blob_id") if facts.get(k)), None)
            if known and validator == known:
                return None, validator
            if (facts.get("size") or 0) > self._limits.max_bytes:
                raise RowError(
                    Reason.TOO_LARGE,
                    f"{name} is larger than {self._limits.max_bytes:,} bytes; raise fetch.max_bytes or remove the row",
                )
            return system.cat_file(path), validator
        except RowError:
            raise
        except (FileNotFoundError, IsADirectoryError):
            raise RowError(Reason.MISSING_FILE, f"{name} does not exist; correct the URL or remove the row") from None
        except ImportError as error:
            raise RowError(Reason.UNREACHABLE, f"reading {name} needs the package {error.name}; install it") from None
        except Exception as error:  # noqa: BLE001 - fsspec backends raise errors of their own, whose texts contain URLs
            kind = type(error).__name__
            raise RowError(
                Reason.UNREACHABLE, f"{name} cannot be read ({kind}); check whether it needs credentials"
            ) from None


class _FetchRecords:
    """What was found at URLs, by key, in a SQLite file. An entry is only used while the media store has its file."""

    def __init__(self, path: Path):
        self._lock, self._path = threading.Lock(), path
        with disk(path, remedy=AWAY):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = open_database(path, "normal")
            self._db.execute("create table if not exists fetched (url blob primary key, validator text, media blob)")

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> FetchRecord | None:
        with self._lock, disk(self._path, remedy=AWAY):
            row = self._db.execute("select validator, media from fetched where url = ?", (key,)).fetchone()
        if (
            row is None or (known := checksum.strip_checksum(bytes(row[1]), key)) is None
        ):  # a damaged entry is fetched again
            return None
        return row[0], Media(*orjson.loads(known))

    def put(self, key: bytes, validator: str, media: Media) -> None:
        with self._lock, disk(self._path, remedy=AWAY):
            self._db.execute(
                "insert or replace into fetched values (?, ?, ?)",
                (key, validator, checksum.append_checksum(orjson.dumps([*media]), key)),
            )
