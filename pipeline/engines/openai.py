"""Any server that speaks OpenAI's chat completions: a hosted model, or `vllm serve` on other machines.

Bodies are joined from bytes that are made once: a media's part is encoded once and kept while it is asked about.
One request that fails is a Failure; when no server is left, or none knows us or the model, that is an EngineError."""

import asyncio
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import takewhile
from typing import Any, Literal

import orjson
import pybase64
from cachetools import LRUCache
from pydantic import Field, field_validator, model_validator

from pipeline.engines import endpoints, forms
from pipeline.engines.endpoints import Endpoint, Pool, Server
from pipeline.engines.http import Response, Unreachable
from pipeline.engines.shown import merged, read, shown
from pipeline.engines.told import rounded
from pipeline.media.decode import as_wav
from pipeline.media.sniff import sniff
from schemas import operator
from schemas.chat import escape
from schemas.errors import EngineError, RecipeError, RowError
from schemas.ports import (
    Answer,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Likely,
    MediaStore,
    Request,
    Result,
    Score,
    Scored,
)  # fmt: skip
from schemas.records import MEDIA_KINDS, Message, Part, Reason

PARTS_BYTES = 64 << 20  # encoded media kept for the next request that shows them
TOP_LOGPROBS = 20  # the most that servers give
LONGEST_WAIT = 600.0  # seconds that a server may ask us to wait
FIRST = 30.0  # seconds that a server may take to say which models it has
PASSING = {408, 409, 425, 429}  # and every 5xx: another try may succeed
BUSY = {429, 503}  # there are too many requests
TOO_LONG = ("context length", "context_length", "model length", "too long")  # in what a server says
LOCKED = {401, 402, 403, 404}  # no request will succeed
NEUTRAL = {"repetition_penalty": 1.0, "min_p": 0.0}  # `vllm serve` else takes the model's generation_config.json
CONTINUED = {
    "add_generation_prompt": False,
    "continue_final_message": True,
}  # vLLM's words for: go on where this turn ends
ANY = frozenset({"Generate", "Score"})  # what any server answers
VLLM = ANY | {"Form", "Likelihood"}
RATED = {"max_tokens": 1, "temperature": 0, "return_token_ids": True}


class Settings(operator.Settings):
    base_url: str | None = None
    """where the server answers, up to and with /v1"""
    endpoints: tuple[Endpoint, ...] = ()
    """several servers of the model instead: {base_url, weight, slots, api_key_env} each"""
    model: str
    """the model's name on the server"""
    revision: str | None = None
    """what to call the model's version in ids; say another when the server changes its weights"""
    server: Literal["vllm", "openai"] | None = None
    """whose extra words it knows; by default vllm's where it says that it is one"""
    api_key_env: str | None = None
    """name of the environment variable that holds the key"""
    slots: int = Field(64, ge=1, le=4_096)
    """most requests in flight, at all endpoints together; fewer while a server says that it has too many or grows slow"""
    timeout: float = Field(600, gt=0, le=86_400)
    """seconds until an unanswered request is asked again"""
    retries: int = Field(5, ge=0, le=100)
    """how often a request is asked again after a passing fault, and a server that is gone looked for again"""
    media: tuple[Literal[MEDIA_KINDS], ...] = MEDIA_KINDS
    """kinds of media that the model takes"""

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str | None) -> str | None:
        return url and endpoints.plain(url)

    @model_validator(mode="after")
    def _one_or_several(self):
        if (self.base_url is None) == (not self.endpoints):
            raise ValueError("name one base_url, or several endpoints")
        return self


def identity_of(settings: Settings) -> str:
    return f"{settings.model}@{settings.revision}" if settings.revision else settings.model


def able(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """What it answers and the kinds of media it takes, as far as settings tell before it is asked."""
    return (VLLM if settings.server == "vllm" else ANY), frozenset(settings.media)


async def connect(settings: Settings, media: MediaStore) -> "OpenAI":
    """An engine of whose servers one has answered.

    RecipeError when a key's variable is not set; EngineError when no server answers or one does not take its key."""
    several = settings.endpoints or (Endpoint(base_url=settings.base_url or ""),)
    several = [e.model_copy(update={"api_key_env": e.api_key_env or settings.api_key_env}) for e in several]
    servers = [Server(e, settings.slots, _key(e.api_key_env), settings.timeout) for e in several]
    engine = OpenAI(settings, media, servers)
    try:
        await engine.check()
    except BaseException:
        await engine.close()
        raise
    return engine


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    key = os.environ.get(name, "").strip()  # a line's end in it would end the header
    if not key:
        raise RecipeError(f"api_key_env names {name}, which is not set: export it or leave it out")
    return key


class _Fault(Exception):
    """A fault that may pass: `end` is raised when `tries` more did not help."""

    def __init__(self, end: RowError, tries: float = math.inf, waited: bool = False):
        self.end, self.tries, self.waited = end, tries, waited


class OpenAI:
    """An Engine over HTTP; `connect` makes it.

    `seconds` is the time during which at least one request was in flight, `requests`, `prompt_tokens` and
    `answer_tokens` count what was asked and answered. Servers count the tokens of n answers together; without log-probabilities
    an answer's own count is its share by length."""

    def __init__(self, settings: Settings, media: MediaStore, servers: list[Server]):
        self.identity = identity_of(settings)
        self.media = frozenset(settings.media)
        self._pool = Pool(servers, settings.slots)
        self.slots = self._pool.slots
        self.seconds = 0.0
        self.requests = self.prompt_tokens = self.answer_tokens = 0
        self._settings = settings
        self._store = media
        self._vllm = settings.server == "vllm"
        self._head = b'{"model":' + orjson.dumps(settings.model) + b',"messages":['
        self._parts = LRUCache(PARTS_BYTES, getsizeof=lambda pieces: sum(map(len, pieces)))
        self._since: float | None = None

    @property
    def can(self) -> frozenset[str]:
        return VLLM if self._vllm else ANY

    async def check(self) -> None:
        """Asks every server for its models; one that has no such list is taken at its word."""
        started = asyncio.get_running_loop().time()
        found = await asyncio.gather(*map(self._models, self._pool.servers))
        lists = [said for said in found if isinstance(said, bytes)]
        if not lists:
            raise EngineError("; ".join(map(str, found)))
        for server, said in zip(self._pool.servers, found, strict=True):
            if isinstance(said, EngineError):
                server.leave(started, said, self._settings.retries)
        if self._settings.server is None:
            self._vllm = all(map(_is_vllm, lists))

    async def _models(self, server: Server) -> bytes | EngineError:
        try:
            async with asyncio.timeout(FIRST):
                response = await server.get("/models")
        except OSError as error:  # TimeoutError among them
            return self._gone(server, error)
        if response.status in (401, 403):
            raise self._locked(server, response)
        return response.body

    async def ask(self, request: Request) -> Result:
        """The answers, or a Failure when this request cannot be answered. EngineError when no request could be."""
        self.requests += 1
        try:
            if isinstance(request, Likelihood):
                return await self._likelihood(request)
            if isinstance(request, Generate | Score):
                return await self._exchange(request, self._options(request), self._read)
            kind = type(request).__name__
            raise RowError(Reason.ENGINE_REFUSED, f"a server answers no {kind}; use the engine hf")
        except RowError as error:
            return Failure(error.reason, error.detail)

    async def close(self) -> None:
        self._pool.close()

    # the body of a request

    def _options(self, request: Generate | Score) -> dict[str, Any]:
        if isinstance(request, Score):
            return {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        said: dict[str, Any] = {
            "n": request.n, "temperature": request.temperature, "top_p": request.top_p,
            "max_tokens": request.max_tokens, "seed": request.seed,
        }  # fmt: skip
        if request.top_k or self._vllm:
            said["top_k"] = request.top_k
        if request.stop:
            said["stop"] = request.stop
        if request.logprobs:
            said["logprobs"] = True
        if (form := request.form) is not None:
            if forms.wrapped(form, self._vllm):
                if request.logprobs:
                    detail = "only vLLM tells the log-probabilities of a choice or a regular expression; set server: vllm if it is one"
                    raise RowError(Reason.ENGINE_REFUSED, detail)
                said["max_tokens"] += forms.AROUND
            said |= forms.options(form, self._vllm)
        return said | NEUTRAL if self._vllm else said

    def _body(self, messages: tuple[Message, ...], options: dict[str, Any]) -> list[bytes]:
        """The body in pieces, which need not be joined: a media's part is large."""
        shown(messages, self.media, self.identity)
        pieces = [self._head]
        for message in messages:
            pieces += (b'{"role":"', message.role.encode(), b'","content":', *self._content(message), b"},")
        pieces[-1] = b"}],"
        pieces.append(orjson.dumps(options | CONTINUED if messages[-1].role == "assistant" else options)[1:])
        return pieces

    def _content(self, message: Message) -> list[bytes]:
        parts = merged(message.parts)
        if len(parts) == 1 and parts[0].type == "text":
            return [_text(parts[0].text)]
        pieces = [b"["]
        for part in parts:
            pieces += (*self._part(part), b",")
        pieces[-1] = b"]"
        return pieces

    def _part(self, part: Part) -> tuple[bytes, ...]:
        if part.type == "text":
            return b'{"type":"text","text":', _text(part.text), b"}"
        key = part.type, part.media
        if (made := self._parts.get(key)) is None:
            made = _encode(part, read(self._store, part))
            if sum(map(len, made)) <= PARTS_BYTES:
                self._parts[key] = made
        return made

    # asking, and asking again

    async def _exchange(self, request: Request, options: dict[str, Any], read: Callable[[Request, dict], Any]) -> Any:
        """What `read` makes of the answer to the request. RowError when none comes, EngineError when no server is left."""
        kind = type(request), options.get("n"), options["max_tokens"]  # such answers take alike long
        body: list[bytes] = []
        server, tries = None, 0
        while True:
            server = await self._pool.take(avoid=server)
            if self._since is None:
                self._since = time.perf_counter()
            try:
                body = body or self._body(request.messages, options)
                if (reply := await self._post(server, body, kind)) is not None:
                    return read(request, reply)
                continue
            except _Fault as fault:
                if tries >= min(fault.tries, self._settings.retries):
                    raise fault.end from fault.__cause__
                waited = fault.waited
            finally:
                self._pool.give(server)
                if not self._pool.in_flight:
                    self.seconds += time.perf_counter() - self._since
                    self._since = None
            tries += 1
            if not waited:
                await asyncio.sleep(endpoints.pause(tries - 1))

    async def _post(self, server: Server, body: list[bytes], kind: tuple) -> dict | None:
        """The server's reply; None when it is gone and another must be asked, or it again later."""
        patience = self._settings.retries
        sent = asyncio.get_running_loop().time()
        try:
            response = await server.post("/chat/completions", body)
        except Unreachable as error:
            server.leave(sent, self._gone(server, error), patience)
            return None
        except OSError as error:
            late = isinstance(error, TimeoutError)
            said = f"the connection to the server broke ({type(error).__name__})"
            if late:
                said = f"the server gave no answer within {self._settings.timeout:g} seconds; raise timeout"
            server.failed(sent, body, EngineError(f"{server.url}: {said}"), patience)
            raise _Fault(RowError(Reason.ENGINE_FAILED, said)) from error
        if response.status == 200:
            server.answered(sent, kind)
            return self._reply(response)
        return self._refused(server, response, sent, body)

    def _reply(self, response: Response) -> dict:
        try:
            reply = orjson.loads(response.body)
        except ValueError as error:
            raise _Fault(self._unreadable(response.body)) from error
        if not isinstance(reply, dict):
            raise _Fault(self._unreadable(response.body), tries=1)
        return reply

    def _refused(self, server: Server, response: Response, sent: float, body: list[bytes]) -> None:
        """None when another server may answer. Else _Fault, or RowError when asking again would not help."""
        status, said = response.status, self._clean(response.body)
        if status in LOCKED:
            server.give_up(self._locked(server, response))
            return
        if status not in PASSING and status < 500:
            raise RowError(_reason(status, said), f"the server refused the request ({status}): {said}")
        wait = _retry_after(response.headers)
        if status in BUSY:
            server.busy(sent, wait)
        else:
            server.rest(wait)
        if status >= 500:
            lasting = EngineError(f"{server.url} answered {status} to request after request: {said}; look at its log")
            server.failed(sent, body, lasting, self._settings.retries)
        detail = f"the server answered {status} again and again: {said}"
        raise _Fault(RowError(Reason.ENGINE_FAILED, detail), waited=bool(wait))

    def _locked(self, server: Server, response: Response) -> EngineError:
        mend = f"check the key in {server.key_env}" if server.key_env else "name a key in api_key_env"
        if response.status == 404:
            mend = f"check base_url and the model's name {self._settings.model}"
        return EngineError(f"{server.url} answered {response.status}: {self._clean(response.body)}; {mend}")

    def _gone(self, server: Server, error: Exception) -> EngineError:
        return EngineError(f"no server answers at {server.url} ({type(error).__name__}): start it or mend base_url")

    def _unreadable(self, reply: bytes) -> RowError:
        return RowError(Reason.ENGINE_FAILED, f"the server's answer is unreadable: {self._clean(reply)}")

    def _clean(self, reply: bytes) -> str:
        """The first line of what a server said, without our keys, which some servers repeat."""
        said = _said(reply).strip() or "nothing"
        line = said.splitlines()[0]
        for server in self._pool.servers:
            if server.key:
                line = line.replace(server.key, "***")
        return line[:300]

    # the answer

    def _read(self, request: Generate | Score, reply: dict) -> Generated | Scored:
        try:
            usage = reply.get("usage") or {}
            prompt, tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
            choices = sorted(reply["choices"], key=lambda choice: choice["index"])
            if isinstance(request, Score):
                result = Scored(_logprobs(choices[0], request.choices), prompt)
            else:
                answers = _answers(choices, request, tokens)
                result = Generated(answers if request.form is None else self._formed(answers, request.form), prompt)
        except (LookupError, TypeError, AttributeError) as error:
            raise _Fault(self._unreadable(orjson.dumps(reply)), tries=1) from error
        self.prompt_tokens += prompt
        self.answer_tokens += tokens
        return result

    def _formed(self, answers: tuple[Answer, ...], form: forms.Form) -> tuple[Answer, ...]:
        """The answers, of which each that is whole has the form. _Fault, to be asked once more, where one has not."""
        out = []
        for answer in answers:
            inside = forms.unwrap(answer.text) if forms.wrapped(form, self._vllm) else answer.text
            if inside is None or (answer.finish != "length" and not forms.fits(form, inside)):
                cut = (
                    "; raise max_tokens" if answer.finish == "length" else "; use a model or a server that keeps to it"
                )
                said = self._clean(answer.text.encode(errors="replace"))
                detail = f"the answer has not the form that was asked for: {said}{cut}"
                raise _Fault(RowError(Reason.ENGINE_FAILED, detail), tries=1)
            out.append(answer._replace(text=inside))
        return tuple(out)

    async def _likelihood(self, request: Likelihood) -> Likely:
        """The prompt's tokens are asked for alone first: where those with the answer part from them, it begins."""
        *before, last = request.messages
        if last.role != "assistant" or not any((part.text or "").strip() for part in last.parts):
            raise RowError(Reason.EMPTY_ANSWER, "there is no answer whose likelihood could be told")
        if not self._vllm:
            raise RowError(
                Reason.ENGINE_REFUSED, "only vLLM tells how likely a given answer is; set server: vllm if it is one"
            )
        prompt = await self._exchange(Likelihood(tuple(before)), RATED, lambda _, reply: reply)
        reply = await self._exchange(request, RATED | {"prompt_logprobs": 0}, lambda _, reply: reply)
        try:
            ids, alone, found = reply["prompt_token_ids"], prompt["prompt_token_ids"], reply["prompt_logprobs"]
            length = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, alone)))
            logprobs = [rounded(of[str(i)]["logprob"]) for i, of in zip(ids[length:], found[length:], strict=True)]
        except (LookupError, TypeError) as error:
            detail = "the server tells no likelihoods of prompts, so it is no vLLM; set server: openai"
            raise RowError(Reason.ENGINE_REFUSED, detail) from error
        self.prompt_tokens += length
        return Likely(tuple(logprobs), length)


def _is_vllm(models: bytes) -> bool:
    """Whether a list of models is that of a vLLM server."""
    try:
        return any(model["owned_by"] == "vllm" for model in orjson.loads(models)["data"])
    except (ValueError, LookupError, TypeError):
        return False


def _text(text: str) -> bytes:
    try:
        return orjson.dumps(escape(text))
    except orjson.JSONEncodeError as error:
        raise RowError(Reason.ENGINE_REFUSED, "the prompt holds a lone surrogate; mend its text") from error


def _encode(part: Part, data: bytes) -> tuple[bytes, bytes, bytes]:
    """A media's part of the body, in pieces."""
    name = f"{part.type} {part.media}"
    form = sniff(data, name)
    if part.type == "audio" and form.library == "av" and form.name != "mp3":  # a video's sound, or one in its container
        data = as_wav(data, name)
        form = sniff(data, name)
    encoded = pybase64.b64encode(data)
    if part.type == "audio":
        kind = form.name.lower().encode()  # wav, flac, mp3 ...
        return b'{"type":"input_audio","input_audio":{"format":"%b","data":"' % kind, encoded, b'"}}'
    mime = form.mime if "/" in form.mime else f"{part.type}/{form.mime}"
    kind = part.type.encode()
    return b'{"type":"%b_url","%b_url":{"url":"data:%b;base64,' % (kind, kind, mime.encode()), encoded, b'"}}'


def _answers(choices: list[dict], request: Generate, tokens: int) -> tuple[Answer, ...]:
    if len(choices) != request.n:
        detail = f"the server gave {len(choices)} answers of {request.n}; ask it for one at a time"
        raise RowError(Reason.ENGINE_FAILED, detail)
    texts = [choice["message"]["content"] or "" for choice in choices]
    if request.logprobs:
        return tuple(map(_with_logprobs, texts, choices))
    share = tokens / (sum(map(len, texts)) or 1)
    counts = [round(share * len(text)) for text in texts]
    counts[-1] += tokens - sum(counts)
    return tuple([Answer(t, c, choice["finish_reason"]) for t, c, choice in zip(texts, counts, choices, strict=True)])


def _with_logprobs(text: str, choice: dict) -> Answer:
    each = tuple(rounded(token["logprob"]) for token in _said_of_tokens(choice))
    return Answer(text, len(each), choice["finish_reason"], rounded(sum(each)), each)


def _said_of_tokens(choice: dict) -> list[dict]:
    said = choice.get("logprobs")
    if not said or not said.get("content"):
        raise RowError(Reason.ENGINE_REFUSED, "the server gives no log-probabilities; use another model for this step")
    return said["content"]


def _logprobs(choice: dict, wanted: tuple[str, ...]) -> tuple[float | None, ...]:
    """The log-probability of each wanted first token. A token serves one choice: the one that is spelled like it, or else the
    one that is it without the space before it."""
    found: dict[str, float] = {}
    for token in _said_of_tokens(choice)[0]["top_logprobs"]:
        text = token["token"]
        name = text if text in wanted else text.lstrip()
        if name in wanted and name not in found:
            found[name] = rounded(token["logprob"])
    return tuple(found.get(name) for name in wanted)


def _said(reply: bytes) -> str:
    """The message in a server's error, or the reply itself."""
    text = reply[:2000].decode(errors="replace")
    try:
        body = orjson.loads(reply)
        error = body.get("error", body)
        return str(error.get("message", text))
    except (ValueError, AttributeError):
        return text


def _reason(status: int, said: str) -> Reason:
    said = said.lower()
    if status == 413 or any(words in said for words in TOO_LONG):
        return Reason.TOO_LONG
    return Reason.TOO_MANY_MEDIA if "may be provided in one prompt" in said else Reason.ENGINE_REFUSED


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the server asks to wait, as a number or until a date; None where it does not say so."""
    said = headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            until = parsedate_to_datetime(said)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None
