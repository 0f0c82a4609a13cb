"""Any server that speaks OpenAI's chat completions: a hosted model, or `vllm serve` on other machines.

One request that fails is a Failure; when no server is left, or none knows us or the model, that is an EngineError."""

import asyncio
import os
from collections.abc import Callable
from typing import Any, Literal

import orjson
from pydantic import Field, field_validator, model_validator

from pipeline.engines import _structured_output
from pipeline.engines.remote import endpoints, exchange, replies
from pipeline.engines.remote.bodies import Bodies
from pipeline.engines.remote.endpoints import Endpoint, Server, named
from pipeline.engines.remote.exchange import Exchange, Fault
from pipeline.engines.remote.replies import Refusal, Unreadable
from schemas import operator, redact
from schemas.errors import EngineError, RecipeError, RowError
from schemas.ports import MediaStore
from schemas.records import MEDIA_KINDS, MediaKind, Reason
from schemas.requests import (
    Answer,
    Chat,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Likely,
    Refused,
    Request,
    Result,
    Score,
    Scored,
)
from schemas.special_tokens import FAMILIES, NOTHING, Specials, families_of, of_families
from schemas.text import did_you_mean

TOP_LOGPROBS = 20  # the most that servers give
FIRST = 30.0  # seconds that a server may take to say which models it has
NEUTRAL = {"repetition_penalty": 1.0, "min_p": 0.0}  # `vllm serve` else takes the model's generation_config.json
ANY = frozenset({"Generate", "Score"})  # what any server answers
VLLM = ANY | {"Form", "Likelihood"}
SCORE = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
RATED = {"max_tokens": 1, "temperature": 0, "return_token_ids": True}


class Settings(operator.OperatorSettings):
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
    media: tuple[MediaKind, ...] = MEDIA_KINDS
    """kinds of media that the model takes"""
    family: str = "auto"
    """whose special tokens texts must not hold: a family of schemas/special_tokens.py; `auto`: those that the model's name speaks of, of an unknown
    name all; `none`: nothing is broken"""

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str | None) -> str | None:
        return url if url is None else endpoints.plain(url)

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in (known := ("auto", "none", *FAMILIES)):
            raise ValueError(f"no family is called '{family}': {did_you_mean(family, known)}")
        return family

    _named = field_validator("api_key_env")(named)

    @model_validator(mode="after")
    def _one_or_several(self):
        if (self.base_url is None) == (not self.endpoints):
            raise ValueError("name one base_url, or several endpoints")
        return self


def identity_of(settings: Settings) -> str:
    model = redact.clean(settings.model)
    return f"{model}@{redact.clean(settings.revision)}" if settings.revision else model


def specials_of(settings: Settings) -> Specials:
    """What is broken in the texts that the server gets."""
    if settings.family == "none":
        return NOTHING
    return of_families(families_of(settings.model) if settings.family == "auto" else frozenset({settings.family}))


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
        said = name if redact.is_name(name) and "_" in name else "a variable"
        raise RecipeError(f"api_key_env names {said}, which is not set: export it or leave it out")
    if not (key.isascii() and key.isprintable()):
        raise RecipeError(f"the key in {name} holds a character that no header may hold: export it again")
    return key


class OpenAI:
    """An Engine over HTTP; `connect` makes it.

    `seconds` is the time during which at least one request was in flight, `requests`, `prompt_tokens` and
    `answer_tokens` count what was asked and answered. Servers count the tokens of n answers together; without log-probabilities
    an answer's own count is its share by length."""

    def __init__(self, settings: Settings, media: MediaStore, servers: list[Server]):
        self.identity = identity_of(settings)
        self.media = frozenset(settings.media)
        bodies = Bodies(settings.model, media, self.media, self.identity, specials_of(settings))
        self._exchange = Exchange(servers, settings.slots, bodies, settings.model, settings.timeout, settings.retries)
        self._pool = self._exchange.pool
        self.slots = self._pool.slots
        self._exchange.witness = self._witness
        self.witness: Callable[[], Request | None] = lambda: None
        """a request that the model has answered before, by which a server that fails is told from requests that do"""
        self.requests = self.prompt_tokens = self.answer_tokens = 0
        self._settings = settings
        self._vllm = settings.server == "vllm"

    @property
    def can(self) -> frozenset[str]:
        return VLLM if self._vllm else ANY

    @property
    def seconds(self) -> float:
        return self._exchange.seconds

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
            return exchange.unreachable_error(server, error)
        if response.status in (401, 403) or 300 <= response.status < 400:
            raise self._exchange.locked(server, response)
        return response.body

    async def ask(self, request: Request) -> Result:
        """The answers, or a Failure when this request cannot be answered. EngineError when no request could be."""
        self.requests += 1
        try:
            if isinstance(request, Generate):
                return await self._generate(request)
            if isinstance(request, Score):
                return await self._exchange.ask(request, SCORE, self._scored)
            if isinstance(request, Likelihood):
                return await self._likelihood(request)
            kind = type(request).__name__
            raise RowError(Reason.ENGINE_REFUSED, f"a server answers no {kind}; use the engine hf")
        except Refusal as error:
            return Refused(error.reason, error.detail)
        except RowError as error:
            return Failure(error.reason, error.detail)

    async def close(self) -> None:
        self._pool.close()

    # what is asked

    def _witness(self) -> tuple[Chat, dict[str, Any]] | None:
        match request := self.witness():
            case Generate():
                return request, self._options(request)
            case Score():
                return request, SCORE
        return None

    def _options(self, request: Generate) -> dict[str, Any]:
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
            if _structured_output.wrapped(form, self._vllm):
                if request.logprobs:
                    detail = "only vLLM tells the log-probabilities of a choice or a regular expression; set server: vllm if it is one"
                    raise RowError(Reason.ENGINE_REFUSED, detail)
                said["max_tokens"] += _structured_output.AROUND
            said |= _structured_output.options(form, self._vllm)
        return said | NEUTRAL if self._vllm else said

    async def _generate(self, request: Generate) -> Generated:
        """A server may give fewer answers than it was asked for. The others are asked for one by one, each with a seed of its own."""
        first = await self._exchange.ask(request, self._options(request), self._generated)
        if len(first.answers) == request.n:
            return first
        ones = [request._replace(n=1, seed=request.seed + i) for i in range(len(first.answers), request.n)]
        asked = [self._exchange.ask(one, self._options(one), self._generated) for one in ones]
        rest = await asyncio.gather(*asked, return_exceptions=True)
        answers = [*first.answers]
        for each in rest:
            if isinstance(each, BaseException):
                raise each
            answers.append(each.answers[0])
        return Generated(tuple(answers), first.prompt_tokens)

    async def _likelihood(self, request: Likelihood) -> Likely:
        """The prompt's tokens are asked for alone first: where those with the answer part from them, it begins."""
        *before, last = request.messages
        if last.role != "assistant" or not any((part.text or "").strip() for part in last.parts):
            raise RowError(Reason.EMPTY_ANSWER, "there is no answer whose likelihood could be told")
        if not self._vllm:
            raise RowError(
                Reason.ENGINE_REFUSED, "only vLLM tells how likely a given answer is; set server: vllm if it is one"
            )
        alone = await self._exchange.ask(Likelihood(tuple(before)), RATED, lambda _, reply: reply)
        whole = await self._exchange.ask(request, RATED | {"prompt_logprobs": 0}, lambda _, reply: reply)
        try:
            logprobs, length = replies.likelihood(alone, whole)
        except Unreadable as error:
            raise RowError(Reason.ENGINE_FAILED, f"the server's answer is unreadable: {error}") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise Refusal("the server tells no likelihoods of prompts, so it is no vLLM; set server: openai") from error
        self.prompt_tokens += length
        return Likely(logprobs, length)

    # what comes back

    def _generated(self, request: Generate, reply: dict) -> Generated:
        prompt, tokens = replies.counts(reply)
        found = replies.choices(reply, request.n)
        if request.logprobs:
            answers = tuple([replies.with_logprobs(choice, request.max_tokens) for choice in found])
        else:
            answers = replies.answers(found, tokens, request.max_tokens)
        result = Generated(answers if request.form is None else self._formed(answers, request.form), prompt)
        self.prompt_tokens += prompt
        self.answer_tokens += tokens
        return result

    def _scored(self, request: Score, reply: dict) -> Scored:
        prompt, tokens = replies.counts(reply)
        result = Scored(replies.first_tokens(replies.choices(reply, 1)[0], request.choices), prompt)
        self.prompt_tokens += prompt
        self.answer_tokens += tokens
        return result

    def _formed(self, answers: tuple[Answer, ...], form: _structured_output.Form) -> tuple[Answer, ...]:
        """The answers, of which each that is whole has the form. Fault, to be asked once more, where one has not."""
        out = []
        for answer in answers:
            inside = (
                _structured_output.unwrap(answer.text) if _structured_output.wrapped(form, self._vllm) else answer.text
            )
            if inside is None or (answer.finish != "length" and not _structured_output.fits(form, inside)):
                cut = (
                    "; raise max_tokens" if answer.finish == "length" else "; use a model or a server that keeps to it"
                )
                said = self._exchange.clean(answer.text.encode(errors="replace"))
                detail = f"the answer has not the form that was asked for: {said}{cut}"
                raise Fault(RowError(Reason.ENGINE_FAILED, detail), tries=1)
            out.append(answer._replace(text=inside))
        return tuple(out)


def _is_vllm(models: bytes) -> bool:
    """Whether a list of models is that of a vLLM server."""
    try:
        return any(model["owned_by"] == "vllm" for model in orjson.loads(models)["data"])
    except (ValueError, LookupError, TypeError):
        return False
