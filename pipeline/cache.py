"""Question -> answer: a model is asked each question once, whatever run, step or restart asks it again.

One SQLite file (WAL, synchronous NORMAL: a kill loses nothing committed, a power cut at most the last commits, which are
asked again). Answers are committed in batches; a batch is what a kill may cost beyond the requests in flight."""

import asyncio
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import orjson

from schemas.errors import NotAsked
from schemas.ports import (
    Answer,
    Attended,
    Embedded,
    Engine,
    Failure,
    Found,
    Generated,
    Likely,
    Perturbed,
    Rated,
    Request,
    Result,
    Scored,
)  # fmt: skip
from schemas.records import Reason, digest

BATCH = 256  # answers a commit
DELAY = 0.1  # seconds until a smaller batch is committed
FORMS = {"g": Generated, "s": Scored, "l": Likely, "r": Rated, "e": Embedded, "a": Attended, "p": Perturbed}  # as kept
NAMES = {form: name for name, form in FORMS.items()}


class AnswerCache:
    """Answers by the digest of the whole request, media hashes and model identity included. Several processes may share a file."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.execute("create table if not exists answers (k blob primary key, v blob)")
        self._db.execute("create table if not exists failures (k blob primary key, reason text, detail text)")
        self._new: dict[bytes, bytes] = {}
        self._failed: dict[bytes, Failure] = {}
        self._oldest = 0.0
        self.in_flight: dict[bytes, asyncio.Future] = {}

    def get(self, key: bytes) -> Result | None:
        value = self._new.get(key)
        if value is None:
            if not self._db.in_transaction:  # inside one, looking up takes no lock; each commit ends it
                self._db.execute("begin")
            row = self._db.execute("select v from answers where k = ?", (key,)).fetchone()
            if row is None:
                return None
            value = row[0]
        return _decode(value)

    def put(self, key: bytes, result: Found) -> None:
        if not self._new:
            self._oldest = time.monotonic()
        self._new[key] = _encode(result)
        if len(self._new) >= BATCH or time.monotonic() - self._oldest > DELAY:
            self.commit()

    def note(self, key: bytes, failure: Failure) -> None:
        """Keeps that no answer came. It is asked again all the same; only who asks no model looks it up."""
        self._failed[key] = failure

    def failure(self, key: bytes) -> Failure | None:
        """How the question last failed, as far as that is committed."""
        row = self._db.execute("select reason, detail from failures where k = ?", (key,)).fetchone()
        return row and Failure(Reason(row[0]), row[1])

    def commit(self) -> None:
        if not self._new and not self._failed:
            return
        self._db.rollback()
        with self._db:
            self._db.execute("begin immediate")
            self._db.executemany("insert or ignore into answers values (?, ?)", self._new.items())
            self._db.executemany(
                "insert or replace into failures values (?, ?, ?)",
                ((key, *failure) for key, failure in self._failed.items()),
            )
        self._new.clear()
        self._failed.clear()

    def close(self) -> None:
        self.commit()
        self._db.close()


def _encode(result: Found) -> bytes:
    if isinstance(result, Generated):
        return orjson.dumps(["g", [list(a) for a in result.answers], result.prompt_tokens])
    return orjson.dumps([NAMES[type(result)], *result])


def _decode(value: bytes) -> Found:
    name, body, prompt_tokens = orjson.loads(value)
    if name == "g":
        return Generated(tuple(Answer(*a[:4], _tuple(a[4])) for a in body), prompt_tokens)
    return FORMS[name](_tuple(body), prompt_tokens)


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


@dataclass
class Usage:
    """What one step asked of one model."""

    asked: int = 0
    cached: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


def key_of(identity: str, request: Request) -> bytes:
    return bytes.fromhex(digest(identity, type(request).__name__, *request))


class Remembered:
    """An Engine that is not there: behind the cache, it fails as the real one did, and was asked nothing else."""

    def __init__(self, cache: AnswerCache, identity: str, can: Iterable[str], media: Iterable[str], slots: int):
        self.identity, self.can, self.media, self.slots = identity, frozenset(can), frozenset(media), slots
        self._cache = cache

    async def ask(self, request: Request) -> Result:
        """The Failure that this request came to. NotAsked when it never came to any."""
        found = self._cache.failure(key_of(self.identity, request))
        if found is None:
            raise NotAsked(f"{self.identity} was never asked this: `pairwright build` asks it")
        return found

    async def close(self) -> None:
        pass


class CachedEngine:
    """An Engine that looks the request up before any media is opened, and lets equal requests in flight share one answer."""

    def __init__(self, engine: Engine, cache: AnswerCache, usage: Usage):
        self._engine, self._cache, self._usage = engine, cache, usage
        self.identity, self.can, self.media, self.slots = engine.identity, engine.can, engine.media, engine.slots

    async def ask(self, request: Request) -> Result:
        usage, cache = self._usage, self._cache
        key = key_of(self.identity, request)
        found = cache.get(key)
        if found is not None:
            usage.cached += 1
            return found
        waiting = cache.in_flight.get(key)
        if waiting is not None:
            usage.cached += 1
            return await asyncio.shield(waiting)
        future = cache.in_flight[key] = asyncio.get_running_loop().create_future()
        try:
            result = await self._engine.ask(request)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # nobody may be waiting: the raise below tells
            raise
        finally:
            del cache.in_flight[key]
        usage.asked += 1
        usage.prompt_tokens += getattr(result, "prompt_tokens", 0)
        if isinstance(result, Failure):
            usage.failed += 1
            cache.note(key, result)
        else:
            if isinstance(result, Generated):
                usage.answer_tokens += sum(a.tokens for a in result.answers)
            cache.put(key, result)
        future.set_result(result)
        return result

    async def close(self) -> None:
        await self._engine.close()
