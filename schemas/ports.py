"""The two things that cross the wall between the rooms: an Engine that answers requests, a MediaStore that holds bytes.

Requests (schemas/requests.py) name media by hash; only the engine opens bytes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, overload, runtime_checkable

from pydantic import BaseModel

from schemas.requests import (
    Attend,
    Attended,
    Beams,
    Embed,
    Embedded,
    Failure,
    Generate,
    Generated,
    Likelihood,
    Likely,
    Perturb,
    Perturbed,
    Rate,
    Rated,
    Request,
    Result,
    Score,
    Scored,
)  # fmt: skip


class Engine(Protocol):
    """A loaded model. `ask` may be awaited any number of times at once; results come as they finish.

    The overloads of `ask` say which result each request has, for those who ask. One method cannot be checked against them: an engine
    that is handed on as this port returns Any."""

    identity: str  # model name and revision, or digest of the weights: part of ids and cache keys
    can: frozenset[str]  # names of the request types it answers; and Form, where it always holds an answer to one
    media: frozenset[str]  # of MEDIA_KINDS
    slots: int  # requests it works on at a time

    @overload
    async def ask(self, request: Generate | Beams) -> Generated | Failure: ...
    @overload
    async def ask(self, request: Score) -> Scored | Failure: ...
    @overload
    async def ask(self, request: Likelihood) -> Likely | Failure: ...
    @overload
    async def ask(self, request: Rate) -> Rated | Failure: ...
    @overload
    async def ask(self, request: Embed) -> Embedded | Failure: ...
    @overload
    async def ask(self, request: Attend) -> Attended | Failure: ...
    @overload
    async def ask(self, request: Perturb) -> Perturbed | Failure: ...
    @overload
    async def ask(self, request: Request) -> Result: ...

    async def close(self) -> None: ...


@runtime_checkable
class Proven(Protocol):
    """An engine that may ask again what the model has answered before, to tell a server that fails from requests that do."""

    witness: Callable[[], Request | None]


class EngineSettings(Protocol):
    """What flows reads of the settings of any engine."""

    slots: int
    """requests that it works on at a time"""


class EngineModule(Protocol):
    """A file of an engine; `settings` are of its own `Settings`, which are EngineSettings. flows/planning/contracts.py checks it.

    One that runs in process also has `share(settings)`: what it takes of the device's memory, 0 to 1."""

    __name__: str
    Settings: type[BaseModel]
    """its settings, which inherit from schemas.operator.OperatorSettings"""

    def identity_of(self, settings: Any) -> str:
        """The model's identity, without loading it. EngineError where the model is not there."""
        ...

    def able(self, settings: Any) -> tuple[frozenset[str], frozenset[str]]:
        """What it answers (names of requests) and the kinds of media it takes, as far as settings tell before it is loaded."""
        ...

    async def connect(self, settings: Any, media: "MediaStore") -> Engine:
        """The loaded model. EngineError where it cannot be loaded."""
        ...


class MediaStore(Protocol):
    """Bytes by their SHA-256."""

    def add(self, data: bytes) -> str:
        """Keeps `data`, returns its SHA-256 in hex."""
        ...

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError when the store has none of that name, DamageError when they are not those that were stored."""
        ...

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have."""
        ...

    def sync(self) -> None:
        """Makes everything added so far durable."""
        ...
