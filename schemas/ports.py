"""The ports between the rooms: an Engine answers requests, a MediaStore holds bytes.

Requests (schemas/requests.py) refer to media by id; only the engine opens their bytes."""

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
    """A loaded model. Any number of calls of `ask` may be in flight; results arrive as they finish.

    An engine that sends media files elsewhere has `sends_files = True`, its module SENDS_FILES = True, and sends their portable forms (pipeline/media/portable.py), which are
    then part of the keys of its cached answers.

    The overloads of `ask` give callers the result type of each request. A single implementation cannot be checked against them: an engine
    that wraps another one returns Any."""

    identity: str  # model name and revision, or digest of the weights: part of ids and cache keys
    can: frozenset[str]  # names of supported request types; also `Form` if structured output is always enforced
    media: frozenset[str]  # accepted kinds, of MEDIA_KINDS
    slots: int  # requests processed at a time

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
class Loadable(Protocol):
    """An engine whose model is loaded when it is first needed. `load` before a request keeps the time it takes out of the request's own."""

    async def load(self) -> None: ...


@runtime_checkable
class Proven(Protocol):
    """An engine that may repeat a request that the model has answered before, to tell a failing server from failing requests."""

    witness: Callable[[], Request | None]


class EngineSettings(Protocol):
    """The settings that every engine has, as read by flows."""

    slots: int
    """requests processed at a time"""


class EngineModule(Protocol):
    """The module of an engine; `settings` are of its own `Settings`, which are EngineSettings. Checked by flows/planning/contracts.py."""

    __name__: str
    Settings: type[BaseModel]
    """its settings, a subclass of schemas.operator.OperatorSettings"""

    def identity_of(self, settings: Any) -> str:
        """The model's identity, without loading it. EngineError if the model does not exist."""
        ...

    def capabilities(self, settings: Any) -> tuple[frozenset[str], frozenset[str]]:
        """(names of supported requests, accepted media kinds), as far as the settings tell before the model is loaded."""
        ...

    async def connect(self, settings: Any, media: "MediaStore") -> Engine:
        """The loaded model. EngineError if it cannot be loaded."""
        ...


@runtime_checkable
class LocalEngineModule(EngineModule, Protocol):
    """The module of an engine that runs in this process, whose model is loaded by the first request."""

    def share(self, settings: Any) -> float:
        """The share of the device's memory that it needs, 0 to 1."""
        ...

    def features(self, settings: Any) -> tuple[frozenset[str], frozenset[str], int]:
        """(names of supported requests, accepted media kinds, slots) of the engine that `connect` will return; weights are not read."""
        ...

    async def connect(self, settings: Any, media: "MediaStore", longest: int = 0) -> Engine:
        """Also told the maximum tokens of an answer in the run."""
        ...


class MediaStore(Protocol):
    """Bytes by their SHA-256."""

    def add(self, data: bytes) -> str:
        """Stores `data` and returns its SHA-256 in hex."""
        ...

    def read(self, sha: str) -> bytes:
        """The bytes. KeyError if the store does not have it, DamageError if the stored bytes are damaged."""
        ...

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names` that the store does not have."""
        ...

    def form(self, sha: str, name: str) -> str | None:
        """The id of an item's form that was kept under `name`; None if there is none."""
        ...

    def keep_form(self, sha: str, name: str, made: str) -> None:
        """Keeps `made`, the id of an item that was added, as a form of the item `sha`; durable at the next `sync`."""
        ...

    def sync(self) -> None:
        """Makes everything added so far durable."""
        ...
