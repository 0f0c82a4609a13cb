"""Which server gets the next request, and how many it gets at a time.

Servers of one model share its requests by weight. Each has a limit of requests in flight: it starts at its slots, halves when the
server says that it has too many or answers far more slowly than before, and grows by one for as many answers as it allows (additive
increase, multiplicative decrease: Chiu and Jain 1989). A server that fails again and again, at requests that the
model has answered before too, is left alone for a growing while and then tried with one request (a circuit breaker), while the others go on."""

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

LONGEST_PAUSE = 60.0  # seconds that a server or a request is left alone
FAULTS = 5  # of a server in a row before it is left alone
REFUSALS = 8  # of a server in a row, of what others answer, before it is not asked again
FIRST_REFUSALS = 2  # the same where it has answered nothing yet
LONG = 20.0  # seconds; a longer wait that a server asks for is told
RISE = 3.0  # times the smallest of the last medians: a server this slow has too many requests
SAMPLES = 64  # answers that a median is taken of, or as many as the limit
MEDIANS = 16  # that are remembered
LOOK = 5.0  # seconds after which a pool that somebody waits for looks for a free server whatever else happens
TICK = 0.001  # seconds: timers may be early by this much, the step of uvloop's clock

_HOST = re.compile(r"[A-Za-z0-9._~-]+|[0-9A-Fa-f:.]+(%[\w.-]+)?", re.ASCII)

log = logging.getLogger(__name__)


def plain(url: str) -> str:
    """`url` without its last slash. ValueError when it is no address of a server or holds credentials."""
    try:
        parsed = URL(url)
        if parsed.host and not _HOST.fullmatch(parsed.raw_host or ""):  # libcurl would say so at the first request
            raise ValueError(f"no host is called {parsed.host!r}")
    except ValueError as error:
        raise ValueError(f"base_url must look like http://host:port/v1 ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("base_url must look like http://host:port/v1")
    if parsed.user or parsed.password or parsed.query or parsed.fragment or redact.credentials(url):
        raise ValueError("base_url must hold no credentials: name an environment variable in api_key_env")
    return url.rstrip("/")


def named(variable: str | None) -> str | None:
    """`variable`, whose value is a secret from now on. ValueError when it is no name: a key that was written there is not repeated."""
    if variable is not None and not redact.is_name(variable):
        raise ValueError(
            "must be the name of an environment variable, like JUDGE_KEY: put the key itself into that variable"
        )
    redact.mask_values([variable])
    return variable


class Endpoint(operator.OperatorSettings):
    """One server of a model that has several."""

    base_url: str
    """where the server answers, up to and with /v1"""
    weight: float = Field(1.0, gt=0)
    """its share of the requests in flight beside the weights of the others"""
    slots: int | None = Field(None, ge=1, le=4_096)
    """most requests in flight there, where that is fewer than the model's `slots`"""
    api_key_env: str | None = None
    """name of the environment variable that holds its key, if not the model's"""

    _plain = field_validator("base_url")(plain)
    _named = field_validator("api_key_env")(named)


def pause(times: int) -> float:
    """Seconds to wait after the `times`-th fault: doubling from a half, less up to a half by chance so that not all come at once."""
    return min(0.5 * 2**times, LONGEST_PAUSE) * random.uniform(0.5, 1)


def together(errors: Sequence[str]) -> str:
    """What each of a model's servers said last, in one line."""
    return errors[0] if len(errors) == 1 else f"no endpoint is left: {'; '.join(errors)}"


class Suspect(NamedTuple):
    """What `Server.leave` takes."""

    sent: float
    error: EngineError
    patience: int
    who: object


class Server:
    """An endpoint at work: its connections, how many requests it may have, whether it is left alone."""

    def __init__(self, endpoint: Endpoint, slots: int, key: str | None, timeout: float):
        self.url, self.weight, self.key, self.key_env = endpoint.base_url, endpoint.weight, key, endpoint.api_key_env
        self.slots = min(endpoint.slots or slots, slots)
        self.limit = float(self.slots)
        self.in_flight = 0
        self.error: EngineError | None = None  # why it was left alone last
        self.given_up = False
        self.knows = False  # whether it has answered anything
        self.dialect: Dialect = USUAL
        self.strikes = 0  # times in a row that it was left alone
        url = URL(endpoint.base_url)
        self._path = url.raw_path.rstrip("/")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = Http(url, headers, timeout)
        self.looked_at = False  # whether somebody calls `judged` before it is left alone
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

    # what it may be given

    def free(self, now: float) -> bool:
        """Whether it may have one more request. One that was left alone is not full: what it had then may never end."""
        return now >= self._until and (self.strikes > 0 or self.in_flight + 1 <= self.limit) and not self.given_up

    def take(self, now: float) -> None:
        self.in_flight += 1
        if self.strikes:  # until one is answered they come singly, however long each takes
            self._until = now + pause(self.strikes)

    @property
    def until(self) -> float:
        """The loop's time before which it is left alone."""
        return math.inf if self.given_up else self._until

    # what became of a request that was sent at the loop's time `sent`

    def answered(self, sent: float, kind: Hashable) -> None:
        """It answered; `kind` says which answers take alike long."""
        if self.strikes:
            log.warning("%s answers again", self.url)
            self._until = -math.inf
        self._faults = self.strikes = 0
        self.knows = True
        self._culprits.clear()
        if self._refusals and sent > self._no:
            self._refusals = 0
        if 2 * self.in_flight < self.limit:  # how an idle server does says nothing of a full one
            return
        if self.limit < self.slots:
            self.limit = min(self.slots, self.limit + 1 / self.limit)
        if sent > self._halved:
            self._watch(sent, kind)

    def busy(self, sent: float, wait: float | None) -> None:
        """It has too many requests, and asked for a `wait` in seconds."""
        self._halve(sent)
        self.rest(wait)

    def rest(self, wait: float | None) -> None:
        if wait:
            until = asyncio.get_running_loop().time() + wait * random.uniform(1, 1.1)
            if until > self._until + LONG and wait > LONG:
                log.warning("%s asks us to wait for %.0f seconds", self.url, wait)
            self._until = max(self._until, until)

    def refused(self, sent: float, error: EngineError) -> None:
        """It refused what another server may answer. When it does so again and again and answers nothing in between, it is not asked again."""
        if not self._refusals:
            self._no = sent
        self._refusals += 1
        if self._refusals >= (REFUSALS if self.knows else FIRST_REFUSALS):
            self.give_up(error)

    def failed(self, sent: float, who: object, error: EngineError, patience: int) -> None:
        """It failed at the request `who`, which may itself be the reason: however often that one fails, it counts once."""
        if sent <= self._left or self._looking:
            return
        self._faults += 1
        if self.strikes or self._faults >= self._most_faults:
            self._suspect = Suspect(sent, error, patience, who)
            if not self.looked_at:
                self.leave(*self._suspect)

    async def judged(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Leaves a suspect alone, unless it `answers` a question that the model has answered before: then it is the requests that fail, and
        twice as many of them may before somebody looks again."""
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
        log.warning("%s answers other requests: those that fail are to blame", self.url)
        self._faults = self.strikes = 0
        self._most_faults *= 2
        self._until = -math.inf
        self._culprits.clear()

    def leave(self, sent: float, error: EngineError, patience: int, who: object = None) -> None:
        """It is gone, or as good as: leaves it alone, for good after `patience` times and one."""
        if sent <= self._left:  # sent before, or in the same tick of the loop's clock
            return
        self.close()  # what comes back in its place knows nothing of these connections
        if who is None or not any(who is other for other in self._culprits):
            self.strikes += 1
            self._culprits.append(who)
        if self.strikes > patience:
            self.give_up(error)
            return
        now, wait = asyncio.get_running_loop().time(), pause(self.strikes)
        self._left, self._until = now, max(self._until, now + wait)
        log.warning("%s is left alone for %.1f seconds: %s", self.url, wait, error)

    def give_up(self, error: EngineError) -> None:
        """It will not be asked again."""
        if not self.given_up:
            log.warning("%s is not asked again: %s", self.url, error)
        self.given_up, self.error = True, error

    def _halve(self, sent: float) -> None:
        if sent <= self._halved:  # asked before the limit was halved last
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
    """Hands out slots of the servers, `slots` of them at a time, in the order in which they were asked for."""

    def __init__(self, servers: Sequence[Server], slots: int):
        self.servers = servers
        self.slots = min(slots, sum(server.slots for server in servers))
        self.in_flight = 0
        self._waiting: deque[tuple[asyncio.Future[Server], Server | None, Collection[Server]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, avoid: Server | None = None, never: Collection[Server] = ()) -> Server:
        """A server with a free slot, now the caller's until it gives it back; `avoid` only where no other has one, none of `never`.

        EngineError when every server was given up."""
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
        server.in_flight -= 1
        self.in_flight -= 1
        if self._waiting:
            self._serve()

    def gone(self, never: Collection[Server] = ()) -> EngineError | None:
        """What to say when no server is left but those of `never`."""
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
        """Whether the model has more servers than these that are not given up."""
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
        """Gives free slots to those who wait. As long as somebody waits there is a timer, so that no wait depends on another request.

        Who may go and when to look again is decided on one reading of the clock: with two, a rest could end between them."""
        now, choosy = asyncio.get_running_loop().time(), []
        while self._waiting:
            future, avoid, never = self._waiting[0]
            if not future.done():
                if error := self.gone(never):
                    future.set_exception(error)
                elif server := self._pick(avoid, never, now):
                    future.set_result(server)
                elif never:  # the next in line may take what this one does not
                    choosy.append(self._waiting.popleft())
                    continue
                else:
                    break
            self._waiting.popleft()
        self._waiting.extendleft(reversed(choosy))
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._look_again(now)

    def _look_again(self, now: float) -> None:
        """Sets the timer. EngineError for all who wait when nothing is in flight and no server rests: nothing would ever wake them."""
        rests = [s.until for s in self.servers if now < s.until < math.inf]
        if rests or self.in_flight:
            soonest = min(rests, default=math.inf)
            self._timer = asyncio.get_running_loop().call_at(max(now + TICK, min(soonest, now + LOOK)), self._serve)
            return
        error = EngineError(
            f"{self.servers[0].url}: {len(self._waiting)} requests wait, but none is in flight and no server is left alone for a while; "
            "start the same command again, which asks only what is missing, and report this as a bug"
        )
        while self._waiting:
            future, *_ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
