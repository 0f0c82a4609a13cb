"""One request and its answer: at which server it is asked, when again, and whose fault it is when nothing comes of it.

A fault that may pass is tried again. A refusal is tried at the model's other servers, and is then the request's own; whether it is
everybody's, who sees all requests decides (pipeline/storage/refusals.py). EngineError: no server is left."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from yarl import URL

from pipeline.engines.remote import endpoints, http, parameters, replies
from pipeline.engines.remote.bodies import Bodies
from pipeline.engines.remote.endpoints import Pool, Server
from pipeline.engines.remote.http import LONGEST_BODY, Response, TooLarge, Unreachable, Untrusted
from pipeline.engines.remote.parameters import Dialect
from pipeline.engines.remote.replies import Refusal, Unreadable
from schemas import redact
from schemas.errors import EngineError, NeverAnswered, RowError
from schemas.records import Reason
from schemas.requests import Chat

PASSING = {408, 409, 425, 429}  # and every 5xx: another try may succeed
BUSY = {429, 503}  # there are too many requests
TOO_LONG = ("context length", "context_length", "model length", "too long")  # in what a server says
LOCKED = {402, 403, 404}  # of a server that has answered nothing yet: no request will succeed

log = logging.getLogger(__name__)
R = TypeVar("R", bound=Chat)
T = TypeVar("T")


class Fault(Exception):
    """A fault that may pass: `end` is raised when `tries` more did not help."""

    def __init__(self, end: RowError, tries: float = math.inf, waited: bool = False):
        self.end, self.tries, self.waited = end, tries, waited


class Again(Enum):
    """How a request without an answer is asked again, at once."""

    OTHER_WORDS = "in the words that its server takes, which are known now"
    OTHER_SERVER = "at another server"


class ServerRefusal(NamedTuple):
    """A server's refusal of a request."""

    error: EngineError  # if it refuses every one
    detail: str  # if it refuses this one
    sent: float


class Exchange:
    """Asks the servers of one model. `seconds`: how long at least one request was in flight."""

    def __init__(self, servers: list[Server], slots: int, bodies: Bodies, model: str, timeout: float, retries: int):
        self.pool = Pool(servers, slots)
        self.seconds = 0.0
        self.witness: Callable[[], tuple[Chat, dict[str, Any]] | None] = lambda: None
        """a request that the model has answered before, and its options"""
        self._bodies, self._model, self._timeout, self._retries = bodies, model, timeout, retries
        self._since: float | None = None
        for server in servers:
            server.looked_at = True
            server.dialect = parameters.REMEMBERED.get((server.url, model), parameters.USUAL)

    async def ask(self, request: R, options: dict[str, Any], read: Callable[[R, dict], T]) -> T:
        """What `read` makes of the reply; of several answers some may be missing. RowError when none comes, EngineError when no server is left."""
        kind = type(request), options.get("n"), options["max_tokens"]  # such answers take alike long
        body: list[bytes] = []
        dialect: Dialect | None = None
        server, tries, refused = None, 0, {}
        while True:
            server = await self._next(server, refused)
            if self._since is None:
                self._since = time.perf_counter()
            try:
                if dialect is not server.dialect:
                    dialect = server.dialect
                    body = self._bodies.make(request.messages, dialect.put(options))
                sent = asyncio.get_running_loop().time()
                response = await self._post(server, body, request, sent)
                if isinstance(response, Response):
                    if 200 <= response.status < 300:
                        found = self._answer(server, response, request, read, sent, kind)
                        for other, no in refused.items():  # it was not the request
                            other.refused(no.sent, no.error)
                        if not dialect.single and options.get("n", 1) > 1 and len(found.answers) < options["n"]:
                            self._learn(
                                server, dialect._replace(single=True), "gives one answer at a time, whatever n says"
                            )
                        return found
                    response = self._refused(server, response, request, options, dialect, sent, refused)
                log.debug("%s gave no answer; asked again %s", server.url, response.value)
                continue
            except Fault as fault:
                await server.judged(lambda server=server: self._answers(server))
                if tries >= min(fault.tries, self._retries):
                    raise fault.end from fault.__cause__
                waited = fault.waited
            finally:
                self.pool.give(server)
                if not self.pool.in_flight:
                    self.seconds += time.perf_counter() - self._since
                    self._since = None
            tries += 1
            if not waited:
                await asyncio.sleep(endpoints.pause(tries - 1))

    async def _answers(self, server: Server) -> bool:
        """Whether a server answers what the model has answered before."""
        if (known := self.witness()) is None:
            return False
        request, options = known
        try:
            body = self._bodies.make(request.messages, server.dialect.put(options))
            return 200 <= (await server.post("/chat/completions", body)).status < 300
        except (OSError, RowError):
            return False

    async def _next(self, before: Server | None, refused: dict[Server, "ServerRefusal"]) -> Server:
        try:
            return await self.pool.take(avoid=before, never=refused)
        except EngineError:
            for server, no in refused.items():
                if not server.given_up:  # it works, for others
                    raise Refusal(no.detail) from None
            raise

    async def _post(self, server: Server, body: list[bytes], request: Chat, sent: float) -> Response | Again:
        """OTHER_SERVER when the server is gone; it again later where there is no other."""
        try:
            return await server.post("/chat/completions", body)
        except Unreachable as error:
            server.leave(sent, unreachable_error(server, error), self._retries)
            return Again.OTHER_SERVER
        except OSError as error:
            words = f"the connection to the server broke ({error})"
            if isinstance(error, TimeoutError):
                words = f"the server gave no answer within {self._timeout:g} seconds; raise timeout"
            elif isinstance(error, TooLarge):
                words = f"the server's answer is larger than {LONGEST_BODY >> 20} MB"
            server.failed(sent, request, EngineError(f"{server.url}: {words}"), self._retries)
            tries = 1 if isinstance(error, TooLarge) else math.inf
            raise Fault(RowError(Reason.ENGINE_FAILED, words), tries) from error

    def _answer(
        self, server: Server, response: Response, request: Chat, read: Callable, sent: float, kind: tuple
    ) -> Any:
        server.answered(sent, kind)
        try:
            return read(request, replies.loaded(response.body))
        except Unreadable as error:
            status = "" if response.status == 200 else f"status {response.status}, "
            words = f"the server's answer is unreadable ({status}{error}): {self.clean(response.body)}"
            raise Fault(Refusal(words, Reason.ENGINE_FAILED), error.tries) from error

    def _refused(self, server: Server, response: Response, request: Chat, options: dict[str, Any], dialect: Dialect,
                 sent: float, refused: dict[Server, "ServerRefusal"]) -> Again:  # fmt: skip
        """How it should be asked again: in other words, or at another server than those of `refused`, to which this one is added. Fault
        where that may help later, RowError where it would not."""
        status, said = response.status, self.clean(response.body)
        if status in PASSING or status >= 500:
            raise self._failing(server, status, said, replies.retry_after(response.headers), request, sent)
        if status == 401:
            server.give_up(self.locked(server, response))
            return Again.OTHER_SERVER
        if server.dialect is not dialect:  # learnt while this request was on its way
            return Again.OTHER_WORDS
        if other := dialect.learnt(response.body, options):
            self._learn(server, other, said)
            return Again.OTHER_WORDS
        detail = f"the server refused the request ({status}): {said}"
        if status < 400:
            detail = f"the server sends us elsewhere ({status}), to {redirect_target(response)}; if that is right, put it into base_url"
        if (reason := _reason(status, said)) != Reason.ENGINE_REFUSED:
            raise RowError(reason, detail)
        refused[server] = no = ServerRefusal(self.locked(server, response), detail, sent)
        locked = status in LOCKED or status < 400
        if self.pool.others(*refused):
            if locked and not server.knows:
                server.refused(sent, no.error)
            return Again.OTHER_SERVER
        if locked and not any(server.knows for server in self.pool.servers):
            raise NeverAnswered(
                endpoints.together([str(s.error or refused[s].error) for s in self.pool.servers]), detail
            )
        raise Refusal(detail)

    def _failing(self, server: Server, status: int, said: str, wait: float | None, request: Chat, sent: float) -> Fault:
        if status in BUSY:
            server.busy(sent, wait)
        else:
            server.rest(wait)
        if status >= 500:
            lasting = EngineError(f"{server.url} answered {status} to request after request: {said}; look at its log")
            server.failed(sent, request, lasting, self._retries)
        return Fault(
            RowError(Reason.ENGINE_FAILED, f"the server answered {status} again and again: {said}"), waited=bool(wait)
        )

    def _learn(self, server: Server, dialect: Dialect, said: str) -> None:
        """From now on the server is asked in this dialect, also by what connects to it later in this process."""
        server.dialect = parameters.REMEMBERED[server.url, self._model] = dialect
        log.warning("%s is asked in other words from now on, %s: %s", server.url, dialect.words(), said)

    def locked(self, server: Server, response: Response) -> EngineError:
        """The server takes no request of ours."""
        if response.status < 400:
            where = redirect_target(response)
            return EngineError(
                f"{server.url} sends us elsewhere ({response.status}), to {where}; if that is right, put it into base_url"
            )
        remedy = f"check the key in {server.key_env}" if server.key_env else "name a key in api_key_env"
        if response.status not in (401, 402, 403):
            remedy = f"check base_url and the model's name {self._model}"
        return EngineError(f"{server.url} answered {response.status}: {self.clean(response.body)}; {remedy}")

    def clean(self, reply: bytes) -> str:
        """The first line of what a server said, without our keys, which some servers repeat."""
        return redact.clean(replies.said(reply), [server.key for server in self.pool.servers])[:300]


def unreachable_error(server: Server, error: Exception) -> EngineError:
    """What to say of a server to which there is no connection."""
    why = str(error) or type(error).__name__
    if isinstance(error, Untrusted):
        return EngineError(
            f"{server.url}: its TLS certificate is not trusted ({why}): name the file with the certificate of who signed it in SSL_CERT_FILE"
        )
    _, variable = http.proxy(URL(server.url))
    if variable:
        why = f"{why}, through the proxy that {variable} names"
    return EngineError(f"no server answers at {server.url} ({why}): start it or correct base_url")


def redirect_target(response: Response) -> str:
    """Where a redirect leads, without credentials and query."""
    try:
        url = URL(response.headers["location"])
        return str((url.with_user(None) if url.host else url).with_query(None).with_fragment(None))
    except (LookupError, ValueError):
        return "nowhere"


def _reason(status: int, said: str) -> Reason:
    said = said.lower()
    if status == 413 or any(words in said for words in TOO_LONG):
        return Reason.TOO_LONG
    return Reason.TOO_MANY_MEDIA if "may be provided in one prompt" in said else Reason.ENGINE_REFUSED
