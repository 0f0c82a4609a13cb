"""Engine for any server with the OpenAI chat completions API: a hosted model, or `vllm serve` on other machines.

A single failed request is a Failure; EngineError if no server is left, or every server rejects the key or the model."""

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
from pipeline.engines.remote.exchange import Exchange, TemporaryFault
from pipeline.engines.remote.replies import MalformedReply, Refusal
from schemas import operator, redact
from schemas.errors import EngineError, RecipeError, RowError
from schemas.finish import LENGTH, STOP
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
from schemas.special_tokens import FAMILIES, NOTHING, Specials, families_of, specials_of_families
from schemas.text import did_you_mean

TOP_LOGPROBS = 20  # the maximum that servers return
FIRST = 30.0  # timeout in seconds for the list of models
NEUTRAL = {"repetition_penalty": 1.0, "min_p": 0.0}  # otherwise `vllm serve` uses the model's generation_config.json
ANY = frozenset({"Generate", "Score"})  # requests that any server supports
VLLM = ANY | {"Form", "Likelihood"}
SCORE = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
RATED = {"max_tokens": 1, "temperature": 0, "return_token_ids": True}

SENDS_FILES = True  # see schemas.ports.Engine


class Settings(operator.OperatorSettings):
    base_url: str | None = None
    """the server's address, including /v1"""
    endpoints: tuple[Endpoint, ...] = ()
    """several servers of the same model, instead of base_url: each {base_url, weight, slots, api_key_env}"""
    model: str
    """the model's name on the server"""
    revision: str | None = None
    """the model's version in ids and cache keys; change it when the server's weights change"""
    server: Literal["vllm", "openai"] | None = None
    """whose API extensions the server supports; by default `vllm` if its list of models says so"""
    api_key_env: str | None = None
    """name of the environment variable that holds the key"""
    slots: int = Field(64, ge=1, le=4_096)
    """maximum requests in flight, over all endpoints; fewer while a server is overloaded or slow"""
    timeout: float = Field(600, gt=0, le=86_400)
    """seconds after which an unanswered request is retried"""
    retries: int = Field(5, ge=0, le=100)
    """maximum retries of a request after temporary faults, and of a server that does not answer"""
    media: tuple[MediaKind, ...] = MEDIA_KINDS
    """kinds of media that the model accepts"""
    family: str = "auto"
    """whose special tokens are escaped in texts: a family of schemas/special_tokens.py; `auto`: families that match the model's name, all
    for an unknown name; `none`: nothing is escaped"""

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str | None) -> str | None:
        return url if url is None else endpoints.plain(url)

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in (known := ("auto", "none", *FAMILIES)):
            raise ValueError(f"unknown family '{family}'; {did_you_mean(family, known)}")
        return family

    _named = field_validator("api_key_env")(named)

    @model_validator(mode="after")
    def _one_or_several(self):
        if (self.base_url is None) == (not self.endpoints):
            raise ValueError("set either base_url or endpoints")
        return self


def identity_of(settings: Settings) -> str:
    """`model`, or `model@revision`, without secrets."""
    model = redact.clean(settings.model)
    return f"{model}@{redact.clean(settings.revision)}" if settings.revision else model


def specials_of(settings: Settings) -> Specials:
    """The special tokens that are escaped in texts for the server."""
    if settings.family == "none":
        return NOTHING
    return specials_of_families(
        families_of(settings.model) if settings.family == "auto" else frozenset({settings.family})
    )


def capabilities(settings: Settings) -> tuple[frozenset[str], frozenset[str]]:
    """(names of supported requests, accepted media kinds), as far as the settings tell before a server is contacted."""
    return (VLLM if settings.server == "vllm" else ANY), frozenset(settings.media)


async def connect(settings: Settings, media: MediaStore) -> "OpenAI":
    """A connected engine: at least one of its servers has answered.

    RecipeError if a key's variable is not set; EngineError if no server answers or one rejects its key."""
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
    key = os.environ.get(name, "").strip()  # a line break in it would end the header
    if not key:
        shown_name = name if redact.is_variable_name(name) and "_" in name else "a variable"
        raise RecipeError(f"api_key_env names {shown_name}, which is not set; export it or remove the setting")
    if not (key.isascii() and key.isprintable()):
        raise RecipeError(f"the key in {name} contains a character that is not allowed in a header; export it again")
    return key


class OpenAI:
    """An Engine over HTTP, created by `connect`.

    `seconds` is the time during which at least one request was in flight; `requests`, `prompt_tokens` and `answer_tokens` are totals.
    Servers report the tokens of n answers as one number; without log-probabilities each answer gets a share by its length."""

    sends_files = SENDS_FILES

    def __init__(self, settings: Settings, media: MediaStore, servers: list[Server]):
        self.identity = identity_of(settings)
        self.media = frozenset(settings.media)
        bodies = Bodies(settings.model, media, self.media, self.identity, specials_of(settings))
        self._exchange = Exchange(servers, settings.slots, bodies, settings.model, settings.timeout, settings.retries)
        self._pool = self._exchange.pool
        self.slots = self._pool.slots
        self._exchange.witness = self._witness
        self.witness: Callable[[], Request | None] = lambda: None
        """a request that the model has answered before: tells a failing server from failing requests"""
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
        """Requests every server's list of models; a server without such a list is accepted.

        EngineError if no server answers, or one rejects its key or redirects."""
        started = asyncio.get_running_loop().time()
        found = await asyncio.gather(*map(self._models, self._pool.servers))
        lists = [models for models in found if isinstance(models, bytes)]
        if not lists:
            raise EngineError("; ".join(map(str, found)))
        for server, models in zip(self._pool.servers, found, strict=True):
            if isinstance(models, EngineError):
                server.leave(started, models, self._settings.retries)
        if self._settings.server is None:
            self._vllm = all(map(_is_vllm, lists))

    async def _models(self, server: Server) -> bytes | EngineError:
        try:
            async with asyncio.timeout(FIRST):
                response = await server.get("/models")
        except OSError as error:  # including TimeoutError
            return exchange.unreachable_error(server, error)
        if response.status in (401, 403) or 300 <= response.status < 400:
            raise self._exchange.locked(server, response)
        return response.body

    async def ask(self, request: Request) -> Result:
        """The result, or a Failure if this request cannot be answered. EngineError if no server is left."""
        self.requests += 1
        try:
            if isinstance(request, Generate):
                return await self._generate(request)
            if isinstance(request, Score):
                return await self._exchange.ask(request, SCORE, self._scored)
            if isinstance(request, Likelihood):
                return await self._likelihood(request)
            kind = type(request).__name__
            raise RowError(Reason.ENGINE_REFUSED, f"servers do not support {kind}; use the engine hf")
        except Refusal as error:
            return Refused(error.reason, error.detail)
        except RowError as error:
            return Failure(error.reason, error.detail)

    async def close(self) -> None:
        self._pool.close()

    # requests

    def _witness(self) -> tuple[Chat, dict[str, Any]] | None:
        match request := self.witness():
            case Generate():
                return request, self._options(request)
            case Score():
                return request, SCORE
        return None

    def _options(self, request: Generate) -> dict[str, Any]:
        options: dict[str, Any] = {
            "n": request.n, "temperature": request.temperature, "top_p": request.top_p,
            "max_tokens": request.max_tokens, "seed": request.seed,
        }  # fmt: skip
        if request.top_k or self._vllm:
            options["top_k"] = request.top_k
        if request.stop:
            options["stop"] = request.stop
        if request.logprobs:
            options["logprobs"] = True
        if (form := request.form) is not None:
            if _structured_output.wrapped(form, self._vllm):
                if request.logprobs:
                    detail = "only vLLM returns log-probabilities of a choice or regular expression; set server: vllm if this is one"
                    raise RowError(Reason.ENGINE_REFUSED, detail)
                options["max_tokens"] += _structured_output.AROUND
            options |= _structured_output.options(form, self._vllm)
        return options | NEUTRAL if self._vllm else options

    async def _generate(self, request: Generate) -> Generated:
        """A server may return fewer answers than requested: the missing ones are requested one by one, each with its own seed."""
        first = await self._exchange.ask(request, self._options(request), self._generated)
        if len(first.answers) == request.n:
            return first
        missing = [request._replace(n=1, seed=request.seed + i) for i in range(len(first.answers), request.n)]
        asked = [self._exchange.ask(single, self._options(single), self._generated) for single in missing]
        rest = await asyncio.gather(*asked, return_exceptions=True)
        answers = [*first.answers]
        for each in rest:
            if isinstance(each, BaseException):
                raise each
            answers.append(each.answers[0])
        return Generated(tuple(answers), first.prompt_tokens)

    async def _likelihood(self, request: Likelihood) -> Likely:
        """The prompt's tokens are requested alone first: the answer begins where the two token lists diverge."""
        *before, last = request.messages
        if last.role != "assistant" or not any((part.text or "").strip() for part in last.parts):
            raise RowError(Reason.EMPTY_ANSWER, "there is no answer to compute the likelihood of; remove the row")
        if not self._vllm:
            raise RowError(
                Reason.ENGINE_REFUSED, "only vLLM returns the likelihood of an answer; set server: vllm if this is one"
            )
        alone = await self._exchange.ask(Likelihood(tuple(before)), RATED, lambda _, reply: reply)
        whole = await self._exchange.ask(request, RATED | {"prompt_logprobs": 0}, lambda _, reply: reply)
        try:
            logprobs, length = replies.likelihood(alone, whole)
        except MalformedReply as error:
            raise RowError(Reason.ENGINE_FAILED, f"cannot parse the server's reply: {error}") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise Refusal(
                "the server returns no prompt log-probabilities, so it is not vLLM; set server: openai"
            ) from error
        self.prompt_tokens += length
        return Likely(logprobs, length)

    # replies

    def _generated(self, request: Generate, reply: dict) -> Generated:
        prompt, tokens = replies.counts(reply)
        found = replies.choices(reply, request.n)
        if request.logprobs:
            answers = tuple([replies.with_logprobs(choice, request.max_tokens) for choice in found])
        else:
            answers = replies.answers(found, tokens, request.max_tokens)
        if replies.thought_tokens(reply):
            answers = tuple([a if a.thought else a._replace(thought="") for a in answers])
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
        """The answers, unwrapped; every complete one conforms to the form. TemporaryFault, retried once, if one does not."""
        out = []
        for answer in answers:
            if answer.finish not in (STOP, LENGTH):
                out.append(answer)
                continue
            inside = (
                _structured_output.unwrap(answer.text) if _structured_output.wrapped(form, self._vllm) else answer.text
            )
            if inside is None or (answer.finish == STOP and not _structured_output.fits(form, inside)):
                remedy = (
                    "raise max_tokens" if answer.finish == LENGTH else "use a model or server that enforces the form"
                )
                text = self._exchange.clean(answer.text.encode(errors="replace"))
                detail = f"the answer does not conform to the requested form: {text}; {remedy}"
                raise TemporaryFault(RowError(Reason.ENGINE_FAILED, detail), tries=1)
            out.append(answer._replace(text=inside))
        return tuple(out)


def _is_vllm(models: bytes) -> bool:
    """Whether a list of models comes from a vLLM server."""
    try:
        return any(model["owned_by"] == "vllm" for model in orjson.loads(models)["data"])
    except (ValueError, LookupError, TypeError):
        return False
