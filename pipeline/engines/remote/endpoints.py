"""Which server gets the next request, and how many requests each server gets at a time.

Servers of one model share its requests by weight. Each has a limit of requests in flight: it starts at `slots`, is halved when the server
reports overload or its latency rises sharply, and grows by one each time as many answers have arrived as it allows (additive increase,
multiplicative decrease: Chiu and Jain 1989). A server that keeps failing, also at a request that the model has answered before, is paused
with exponential backoff and then probed with one request (a circuit breaker), while the others continue."""

import asyncio
import logging
import math
import random
import re
import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import NamedTuple

from pydantic import Field, field_validator
from yarl import URL

from pipeline.engines.remote.http import Http, Response
from pipeline.engines.remote.parameters import USUAL, Dialect
from schemas import operator, redact
from schemas.errors import EngineError

LONGEST_PAUSE = 60.0  # maximum pause of a server or a request, in seconds
FAULTS = 5  # faults in a row before a server is paused
REFUSALS = 8  # refusals in a row of what others answer before a server is dropped
FIRST_REFUSALS = 2  # the same for a server that has answered nothing yet
LONG = 20.0  # seconds; a server's request for a longer wait is logged
RISE = 3.0  # latency above this multiple of the smallest recent median means overload
SAMPLES = 64  # answers per median, or as many as the limit
MEDIANS = 16  # medians that are kept
LOOK = 5.0  # seconds; interval at which a pool with waiting requests looks for a free server in any case
TICK = 0.001  # seconds by which timers may be early: the resolution of uvloop's clock

_HOST = re.compile(r"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?", re.ASCII)

log = logging.getLogger(__name__)


def plain(url: str) -> str:
    """`url` without trailing slashes. ValueError if it is not an http(s) address, or contains credentials, a query or a fragment."""
    try:
        parsed = URL(url)
        if parsed.host and not _HOST.fullmatch(
            parsed.raw_host or ""
        ):  # libcurl would only report it at the first request
            raise ValueError(f"invalid host {parsed.host!r}")
    except ValueError as error:
        raise ValueError(f"base_url must look like http://host:port/v1 ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("base_url must look like http://host:port/v1")
    if parsed.user or parsed.password or parsed.query or parsed.fragment or redact.has_credentials(url):
        raise ValueError("base_url must not contain credentials; put the key into the variable named by api_key_env")
    return url.rstrip("/")


def named(variable: str | None) -> str | None:
    """`variable`, whose value is treated as a secret from now on. ValueError if it is not a variable's name; a key that was written
    there instead is not repeated in the message."""
    if variable is not None and not redact.is_variable_name(variable):
        raise ValueError(
            "must be the name of an environment variable, like JUDGE_KEY; put the key itself into that variable"
        )
    redact.mask_values([variable])
    return variable


class Endpoint(operator.OperatorSettings):
    """One server of a model that has several."""

    base_url: str
    """the server's address, including /v1"""
    weight: float = Field(1.0, gt=0)
    """its share of the requests in flight, relative to the weights of the others"""
    slots: int | None = Field(None, ge=1, le=4_096)
    """maximum requests in flight there, if lower than the model's `slots`"""
    api_key_env: str | None = None
    """name of the environment variable that holds its key; by default the model's"""

    _plain = field_validator("base_url")(plain)
    _named = field_validator("api_key_env")(named)


def backoff_seconds(times: int) -> float:
    """Seconds to wait after the `times`-th fault (from 0): half a second, doubling up to a minute, minus up to half of it at random, so that
    retries do not coincide."""
    return min(0.5 * 2**times, LONGEST_PAUSE) * random.uniform(0.5, 1)


def together(errors: Sequence[str]) -> str:
    """The last error of each of a model's servers, in one line."""
    return errors[0] if len(errors) == 1 else f"no endpoint is left: {'; '.join(errors)}"


class Suspect(NamedTuple):
    """The arguments of `Server.leave`."""

    sent: float
    error: EngineError
    patience: int
    who: object


class Server:
    """An endpoint in use: its connections, its limit of requests in flight, whether it is paused."""

    def __init__(self, endpoint: Endpoint, slots: int, key: str | None, timeout: float):
        self.url, self.weight, self.key, self.key_env = endpoint.base_url, endpoint.weight, key, endpoint.api_key_env
        self.slots = min(endpoint.slots or slots, slots)
        self.limit = float(self.slots)
        self.in_flight = 0
        self.error: EngineError | None = None  # why it was dropped
        self.given_up = False
        self.knows = False  # whether it has answered anything
        self.dialect: Dialect = USUAL
        self.strikes = 0  # pauses in a row
        url = URL(endpoint.base_url)
        self._path = url.raw_path.rstrip("/")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = Http(url, headers, timeout)
        self.looked_at = False  # whether someone calls `judged` before it is paused
        self._suspect: Suspect | None = None
        self._looking = False
        self._faults = self._refusals = 0
        self._most_faults = FAULTS
        self._culprits: list[object] = []
        self._until = self._left = self._halved = self._no = -math.inf
        self._seconds: dict[Hashable, list[float]] = {}
        self._medians: dict[Hashable, deque[float]] = {}

    def get(self, path: str) -> Awaitable[Response]:
        return self._http.get(self._path + path)

    def post(self, path: str, body: Sequence[bytes]) -> Awaitable[Response]:
        return self._http.post(self._path + path, body)

    def close(self) -> None:
        self._http.close()

    # capacity

    def free(self, now: float) -> bool:
        """Whether it may get one more request. After a pause its limit does not count: requests from before may never end."""
        return now >= self._until and (self.strikes > 0 or self.in_flight + 1 <= self.limit) and not self.given_up

    def take(self, now: float) -> None:
        self.in_flight += 1
        if self.strikes:  # until it answers, it is probed with single requests, however long each takes
            self._until = now + backoff_seconds(self.strikes)

    @property
    def until(self) -> float:
        """The loop's time until which it is paused; infinity if it was dropped."""
        return math.inf if self.given_up else self._until

    # outcome of a request that was sent at the loop's time `sent`

    def answered(self, sent: float, kind: Hashable) -> None:
        """It answered. Latencies are compared among answers of the same `kind`."""
        if self.strikes:
            log.warning("%s answers again", self.url)
            self._until = -math.inf
        self._faults = self.strikes = 0
        self.knows = True
        self._culprits.clear()
        if self._refusals and sent > self._no:
            self._refusals = 0
        if 2 * self.in_flight < self.limit:  # the latency of an idle server says nothing about a busy one
            return
        if self.limit < self.slots:
            self.limit = min(self.slots, self.limit + 1 / self.limit)
        if sent > self._halved:
            self._watch(sent, kind)

    def busy(self, sent: float, wait: float | None) -> None:
        """It reported overload, and asked for `wait` seconds if not None."""
        self._halve(sent)
        self.rest(wait)

    def rest(self, wait: float | None) -> None:
        """Pauses it for `wait` seconds, if any, plus up to a tenth at random."""
        if wait:
            until = asyncio.get_running_loop().time() + wait * random.uniform(1, 1.1)
            if until > self._until + LONG and wait > LONG:
                log.warning("%s asks for a pause of %.0f seconds", self.url, wait)
            self._until = max(self._until, until)

    def refused(self, sent: float, error: EngineError) -> None:
        """It refused what another server may answer. After REFUSALS of these without an answer in between it is dropped."""
        if not self._refusals:
            self._no = sent
        self._refusals += 1
        if self._refusals >= (REFUSALS if self.knows else FIRST_REFUSALS):
            self.give_up(error)

    def failed(self, sent: float, who: object, error: EngineError, patience: int) -> None:
        """It failed at the request `who`, which may be to blame: repeated faults of one request count as one strike."""
        if sent <= self._left or self._looking:
            return
        self._faults += 1
        if self.strikes or self._faults >= self._most_faults:
            self._suspect = Suspect(sent, error, patience, who)
            if not self.looked_at:
                self.leave(*self._suspect)

    async def judged(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Pauses a suspect, unless it `answers` a request that the model has answered before: then the failing requests are to blame, and
        twice as many faults are allowed before the next check."""
        suspect, self._suspect = self._suspect, None
        if suspect is None:
            return
        self._looking = True
        try:
            well = await answers()
        finally:
            self._looking = False
        if not well:
            self.leave(*suspect)
            return
        log.warning("%s answers other requests: the failing requests are to blame", self.url)
        self._faults = self.strikes = 0
        self._most_faults *= 2
        self._until = -math.inf
        self._culprits.clear()

    def leave(self, sent: float, error: EngineError, patience: int, who: object = None) -> None:
        """It is unreachable or failing: pauses it, and drops it after more than `patience` pauses in a row."""
        if sent <= self._left:  # sent before the last pause, or in the same tick of the loop's clock
            return
        self.close()  # a restarted server does not know these connections
        if who is None or not any(who is other for other in self._culprits):
            self.strikes += 1
            self._culprits.append(who)
        if self.strikes > patience:
            self.give_up(error)
            return
        now, wait = asyncio.get_running_loop().time(), backoff_seconds(self.strikes)
        self._left, self._until = now, max(self._until, now + wait)
        log.warning("%s is paused for %.1f seconds: %s", self.url, wait, error)

    def give_up(self, error: EngineError) -> None:
        """Drops it: it gets no more requests."""
        if not self.given_up:
            log.warning("%s gets no more requests: %s", self.url, error)
        self.given_up, self.error = True, error

    def _halve(self, sent: float) -> None:
        if sent <= self._halved:  # sent before the limit was last halved
            return
        self.limit = max(1.0, self.limit / 2)
        self._halved = asyncio.get_running_loop().time()
        self._seconds.clear()

    def _watch(self, sent: float, kind: Hashable) -> None:
        seconds = self._seconds.setdefault(kind, [])
        seconds.append(asyncio.get_running_loop().time() - sent)
        if len(seconds) < max(SAMPLES, self.limit):
            return
        median = statistics.median(seconds)
        medians = self._medians.setdefault(kind, deque(maxlen=MEDIANS))
        seconds.clear()
        if medians and median > RISE * min(medians):
            self._halve(sent)
        medians.append(median)


class Pool:
    """Hands out slots of the servers, at most `slots` at a time, first come, first served."""

    def __init__(self, servers: Sequence[Server], slots: int):
        self.servers = servers
        self.slots = min(slots, sum(server.slots for server in servers))
        self.in_flight = 0
        self._waiting: deque[tuple[asyncio.Future[Server], Server | None, Collection[Server]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, avoid: Server | None = None, never: Collection[Server] = ()) -> Server:
        """A server with a free slot, reserved for the caller until `give`; `avoid` only if no other is free, none of `never`.

        EngineError if every server has been dropped."""
        loop = asyncio.get_running_loop()
        server = None if self._waiting else self._pick(avoid, never, loop.time())
        if server is not None:
            return server
        future = loop.create_future()
        self._waiting.append((future, avoid, never))
        self._serve()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and not future.exception():
                self.give(future.result())
            raise

    def give(self, server: Server) -> None:
        """Returns a slot of `take`."""
        server.in_flight -= 1
        self.in_flight -= 1
        if self._waiting:
            self._serve()

    def gone(self, never: Collection[Server] = ()) -> EngineError | None:
        """The error if no server is left but those of `never`, else None."""
        if self.others(*never):
            return None
        errors = [str(server.error) for server in self.servers if server.error]
        return EngineError(together(errors))

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        for server in self.servers:
            server.close()

    def others(self, *servers: Server) -> bool:
        """Whether the model has servers other than these that have not been dropped."""
        return any(not other.given_up and other not in servers for other in self.servers)

    def _pick(self, avoid: Server | None, never: Collection[Server], now: float) -> Server | None:
        if self.in_flight >= self.slots:
            return None
        best, least = None, (True, math.inf)
        for server in self.servers:
            if (
                server.free(now)
                and server not in never
                and (load := (server is avoid, (server.in_flight + 1) / server.weight)) < least
            ):
                best, least = server, load
        if best is not None:
            best.take(now)
            self.in_flight += 1
        return best

    def _serve(self) -> None:
        """Gives free slots to waiting requests. While any is waiting a timer is set, so that no wait depends on another request.

        Who gets a slot and when to look again is decided on one reading of the clock: between two, a pause could end."""
        now, skipped = asyncio.get_running_loop().time(), []
        while self._waiting:
            future, avoid, never = self._waiting[0]
            if not future.done():
                if error := self.gone(never):
                    future.set_exception(error)
                elif server := self._pick(avoid, never, now):
                    future.set_result(server)
                elif never:  # the next in line may accept a server that this one does not
                    skipped.append(self._waiting.popleft())
                    continue
                else:
                    break
            self._waiting.popleft()
        self._waiting.extendleft(reversed(skipped))
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._look_again(now)

    def _look_again(self, now: float) -> None:
        """Sets the timer. EngineError for all waiting requests if nothing is in flight and no server is paused: nothing would wake them."""
        pauses = [s.until for s in self.servers if now < s.until < math.inf]
        if pauses or self.in_flight:
            soonest = min(pauses, default=math.inf)
            self._timer = asyncio.get_running_loop().call_at(max(now + TICK, min(soonest, now + LOOK)), self._serve)
            return
        error = EngineError(
            f"{self.servers[0].url}: {len(self._waiting)} requests are waiting, but none is in flight and no server is paused; "
            "run the same command again, which requests only missing answers, and report this as a bug"
        )
        while self._waiting:
            future, *_ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
