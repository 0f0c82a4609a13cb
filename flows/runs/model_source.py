"""Where a run's models and answers come from. This is the only difference between a build, a rejudge and an estimate.

RealEngines         loads models and sends requests              this file
CachedEngines   cached replies only                          flows/commands/rejudge.py
SimulatedEngines       cached replies, others are simulated           flows/commands/dry_run.py"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from flows.planning.registry import engine_of
from flows.runs import shards
from flows.runs.engine_host import EngineHost, LocalEngine
from pipeline.media.portable import portable_id
from pipeline.storage.answer_cache import AnswerCache, Usage
from schemas.ports import Engine
from schemas.records import digest


class RunModel(NamedTuple):
    """A model that a run asks."""

    name: str  # in the recipe's models, or the `as:` of a train step
    round: int
    spec: dict[str, Any]  # its engine and settings


class Answers(Protocol):
    """What connects steps and engines, such as an AnswerCache."""

    @property
    def damaged(self) -> set[bytes]:
        """Keys of stored answers that are damaged."""
        ...

    def engine(self, engine: Any, usage: Usage, unanswered: set[bytes] | None = None, step: str = "") -> Engine:
        """`engine` wrapped for one step; adds its usage to `usage` and the keys of open requests to `unanswered`."""
        ...

    async def settle(self) -> None:
        """Call before rows are published. EngineError if a model refuses all requests."""
        ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


class ModelSource(Protocol):
    """What a run needs to know about its models."""

    def trained(self, folder: Path) -> Path:
        """The folder of a model that a train step of this run leaves in `folder`."""
        ...

    def identity(self, model: RunModel) -> str:
        """The model's name in ids and cache keys. EngineError or NotAsked if it is unknown."""
        ...

    async def connect(self, models: Sequence[RunModel], host: EngineHost) -> dict[str, Any]:
        """name -> the engine, as `Answers.engine` takes it. EngineError if one cannot be loaded."""
        ...

    def answers(self, path: Path, host: EngineHost) -> Answers:
        """The answer cache in the file `path`, for one unit; the caller closes it."""
        ...


class Identities:
    """The identities that engines give to models, each computed once."""

    def __init__(self):
        self._known: dict[str, str] = {}

    def of(self, model: RunModel) -> str:
        """EngineError if the model is missing."""
        key = digest(model.spec)
        if key not in self._known:
            module, settings = engine_of(model.spec, model.name)
            self._known[key] = module.identity_of(settings)
        return self._known[key]


class RealEngines:
    """Loads the models, and notes the capabilities of their engines in the run's folder, for rejudging without them."""

    def __init__(self, folder: Path):
        self._folder, self._identities = folder, Identities()

    def trained(self, folder: Path) -> Path:
        return folder

    def identity(self, model: RunModel) -> str:
        return self._identities.of(model)

    async def connect(self, models: Sequence[RunModel], host: EngineHost) -> dict[str, Engine]:
        found = await host.connect({m.name: (m.spec, self.identity(m)) for m in models})
        known = shards.read_json_or_none(self._folder / "engines.json") or {}
        for model in models:
            engine, spec = found[model.name], digest(model.spec)
            if isinstance(engine, LocalEngine):
                engine.loaded = partial(self._note, spec, engine)
            if not isinstance(engine, LocalEngine) or known.get(spec, {}).get("identity") != engine.identity:
                self._note(spec, engine)
        return found

    def _note(self, spec: str, engine: Engine) -> None:
        known = {
            "identity": engine.identity,
            "can": sorted(engine.can),
            "media": sorted(engine.media),
            "slots": engine.slots,
        }
        note_engines(self._folder, {spec: known})

    def answers(self, path: Path, host: EngineHost) -> AnswerCache:
        cache = AnswerCache(path, host.journal, partial(portable_id, host.media))
        host.in_flight = lambda: len(cache.in_flight)
        return cache


def noted_engines(folder: Path) -> dict[str, dict[str, Any]]:
    """Capabilities of engines that a run has asked, by digest of the model's spec; empty if none. DamageError if the file is damaged."""
    return shards.read_json(folder / "engines.json") or {}


def note_engines(folder: Path, new: Mapping[str, dict], kept: Mapping[str, dict] | None = None) -> dict[str, dict]:
    """Adds `new` capabilities to the notes of a run and returns all. If the file is lost or damaged, it is replaced, starting with `kept`."""
    path = folder / "engines.json"
    known = shards.read_json_or_none(path) or {}
    found = {**(kept or {}), **known, **new}
    if found != known:
        shards.write_json(path, found)
    return found
