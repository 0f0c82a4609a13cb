"""Media at URLs: fetched some rows ahead, kept in the store, and remembered, so that a second run fetches what changed."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import orjson
from cachetools import LRUCache

from pipeline.media.fetch import Fetcher, Limits
from pipeline.media.probe import keep
from pipeline.storage import checksum, urls
from pipeline.storage.answer_cache import AWAY
from schemas.disk import database, disk
from schemas.errors import DamageError, RowError
from schemas.ports import MediaStore
from schemas.records import Media, Reason

_REMEMBERED = 4096  # URLs that are not asked for again when other rows show them too

Known = tuple[str, Media]  # validator ("" where the server gives none), and what it was


class Remote:
    """The media that rows name by URLs. Use it in a `with`: threads fetch what `start` was told of."""

    def __init__(self, limits: Limits, store: MediaStore, cache: Path | None):
        """`cache`: the folder in which it remembers what was fetched; None: it does not."""
        self._limits, self._store, self._cache = limits, store, cache
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="fetch")
        self.ahead = 2 * limits.at_once  # rows that are begun before the first of them is taken
        self._begun: dict[str, Future] = {}
        self._taken: LRUCache[str, Media | RowError] = LRUCache(_REMEMBERED)

    @cached_property
    def _fetcher(self) -> Fetcher:
        return Fetcher(self._limits)

    @cached_property
    def _known(self) -> "_Known | None":
        return _Known(self._cache / "fetched.sqlite") if self._cache else None

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *raised) -> None:
        self._threads.shutdown(cancel_futures=True)
        if "_fetcher" in self.__dict__:
            self._fetcher.close()
        if known := self.__dict__.get("_known"):
            known.close()

    def start(self, url: str) -> None:
        """Begins to fetch a URL that `take` will be asked for soon."""
        if url not in self._begun and url not in self._taken:
            self._begun[url] = self._threads.submit(self._fetch, url, self._recall(url))

    def drop(self, url: str) -> None:
        """Forgets what was begun and not taken."""
        if begun := self._begun.pop(url, None):
            begun.cancel()

    def take(self, url: str) -> Media:
        """The Media at a URL, kept in the store; its source is the URL without anything secret.

        RowError: UNSAFE, TOO_LARGE, MISSING_FILE, UNREACHABLE, and those of `probe`. A server that does not answer costs
        nothing where the file is there from an earlier run."""
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
        media = keep(data, urls.clean(url), self._store)
        if self._known:
            self._known.put(urls.key(url), validator or "", media)
        return media

    def _recall(self, url: str) -> Known | None:
        """What an earlier run found, when the store still has it."""
        found = self._known.get(urls.key(url)) if self._known else None
        if found is None:
            return None
        try:
            self._store.read(found[1].id)
        except (KeyError, DamageError):  # fetched again
            return None
        return found[0], found[1]._replace(source=urls.clean(url))

    def _fetch(self, url: str, known: Known | None) -> tuple[bytes, str | None] | Media:
        """On a thread: the bytes, or the Media that is still the same."""
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
        """As the Fetcher's `get`, of an object store."""
        name = urls.clean(url)
        if urls.scheme(url) not in urls.OBJECTS or "::" in url:
            allowed = ", ".join((*urls.WEB, *urls.OBJECTS))
            raise RowError(Reason.UNSAFE, f"{name} is not fetched: its scheme is none of {allowed}")
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
                    f"{name} is larger than {self._limits.max_bytes:,} bytes; raise fetch.max_bytes or drop the row",
                )
            return system.cat_file(path), validator
        except RowError:
            raise
        except (FileNotFoundError, IsADirectoryError):
            raise RowError(Reason.MISSING_FILE, f"{name} is not there; mend the address or drop the row") from None
        except ImportError as error:
            raise RowError(Reason.UNREACHABLE, f"{name} needs the package {error.name}; install it") from None
        except Exception as error:  # noqa: BLE001 - each backend of fsspec has errors of its own, and they hold URLs
            kind = type(error).__name__
            raise RowError(
                Reason.UNREACHABLE, f"{name} cannot be read ({kind}); see whether it needs credentials"
            ) from None


class _Known:
    """What was found at URLs, by their keys, in one SQLite file. A line of it without its medium in the store is worth nothing."""

    def __init__(self, path: Path):
        self._lock, self._path = threading.Lock(), path
        with disk(path, remedy=AWAY):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = database(path, "normal")
            self._db.execute("create table if not exists fetched (url blob primary key, validator text, media blob)")

    def close(self) -> None:
        self._db.close()

    def get(self, key: bytes) -> Known | None:
        with self._lock, disk(self._path, remedy=AWAY):
            row = self._db.execute("select validator, media from fetched where url = ?", (key,)).fetchone()
        if row is None or (known := checksum.opened(bytes(row[1]), key)) is None:  # a damaged line is fetched again
            return None
        return row[0], Media(*orjson.loads(known))

    def put(self, key: bytes, validator: str, media: Media) -> None:
        with self._lock, disk(self._path, remedy=AWAY):
            self._db.execute(
                "insert or replace into fetched values (?, ?, ?)",
                (key, validator, checksum.closed(orjson.dumps([*media]), key)),
            )
