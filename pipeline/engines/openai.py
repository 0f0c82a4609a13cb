"""Any server that speaks OpenAI's chat completions: a hosted model, or `vllm serve` on another machine.

Bodies are joined from bytes that are made once: a media's part is encoded once and kept while it is asked about.
One request that fails is a Failure; a server that is gone, or that does not know us or the model, is an EngineError."""

import asyncio
import math
import os
import random
import time
from typing import Literal

import orjson
import pybase64
from cachetools import LRUCache
from pydantic import Field, field_validator
from yarl import URL

from pipeline.engines.http import Http, Response, Unreachable
from pipeline.engines.shown import merged, read, shown
from pipeline.media.decode import as_wav
from pipeline.media.sniff import sniff
from schemas import operator
from schemas.chat import escape
from schemas.errors import EngineError, RecipeError, RowError
from schemas.ports import Answer, Failure, Generated, MediaStore, Request, Result, Score, Scored
from schemas.records import MEDIA_KINDS, Message, Part, Reason

PARTS_BYTES = 64 << 20  # encoded media kept for the next request that shows them
TOP_LOGPROBS = 20  # the most that servers give
LONGEST_WAIT = 60.0  # seconds before a retry
PASSING = {408, 409, 425, 429}  # and every 5xx: another try may succeed
TOO_LONG = ("context length", "context_length", "model length", "too long")  # in what a server says
LOCKED = {401, 402, 403, 404}  # no request will succeed


class Settings(operator.Settings):
    base_url: str
    """where the server answers, up to and with /v1"""
    model: str
    """the model's name on that server"""
    revision: str | None = None
    """what to call the model's version in ids; say another when the server changes its weights"""
    api_key_env: str | None = None
    """name of the environment variable that holds the key"""
    slots: int = Field(64, ge=1)
    """requests in flight"""
    timeout: float = Field(600, gt=0)
    """seconds until an unanswered request is asked again"""
    retries: int = Field(5, ge=0)
    """how often a request is asked again after a passing fault"""
    media: tuple[Literal[MEDIA_KINDS], ...] = MEDIA_KINDS
    """kinds of media that the model takes"""

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError("base_url must look like http://host:port/v1")
        if parsed.user or parsed.password or parsed.query:
            raise ValueError("base_url must hold no credentials: name an environment variable in api_key_env")
        return url.rstrip("/")


def identity_of(settings: Settings) -> str:
    return f"{settings.model}@{settings.revision}" if settings.revision else settings.model


async def connect(settings: Settings, media: MediaStore) -> "OpenAI":
    """An engine whose server has answered once.

    RecipeError when the key's variable is not set; EngineError when no server answers or it does not take the key."""
    key = None
    if settings.api_key_env:
        key = os.environ.get(settings.api_key_env, "").strip()  # a line's end in it would end the header
        if not key:
            raise RecipeError(f"api_key_env names {settings.api_key_env}, which is not set: export it or leave it out")
    engine = OpenAI(settings, media, key)
    try:
        await engine.check()
    except BaseException:
        await engine.close()
        raise
    return engine


class _Fault(Exception):
    """A fault that may pass: `end` is raised when `tries` more did not help, `wait` is what the server asked for."""

    def __init__(self, end: RowError | EngineError, wait: float | None = None, tries: float = math.inf):
        self.end, self.wait, self.tries = end, wait, tries


class OpenAI:
    """An Engine over HTTP; `connect` makes it.

    `seconds` is the time during which at least one request was in flight, `requests`, `prompt_tokens` and
    `answer_tokens` count what was asked and answered. Servers count the tokens of n answers together; an answer's own
    count is its share by length."""

    can = frozenset({"Generate", "Score"})

    def __init__(self, settings: Settings, media: MediaStore, key: str | None):
        self.identity = identity_of(settings)
        self.media = frozenset(settings.media)
        self.slots = settings.slots
        self.seconds = 0.0
        self.requests = self.prompt_tokens = self.answer_tokens = 0
        self._settings = settings
        self._store = media
        self._key = key
        self._head = b'{"model":' + orjson.dumps(settings.model) + b',"messages":['
        self._parts = LRUCache(PARTS_BYTES, getsizeof=lambda pieces: sum(map(len, pieces)))
        self._window = asyncio.Semaphore(settings.slots)
        self._in_flight = 0
        self._since = 0.0
        url = URL(settings.base_url)
        self._path = url.raw_path.rstrip("/")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = Http(url, headers, settings.timeout)

    async def check(self) -> None:
        """Asks for the list of models; a server that has none is taken at its word."""
        try:
            response = await self._http.get(self._path + "/models")
        except OSError as error:  # TimeoutError among them
            raise self._gone(error) from error
        if response.status in (401, 403):
            raise self._locked(response.status, response.body)

    async def ask(self, request: Request) -> Result:
        """The answers, or a Failure when this request cannot be answered. EngineError when no request could be."""
        async with self._window:
            self.requests += 1
            if not self._in_flight:
                self._since = time.perf_counter()
            self._in_flight += 1
            try:
                return await self._answer(request, self._body(request))
            except RowError as error:
                return Failure(error.reason, error.detail)
            finally:
                self._in_flight -= 1
                if not self._in_flight:
                    self.seconds += time.perf_counter() - self._since

    async def close(self) -> None:
        await self._http.close()

    # the body of a request

    def _body(self, request: Request) -> list[bytes]:
        """The body in pieces, which need not be joined: a media's part is large."""
        messages = request.messages
        shown(messages, self.media, self.identity)
        if isinstance(request, Score):
            options = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": TOP_LOGPROBS}
        else:
            options = {"n": request.n, "temperature": request.temperature, "top_p": request.top_p,
                       "max_tokens": request.max_tokens, "seed": request.seed}  # fmt: skip
        if messages[-1].role == "assistant":  # vLLM's words for: go on where this turn ends
            options |= {"add_generation_prompt": False, "continue_final_message": True}
        pieces = [self._head]
        for message in messages:
            pieces += (b'{"role":"', message.role.encode(), b'","content":', *self._content(message), b"},")
        pieces[-1] = b"}],"
        pieces.append(orjson.dumps(options)[1:])
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

    async def _answer(self, request: Request, body: list[bytes]) -> Result:
        tries = 0
        while True:
            try:
                return await self._once(request, body)
            except _Fault as fault:
                if tries >= min(fault.tries, self._settings.retries):
                    raise fault.end from fault.__cause__
                await asyncio.sleep(_wait(tries) if fault.wait is None else fault.wait)
                tries += 1

    async def _once(self, request: Request, body: list[bytes]) -> Result:
        try:
            response = await self._http.post(self._path + "/chat/completions", body)
        except TimeoutError as error:
            detail = f"the server gave no answer within {self._settings.timeout:g} seconds; raise timeout"
            raise _Fault(RowError(Reason.ENGINE_FAILED, detail)) from error
        except Unreachable as error:
            raise _Fault(self._gone(error)) from error
        except OSError as error:
            detail = f"the connection to the server broke ({type(error).__name__})"
            raise _Fault(RowError(Reason.ENGINE_FAILED, detail)) from error
        if response.status != 200:
            raise self._refusal(response)
        try:
            return self._read(request, orjson.loads(response.body))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            detail = f"the server's answer is unreadable: {self._clean(response.body)}"
            raise _Fault(RowError(Reason.ENGINE_FAILED, detail), tries=1) from error

    def _refusal(self, response: Response) -> Exception:
        status, said = response.status, self._clean(response.body)
        if status in LOCKED:
            return self._locked(status, response.body)
        if status in PASSING or status >= 500:
            failed = RowError(Reason.ENGINE_FAILED, f"the server answered {status} again and again: {said}")
            return _Fault(failed, _retry_after(response.headers))
        return RowError(_reason(status, said), f"the server refused the request ({status}): {said}")

    def _locked(self, status: int, reply: bytes) -> EngineError:
        key = self._settings.api_key_env
        mend = f"check the key in {key}" if key else "name a key in api_key_env"
        if status == 404:
            mend = f"check base_url and the model's name {self._settings.model}"
        return EngineError(f"{self._settings.base_url} answered {status}: {self._clean(reply)}; {mend}")

    def _gone(self, error: Exception) -> EngineError:
        url = self._settings.base_url
        return EngineError(f"no server answers at {url} ({type(error).__name__}): start it or mend base_url")

    def _clean(self, reply: bytes) -> str:
        """The first line of what the server said, without our key, which some servers repeat."""
        said = _said(reply).strip() or "nothing"
        line = said.splitlines()[0][:300]
        return line.replace(self._key, "***") if self._key else line

    # the answer

    def _read(self, request: Request, reply: dict) -> Result:
        usage = reply.get("usage") or {}
        prompt, tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        choices = sorted(reply["choices"], key=lambda choice: choice["index"])
        if isinstance(request, Score):
            result = Scored(_logprobs(choices[0], request.choices), prompt)
        else:
            result = Generated(_answers(choices, request.n, tokens), prompt)
        self.prompt_tokens += prompt
        self.answer_tokens += tokens
        return result


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


def _answers(choices: list[dict], n: int, tokens: int) -> tuple[Answer, ...]:
    if len(choices) != n:
        raise RowError(Reason.ENGINE_FAILED, f"the server gave {len(choices)} answers of {n}; ask it for one at a time")
    texts = [choice["message"]["content"] or "" for choice in choices]
    share = tokens / (sum(map(len, texts)) or 1)
    counts = [round(share * len(text)) for text in texts]
    counts[-1] += tokens - sum(counts)
    return tuple(Answer(t, c, choice["finish_reason"]) for t, c, choice in zip(texts, counts, choices, strict=True))


def _logprobs(choice: dict, wanted: tuple[str, ...]) -> tuple[float | None, ...]:
    """The log-probability of each wanted first token, rounded as batches differ. A token serves one choice: the one
    that is spelled like it, or else the one that is it without the space before it."""
    said = choice.get("logprobs")
    if not said or not said.get("content"):
        raise RowError(Reason.ENGINE_REFUSED, "the server gives no log-probabilities; use another model for this step")
    found: dict[str, float] = {}
    for token in said["content"][0]["top_logprobs"]:
        text = token["token"]
        name = text if text in wanted else text.lstrip()
        if name in wanted and name not in found:
            found[name] = round(token["logprob"], 4)
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
    """Seconds that the server asks to wait; None where it does not say so in seconds."""
    try:
        return min(max(float(headers["retry-after"]), 0.0), LONGEST_WAIT)
    except (KeyError, ValueError):
        return None


def _wait(attempt: int) -> float:
    """Seconds before the next try: doubling from a half, less up to a half by chance so that not all come at once."""
    return min(0.5 * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
