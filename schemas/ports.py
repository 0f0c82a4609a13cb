"""The two things that cross the wall between the rooms: an Engine that answers requests, a MediaStore that holds bytes.

Requests name media by hash; only the engine opens bytes."""

from typing import NamedTuple, Protocol

from schemas.records import Message, Reason


class Generate(NamedTuple):
    """Ask for n answers."""

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int = 0


class Score(NamedTuple):
    """Ask for the log-probability of each choice's first token as the first token of the answer."""

    messages: tuple[Message, ...]
    choices: tuple[str, ...]


class Answer(NamedTuple):
    text: str
    tokens: int
    finish: str  # stop, length
    logprob: float | None = None  # sum over the tokens, natural log; None where the engine does not say


class Generated(NamedTuple):
    answers: tuple[Answer, ...]  # n of them, in order of index
    prompt_tokens: int


class Scored(NamedTuple):
    logprobs: tuple[float | None, ...]  # one a choice, natural log; None: not among the tokens the engine reports
    prompt_tokens: int


class Failure(NamedTuple):
    """This one request got no answer; the engine goes on."""

    reason: Reason
    detail: str


Request = Generate | Score
Result = Generated | Scored | Failure


class Engine(Protocol):
    """A loaded model. `ask` may be awaited any number of times at once; results come as they finish."""

    identity: str  # model name and revision, or digest of the weights: part of ids and cache keys
    can: frozenset[str]  # names of request types: Generate, Score
    media: frozenset[str]  # of MEDIA_KINDS
    slots: int  # requests it works on at a time

    async def ask(self, request: Request) -> Result: ...

    async def close(self) -> None: ...


class MediaStore(Protocol):
    """Bytes by their SHA-256."""

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex."""
        ...

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name."""
        ...

    def sync(self) -> None:
        """Makes everything added so far durable."""
        ...
