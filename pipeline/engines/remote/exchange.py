"""One request and its reply: which server is asked, when it is retried, and whose fault a failure is.

Temporary faults are retried. A refused request is tried at the model's other servers; if all refuse it, it is refused. Whether all requests
are refused is decided in pipeline/storage/refusals.py. EngineError if no server is left."""

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
from pipeline.engines.remote.replies import MalformedReply, Refusal
from schemas import redact
from schemas.errors import EngineError, NeverAnswered, RowError
from schemas.records import Reason
from schemas.requests import Chat

PASSING = {408, 409, 425, 429}  # these and every 5xx: a retry may succeed
BUSY = {429, 503}  # too many requests
TOO_LONG = ("context length", "context_length", "model length", "too long")  # phrases in a server's error message
LOCKED = {402, 403, 404}  # from a server that has answered nothing yet: no request will succeed

log = logging.getLogger(__name__)
R = TypeVar("R", bound=Chat)
T = TypeVar("T")


class TemporaryFault(Exception):
    """A temporary fault: `end` is raised after `tries` retries without success. `waited`: the server has asked for a pause."""

    def __init__(self, end: RowError, tries: float = math.inf, waited: bool = False):
        self.end, self.tries, self.waited = end, tries, waited


class Retry(Enum):
    """How an unanswered request is repeated immediately."""

    OTHER_PARAMETERS = "with the parameters that its server supports, which are known now"
    OTHER_SERVER = "at another server"


class ServerRefusal(NamedTuple):
    """A server's refusal of a request."""

    error: EngineError  # the message if it refuses every request
    detail: str  # the message if it refuses only this one
    sent: float  # the loop's time


class Exchange:
    """Sends requests to the servers of one model. `seconds`: time during which at least one request was in flight."""

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
        """The result of `read` on the reply, which may have fewer than n answers. RowError if there is none, EngineError if no server
        is left."""
        kind = type(request), options.get("n"), options["max_tokens"]  # answers of one kind have similar latency
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
                        for other, refusal in refused.items():  # the request was not at fault
                            other.refused(refusal.sent, refusal.error)
                        if not dialect.single and options.get("n", 1) > 1 and len(found.answers) < options["n"]:
                            self._learn(server, dialect._replace(single=True), "it returns fewer answers than n")
                        return found
                    response = self._refused(server, response, request, options, dialect, sent, refused)
                log.debug("%s did not answer; repeating the request %s", server.url, response.value)
                continue
            except TemporaryFault as fault:
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
                await asyncio.sleep(endpoints.backoff_seconds(tries - 1))

    async def _answers(self, server: Server) -> bool:
        """Whether a server answers a request that the model has answered before; False if there is none."""
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
            for server, refusal in refused.items():
                if not server.given_up:  # it answers other requests
                    raise Refusal(refusal.detail) from None
            raise

    async def _post(self, server: Server, body: list[bytes], request: Chat, sent: float) -> Response | Retry:
        """The reply; OTHER_SERVER if the server is unreachable (retried later if it is the only one). TemporaryFault if the connection broke."""
        try:
            return await server.post("/chat/completions", body)
        except Unreachable as error:
            server.leave(sent, unreachable_error(server, error), self._retries)
            return Retry.OTHER_SERVER
        except OSError as error:
            message = f"the connection to the server broke ({error})"
            if isinstance(error, TimeoutError):
                message = f"the server did not answer within {self._timeout:g} seconds; raise timeout"
            elif isinstance(error, TooLarge):
                message = f"the server's reply is larger than {LONGEST_BODY >> 20} MB; lower n or max_tokens"
            server.failed(sent, request, EngineError(f"{server.url}: {message}"), self._retries)
            tries = 1 if isinstance(error, TooLarge) else math.inf
            raise TemporaryFault(RowError(Reason.ENGINE_FAILED, message), tries) from error

    def _answer(
        self, server: Server, response: Response, request: Chat, read: Callable, sent: float, kind: tuple
    ) -> Any:
        server.answered(sent, kind)
        try:
            return read(request, replies.loaded(response.body))
        except MalformedReply as error:
            status = "" if response.status == 200 else f"status {response.status}, "
            message = f"cannot parse the server's reply ({status}{error}): {self.clean(response.body)}"
            raise TemporaryFault(Refusal(message, Reason.ENGINE_FAILED), error.tries) from error

    def _refused(self, server: Server, response: Response, request: Chat, options: dict[str, Any], dialect: Dialect,
                 sent: float, refused: dict[Server, "ServerRefusal"]) -> Retry:  # fmt: skip
        """How to repeat the request: with other parameters, or at a server not in `refused`, to which this one is added. TemporaryFault if a later
        retry may help, RowError if not."""
        status, message = response.status, self.clean(response.body)
        if status in PASSING or status >= 500:
            raise self._failing(server, status, message, replies.retry_after(response.headers), request, sent)
        if status == 401:
            server.give_up(self.locked(server, response))
            return Retry.OTHER_SERVER
        if server.dialect is not dialect:  # learnt while this request was in flight
            return Retry.OTHER_PARAMETERS
        if other := dialect.learnt(response.body, options):
            self._learn(server, other, message)
            return Retry.OTHER_PARAMETERS
        detail = f"the server refused the request ({status}): {message}"
        if status < 400:
            detail = (
                f"the server redirects ({status}) to {redirect_target(response)}; if that is right, set it as base_url"
            )
        if (reason := _reason(status, message)) != Reason.ENGINE_REFUSED:
            raise RowError(reason, detail)
        refused[server] = refusal = ServerRefusal(self.locked(server, response), detail, sent)
        locked = status in LOCKED or status < 400
        if self.pool.others(*refused):
            if locked and not server.knows:
                server.refused(sent, refusal.error)
            return Retry.OTHER_SERVER
        if locked and not any(server.knows for server in self.pool.servers):
            raise NeverAnswered(
                endpoints.together([str(s.error or refused[s].error) for s in self.pool.servers]), detail
            )
        raise Refusal(detail)

    def _failing(
        self, server: Server, status: int, message: str, wait: float | None, request: Chat, sent: float
    ) -> TemporaryFault:
        if status in BUSY:
            server.busy(sent, wait)
        else:
            server.rest(wait)
        if status >= 500:
            lasting = EngineError(f"{server.url} keeps answering {status}: {message}; check the server's log")
            server.failed(sent, request, lasting, self._retries)
        return TemporaryFault(
            RowError(Reason.ENGINE_FAILED, f"the server answered {status} at every retry: {message}"), waited=bool(wait)
        )

    def _learn(self, server: Server, dialect: Dialect, message: str) -> None:
        """From now on the server gets requests in this dialect, also from engines that connect to it later in this process."""
        if dialect == server.dialect:  # learnt from another request in flight
            return
        server.dialect = parameters.REMEMBERED[server.url, self._model] = dialect
        log.warning("%s gets other parameters from now on, %s: %s", server.url, dialect.words(), message)

    def locked(self, server: Server, response: Response) -> EngineError:
        """The error to report if the server accepts no request of ours."""
        if response.status < 400:
            where = redirect_target(response)
            return EngineError(
                f"{server.url} redirects ({response.status}) to {where}; if that is right, set it as base_url"
            )
        remedy = f"check the key in {server.key_env}" if server.key_env else "set api_key_env"
        if response.status not in (401, 402, 403):
            remedy = f"check base_url and the model name {self._model}"
        return EngineError(f"{server.url} answered {response.status}: {self.clean(response.body)}; {remedy}")

    def clean(self, reply: bytes) -> str:
        """The first line of a server's message, at most 300 characters, without our keys, which some servers repeat."""
        return redact.clean(replies.error_message(reply), [server.key for server in self.pool.servers])[:300]


def unreachable_error(server: Server, error: Exception) -> EngineError:
    """The error to report for a server that cannot be reached."""
    why = str(error) or type(error).__name__
    if isinstance(error, Untrusted):
        return EngineError(
            f"{server.url}: its TLS certificate is not trusted ({why}); set SSL_CERT_FILE to a file with its authority's certificate"
        )
    _, variable = http.proxy(URL(server.url))
    if variable:
        why = f"{why}, through the proxy set in {variable}"
    return EngineError(f"no server answers at {server.url} ({why}); start it or correct base_url")


def redirect_target(response: Response) -> str:
    """The target of a redirect, without credentials and query; `nowhere` if it has no valid one."""
    try:
        url = URL(response.headers["location"])
        return str((url.with_user(None) if url.host else url).with_query(None).with_fragment(None))
    except (LookupError, ValueError):
        return "nowhere"


def _reason(status: int, message: str) -> Reason:
    message = message.lower()
    if status == 413 or any(words in message for words in TOO_LONG):
        return Reason.TOO_LONG
    return Reason.TOO_MANY_MEDIA if "may be provided in one prompt" in message else Reason.ENGINE_REFUSED
