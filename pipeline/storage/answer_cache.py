"""The answer cache: every request is sent to a model once, whichever run, step or restart repeats it.

One SQLite file (WAL, synchronous NORMAL: a kill loses no committed answer, a power cut at most the last commits, which are requested
again). Answers are committed in batches; a kill loses at most one batch and the requests in flight.

SQLite does not detect a flipped bit in a value, so each value has a checksum, which also covers its key; a damaged answer is requested
again."""

import asyncio
import dataclasses
import functools
import math
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import orjson
from cachetools import LRUCache

from pipeline.storage import checksum
from pipeline.storage.claims import Claims
from pipeline.storage.in_flight import Journal
from pipeline.storage.refusals import Refusals
from schemas.disk import error_line, open_database
from schemas.errors import NeverAnswered, NotAsked, RowError, StoreError
from schemas.finish import finish_name
from schemas.ports import Engine, Loadable, Proven
from schemas.records import OPEN, Reason, digest, media_parts
from schemas.requests import (
    Answer,
    Attended,
    Beams,
    Embedded,
    Failure,
    Generate,
    Generated,
    Likely,
    Perturb,
    Perturbed,
    Rated,
    Refused,
    Request,
    Result,
    Score,
    Scored,
    Success,
)

BATCH = 256  # answers per commit
DELAY = 0.1  # seconds until a smaller batch is committed
AWAY = "move it away, together with its -wal and -shm files: its answers are requested again"
FORMS_KEPT = 1 << 16  # media items whose sent form is remembered
Portable = Callable[[str, str], str]  # (id, kind) -> id
P = ParamSpec("P")
T = TypeVar("T")
PAUSE = 0.05  # seconds, roughly, between two checks for another build's answer
LEASE = 600.0  # seconds after which a request claimed by another build is sent here too: that build may be stopped
# tag in the cache -> result
FORMS = {"g": Generated, "s": Scored, "l": Likely, "r": Rated, "e": Embedded, "a": Attended, "p": Perturbed}
NAMES: dict[type[Success], str] = {form: name for name, form in FORMS.items()}
MOST_TOKENS = 100_000_000  # of one request; a larger count is invalid
ABOVE = 1e-3  # tolerance for log-probabilities above 0: models round


class RequestKind(NamedTuple):
    """Requests of similar cost."""

    model: str  # identity
    request: str  # name of the request's type
    most: int  # maximum tokens of one answer
    temperature: float  # greedy and sampled answers differ in length

    @classmethod
    def of(cls, identity: str, request: Request) -> "RequestKind":
        """The kind of a request to the model with this identity."""
        return cls(
            identity, type(request).__name__, getattr(request, "max_tokens", 0), getattr(request, "temperature", 0.0)
        )


@dataclass
class Measured:
    """Totals of the successful requests of one kind since the cache was created."""

    requests: int = 0
    answers: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0  # as in Usage


def _translated(method: Callable[P, T]) -> Callable[P, T]:
    """A method of the cache whose disk and SQLite errors are translated into a StoreError."""

    @functools.wraps(method)
    def translated(*args: P.args, **named: P.kwargs) -> T:
        try:
            return method(*args, **named)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(error_line(error, getattr(args[0], "path"), AWAY)) from error  # noqa: B009 - typed as any argument

    return translated


class AnswerCache:
    """Answers by a digest of the whole request, including media ids and the model's identity. Several processes may share a file: each waits
    for what another one has in flight or not committed yet.

    Tokens and seconds are recorded too, so that the next run can be estimated. `journal` records the requests in flight of engines in this
    process, which may crash."""

    def __init__(self, path: Path, journal: Journal | None = None, portable: Portable | None = None):
        """`portable`: the id of the form in which a media item is sent to servers; without it, items are sent as they are. StoreError if the file
        cannot be opened or created."""
        self.path = path
        self._portable = portable
        self._forms: LRUCache[tuple[str, str], asyncio.Future[str]] = LRUCache(FORMS_KEPT)
        self._open()
        self._new: dict[bytes, bytes] = {}
        self._failed: dict[bytes, Failure] = {}
        self._took: defaultdict[RequestKind, Measured] = defaultdict(Measured)
        self._oldest = 0.0
        self.in_flight: dict[bytes, asyncio.Future] = {}
        self.clocks: defaultdict[str, Clock] = defaultdict(Clock)
        self.journal = journal
        self.damaged: set[bytes] = set()
        """keys of cached answers that are invalid or damaged, and are requested again"""
        self.asked = 0  # requests that were sent to engines
        self._refusals: dict[tuple[str, str], Refusals] = {}
        self.claims = Claims(path.with_name("asking"))

    async def sent(self, request: Request) -> Request:
        """The request with the images and videos as they are sent to a server: what its answer is kept under. RowError if one cannot be decoded.

        Audio keeps its id: whatever it was sent as, it was heard as it is."""
        if self._portable is None or isinstance(request, Perturb):
            return request
        ids = {(p.media, p.type): p.media for p in media_parts(request.messages) if p.media and p.type != "audio"}
        for key in ids:
            if (made := self._forms.get(key)) is None:
                made = self._forms[key] = asyncio.ensure_future(asyncio.to_thread(self._portable, *key))
            try:
                ids[key] = await asyncio.shield(made)
            except KeyError:  # the store lacks the item, as the engine will say
                pass
            except BaseException:
                self._forms.pop(key, None)
                raise
        if all(made == sha for (sha, _), made in ids.items()):
            return request
        return request._replace(messages=tuple(
            m._replace(parts=tuple(p._replace(media=ids.get((p.media, p.type), p.media)) for p in m.parts))
            for m in request.messages
        ))  # fmt: skip

    @_translated
    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = open_database(self.path, "normal")
        self._db.execute("create table if not exists answers (k blob primary key, v blob)")
        self._db.execute(
            "create table if not exists took (model text, request text, most integer, temperature real, requests integer, "
            "answers integer, answer_tokens integer, seconds real, primary key (model, request, most, temperature)) without rowid"
        )
        self._db.execute("create table if not exists failures (k blob primary key, reason text, detail text)")

    def engine(
        self, engine: Engine, usage: "Usage", unanswered: set[bytes] | None = None, step: str = ""
    ) -> "CachedEngine":
        """`engine` behind this cache, for one step. Adds its requests to `usage`, and the keys of requests that stay open to `unanswered`."""
        return CachedEngine(engine, self, usage, unanswered, step)

    def refusals(self, engine: Engine, step: str) -> Refusals:
        """The refusals of the step's requests to the engine."""
        key = engine.identity, step
        if key not in self._refusals:
            self._refusals[key] = Refusals(f"{step}: {engine.identity}" if step else engine.identity)
            if isinstance(engine, Proven):
                engine.witness = lambda: self._witness(engine.identity)
        self._refusals[key].engine = engine
        return self._refusals[key]

    def _witness(self, identity: str) -> Request | None:
        """A request that the model has answered in this run, from the cache or sent; None if there is none."""
        found = (refusals.proof for (model, _), refusals in self._refusals.items() if model == identity)
        return next(filter(None, found), None)

    async def settle(self) -> None:
        """To be called before rows are published. EngineError if the latest requests of a step to a model were all refused alike."""
        for refusals in list(self._refusals.values()):
            if refusals.count:
                await refusals.look(self.answered(refusals.engine.identity))

    @_translated
    def answered(self, identity: str) -> bool:
        """Whether the model has ever answered a request, in any run. StoreError."""
        return self._db.execute("select 1 from took where model = ? limit 1", (identity,)).fetchone() is not None

    @_translated
    def get(self, key: bytes) -> Success | None:
        """The cached answer; None if there is none or it is invalid or damaged. StoreError."""
        value = self._new.get(key)
        if value is None:
            if not self._db.in_transaction:  # within one, lookups take no lock; each commit ends it
                self._db.execute("begin")
            row = self._db.execute("select v from answers where k = ?", (key,)).fetchone()
            if row is None:
                return None
            value = row[0]
        value = checksum.strip_checksum(value, key) if isinstance(value, bytes) else None
        found = None if value is None else _decode(value)
        if found is None:
            self.damaged.add(key)
        return found

    def put(self, key: bytes, result: Success) -> None:
        """Caches an answer, committed with its batch."""
        if not self._new:
            self._oldest = time.monotonic()
            if self.claims.shared:  # another build may be waiting, and the next answer may take long
                asyncio.get_running_loop().call_later(DELAY, self._flush)
        self._new[key] = checksum.append_checksum(_encode(result), key)
        if len(self._new) >= BATCH or time.monotonic() - self._oldest > DELAY:
            self.commit()

    def check(self) -> tuple[int, int]:
        """(number of answers, damaged ones among them); damaged ones are deleted, so that they are requested again.

        sqlite3.DatabaseError if the file itself is damaged."""
        ((status,),) = self._db.execute("pragma quick_check(1)").fetchall()
        if status != "ok":
            raise sqlite3.DatabaseError(status)
        count, bad = 0, []
        for key, value in self._db.execute("select k, v from answers"):
            count += 1
            if not isinstance(value, bytes) or checksum.strip_checksum(value, key) is None:
                bad.append((key,))
        self._db.executemany("delete from answers where k = ?", bad)
        return count, len(bad)

    def _flush(self) -> None:
        with suppress(sqlite3.Error, StoreError):  # the next commit raises it
            self.commit()

    async def answer_from_other_build(self, key: bytes) -> Success | None:
        """The answer to a claimed request that another build obtains or has obtained. None if this build must send it."""
        until = time.monotonic() + LEASE
        while True:
            ours = self.claims.is_mine(key)
            self._db.rollback()  # to see what others have committed
            if (found := self.get(key)) is not None:
                self.claims.release((key,))
                return found
            if ours:
                return None
            while self.claims.is_claimed_elsewhere(key):
                if time.monotonic() > until:
                    return None
                self.commit()  # that build may be waiting for ours
                await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
            self.claims.claim(key)

    def record_cost(self, sort: RequestKind, answers: int, answer_tokens: int, seconds: float) -> None:
        """Records the cost of an answered request; saved with the next commit."""
        measured = self._took[sort]
        measured.requests += 1
        measured.answers += answers
        measured.answer_tokens += answer_tokens
        measured.seconds += seconds

    @_translated
    def measured(self) -> dict[RequestKind, Measured]:
        """The recorded costs, as far as committed. StoreError."""
        return {RequestKind(*row[:4]): Measured(*row[4:]) for row in self._db.execute("select * from took")}

    def record_failure(self, key: bytes, failure: Failure) -> None:
        """Records a failure. The request is still sent again; only `CacheOnlyEngine`, which sends nothing, looks failures up."""
        self._failed[key] = failure

    @_translated
    def failure(self, key: bytes) -> Failure | None:
        """The request's last failure, as far as committed; None if there is none. StoreError."""
        row = self._db.execute("select reason, detail from failures where k = ?", (key,)).fetchone()
        return row and Failure(Reason(row[0]), row[1])

    @_translated
    def commit(self) -> None:
        """Commits new answers and failures, with the costs of the answers. StoreError."""
        if not self._new and not self._failed:
            return
        self._db.rollback()
        with self._db:
            self._db.execute("begin immediate")
            again = self.damaged & self._new.keys()
            self._db.executemany("delete from answers where k = ?", ((key,) for key in again))
            self._db.executemany("insert or ignore into answers values (?, ?)", self._new.items())
            self._db.executemany(
                "insert into took values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set requests = requests + excluded.requests, "
                "answers = answers + excluded.answers, answer_tokens = answer_tokens + excluded.answer_tokens, "
                "seconds = seconds + excluded.seconds",
                [(*sort, *dataclasses.astuple(took)) for sort, took in self._took.items()],
            )
            self._db.executemany(
                "insert or replace into failures values (?, ?, ?)",
                ((key, *failure) for key, failure in self._failed.items()),
            )
        self.claims.release(self._new)
        self._new.clear()
        self._took.clear()
        self._failed.clear()

    @_translated
    def close(self) -> None:
        self.commit()
        self.claims.close()
        self._db.close()


def _encode(result: Success) -> bytes:
    if isinstance(result, Generated):
        answers = [list(a[:5] if a.thought is None else a) for a in result.answers]  # as older versions write them
        return orjson.dumps(["g", answers, result.prompt_tokens])
    return orjson.dumps([NAMES[type(result)], *result])


def _decode(value: bytes) -> Success | None:
    """None for an invalid answer: older versions cached replies without validating them."""
    try:
        name, body, prompt_tokens = orjson.loads(value)
        if name == "g":
            found = Generated(tuple(map(_answer, body)), prompt_tokens)
        else:
            found = FORMS[name](_tuple(body), prompt_tokens)
        return found if _sound(found) else None
    except (ValueError, TypeError, LookupError):
        return None


def _answer(fields: list) -> Answer:
    """TypeError or LookupError for invalid fields. Older versions cached a server's own word for how an answer ended."""
    text, tokens, finish, logprob, each, *thought = fields
    return Answer(
        text, tokens, finish_name(finish) if isinstance(finish, str) else finish, logprob, _tuple(each), *thought
    )


def _sound(found: Success) -> bool:
    """Whether all fields have valid types and ranges. TypeError for what cannot be iterated."""
    if not _count(found.prompt_tokens):
        return False
    match found:
        case Generated(answers):
            return bool(answers) and all(map(_whole, answers))
        case Scored(logprobs):
            return all(p is None or _logprob(p) for p in logprobs)
        case Likely(logprobs):
            return all(map(_logprob, logprobs))
        case Rated(value):
            return _number(value)
        case Embedded(numbers) | Attended(numbers):
            return all(map(_number, numbers))
    return type(found.media) is str


def _whole(answer: Answer) -> bool:
    text, tokens, finish, logprob, each, thought = answer
    if type(text) is not str or type(finish) is not str or type(thought) not in (str, type(None)) or not _count(tokens):
        return False
    return (logprob is None or _logprob(logprob)) and (each is None or all(map(_logprob, each)))


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_TOKENS


def _number(value: Any) -> bool:
    return type(value) in (float, int) and math.isfinite(value)


def _logprob(value: Any) -> bool:
    return _number(value) and value <= ABOVE


def _tuple(value):
    return tuple(value) if isinstance(value, list) else value


@dataclass
class Usage:
    """Requests of one step to one model."""

    asked: int = 0
    """requests sent to the engine"""
    cached: int = 0
    """requests answered from the cache, or by an equal request in flight"""
    failed: int = 0
    """of those sent, the ones that failed; their tokens are unknown"""
    open: int = 0
    """unanswered requests whose cause may be temporary (`OPEN`): the next build sends them again"""
    media: int = 0
    """media items in the requests sent"""
    prompt_tokens: int = 0
    """of those sent; with n answers the prompt counts once, as servers count"""
    answer_tokens: int = 0
    """of those sent; a Score counts as one"""
    most_answer_tokens: int = 0
    """maximum answer tokens that those sent allowed"""
    cached_prompt_tokens: int = 0
    """saved by the cache"""
    cached_answer_tokens: int = 0
    seconds: float = 0.0
    """engine time: while k requests are in flight in an engine, including those waiting for a slot, each is charged 1/k of the elapsed
    time. Over all steps it adds up to the engine's busy time"""

    def add(self, other: "Usage") -> None:
        """Adds `other` to this one."""
        for name in FIGURES:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def after(self, earlier: "Usage") -> "Usage":
        """The total where the same work was done `earlier` and left requests open: those sent then and now, those cached then (answers from
        then do not count as cached now), and those open now."""
        spared = {name: getattr(earlier, name) for name in FIGURES if name.startswith("cached")}
        spent = {name: getattr(earlier, name) + getattr(self, name) for name in FIGURES if name not in spared}
        return Usage(**{**spared, **spent, "open": self.open})

    def count_asked(self, request: Request, result: Result, seconds: float) -> None:
        """Adds a request that was sent to the engine."""
        self.asked += 1
        self.failed += isinstance(result, Failure)
        self.media += media_count(request)
        self.seconds += seconds
        prompt, answer = token_counts(result)
        self.prompt_tokens += prompt
        self.answer_tokens += answer
        self.most_answer_tokens += max_answer_tokens(request)

    def count_cached(self, found: Result) -> None:
        """Adds a request that was not sent."""
        self.cached += 1
        prompt, answer = token_counts(found)
        self.cached_prompt_tokens += prompt
        self.cached_answer_tokens += answer

    def figures(self) -> dict[str, Any]:
        """As a JSON object for run files."""
        return dataclasses.asdict(self) | {"seconds": round(self.seconds, 3)}


FIGURES = tuple(field.name for field in dataclasses.fields(Usage))


def total_usage(usages: Iterable[Mapping[str, Any]]) -> Usage:
    """The sum of recorded usages."""
    out = Usage()
    for usage in usages:
        out.add(Usage(**usage))
    return out


def request_key(identity: str, request: Request) -> bytes:
    """The cache key of a request: 16 bytes."""
    return bytes.fromhex(digest(identity, type(request).__name__, *request))


class Clock:
    """Divides an engine's busy time among the requests in flight: while there are k, each is charged 1/k."""

    def __init__(self):
        self.in_flight, self._share, self._last = 0, 0.0, 0.0

    def change(self, by: int) -> float:
        """Changes the number of requests in flight by `by`. Returns seconds charged so far to a hypothetical request in flight from the start:
        the difference between two calls is a request's engine time."""
        now = time.perf_counter()
        if self.in_flight:
            self._share += (now - self._last) / self.in_flight
        self._last = now
        self.in_flight += by
        return self._share


def token_counts(result: Result) -> tuple[int, int]:
    """(prompt tokens, answer tokens) of a result; (0, 0) for a failure. For a Likelihood, the given answer is part of the prompt."""
    prompt = getattr(result, "prompt_tokens", 0)
    if isinstance(result, Generated):
        return prompt, sum([a.tokens for a in result.answers])
    if isinstance(result, Likely):
        return prompt + len(result.logprobs), 0
    return prompt, int(isinstance(result, Scored))


def media_count(request: Request) -> int:
    """Number of media items in a request."""
    if isinstance(request, Perturb):
        return 1
    return len(media_parts(request.messages))


class CacheOnlyEngine:
    """An Engine without a model, for use behind the cache: it repeats recorded failures and answers nothing else."""

    sends_files = True  # perhaps

    def __init__(self, cache: AnswerCache, identity: str, can: Iterable[str], media: Iterable[str], slots: int):
        self.identity, self.can, self.media, self.slots = identity, frozenset(can), frozenset(media), slots
        self._cache = cache

    async def ask(self, request: Request) -> Result:
        """The recorded Failure of this request. NotAsked if there is none."""
        keys = [request_key(self.identity, asked) for asked in (await self._cache.sent(request), request)]
        found = next(filter(None, map(self._cache.failure, keys)), None)
        if found is None:
            raise NotAsked(f"this request was never sent to {self.identity}: `pairwright build` sends it")
        return found

    async def close(self) -> None:
        pass


class CachedEngine:
    """An Engine with a cache: looks requests up before any media is opened; equal requests in flight share one answer."""

    def __init__(
        self, engine: Engine, cache: AnswerCache, usage: Usage, unanswered: set[bytes] | None = None, step: str = ""
    ):
        self._engine, self._cache, self._usage = engine, cache, usage
        self._remembers = isinstance(
            engine, CacheOnlyEngine
        )  # a run of an older version kept its answers under the stored media
        self._refusals = cache.refusals(engine, step)
        self._unanswered = set() if unanswered is None else unanswered
        self.identity, self.can, self.media, self.slots = engine.identity, engine.can, engine.media, engine.slots

    async def ask(self, request: Request) -> Any:  # a Result of the request's type, as in the port's overloads
        cache = self._cache
        try:
            key = await self._key(request)
        except RowError as error:
            failure = Failure(error.reason, error.detail)
            cache.record_failure(request_key(self.identity, request), failure)
            return failure
        found = cache.get(key)
        if found is not None:
            self._refusals.proof = request
            return self._count_cached(found)
        waiting = cache.in_flight.get(key)
        if waiting is not None:
            result = self._count_cached(await asyncio.shield(waiting))
            if isinstance(result, Failure):
                self._failed(key, result)
            return result
        alone = cache.claims.claim(key)
        future = cache.in_flight[key] = asyncio.get_running_loop().create_future()
        if not alone and (found := await self._await_other_build(key, future)) is not None:
            return self._count_cached(found)
        try:
            if isinstance(self._engine, Loadable):
                await self._engine.load()
            result, seconds = await self._timed(key, request)
        except BaseException as error:
            future.set_exception(error)
            future.exception()  # marks it as retrieved: the error is raised below
            cache.claims.release((key,))
            raise
        finally:
            del cache.in_flight[key]
        self._asked(request, result, seconds)
        if isinstance(result, Failure):
            cache.record_failure(key, result)
            self._failed(key, result)
            cache.claims.release((key,))
        else:
            cache.put(key, result)
        future.set_result(result)
        return result

    async def _key(self, request: Request) -> bytes:
        """The key of a request. It names the media as a server gets them, so that an answer to a picture that was once sent as another one shows
        it is not taken for this one's."""
        plain = request_key(self.identity, request)
        if not getattr(self._engine, "sends_files", False):
            return plain
        sent = request_key(self.identity, await self._cache.sent(request))
        return plain if self._remembers and self._cache.get(sent) is None else sent

    async def _timed(self, key: bytes, request: Request) -> tuple[Result, float]:
        """The engine's result, and the engine time that is charged to the request."""
        clock = self._cache.clocks[self.identity]
        since = clock.change(+1)
        try:
            result = await self._answer(key, request)
        finally:
            until = clock.change(-1)
        return result, until - since

    async def _answer(self, key: bytes, request: Request) -> Result:
        """The engine's result. EngineError if it refuses this request like all others."""
        cache, refusals = self._cache, self._refusals
        place = cache.asked = cache.asked + 1
        try:
            if cache.journal is None:
                result = await self._engine.ask(request)
            else:
                result = await cache.journal.ask(self._engine, key, request)
            message = result.detail if isinstance(result, Refused) else ""
        except NeverAnswered as error:
            result, message = Refused(Reason.ENGINE_REFUSED, error.detail), str(error)
        if message and isinstance(result, Refused):
            if refusals.refused(place, result, message):
                await refusals.look(cache.answered(self.identity))
        elif not isinstance(result, Failure):
            refusals.answered(request, place)
        return result

    def _failed(self, key: bytes, failure: Failure) -> None:
        if failure.reason in OPEN and key not in self._unanswered:
            self._unanswered.add(key)
            self._usage.open += 1

    async def _await_other_build(self, key: bytes, future: asyncio.Future) -> Success | None:
        """The answer that another build obtains, also for equal requests waiting here; None if this build must send it."""
        cache = self._cache
        try:
            found = await cache.answer_from_other_build(key)
        except BaseException as error:
            future.set_exception(error)
            future.exception()
            cache.claims.release((key,))
            del cache.in_flight[key]
            raise
        if found is not None:
            future.set_result(found)
            del cache.in_flight[key]
        return found

    def _count_cached(self, found: Result) -> Result:
        self._usage.count_cached(found)
        return found

    def _asked(self, request: Request, result: Result, seconds: float) -> None:
        self._usage.count_asked(request, result, seconds)
        if not isinstance(result, Failure):
            self._cache.record_cost(
                RequestKind.of(self.identity, request), answer_count(request), token_counts(result)[1], seconds
            )

    async def close(self) -> None:
        await self._engine.close()


def answer_count(request: Request) -> int:
    """Number of answers that a request generates; 0 for one that only reads."""
    if isinstance(request, Generate):
        return request.n
    return request.beams if isinstance(request, Beams) else int(isinstance(request, Score))


def max_answer_tokens(request: Request) -> int:
    """Maximum tokens of all answers to a request together."""
    return answer_count(request) * getattr(request, "max_tokens", 1)
