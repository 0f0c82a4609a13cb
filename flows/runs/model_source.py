"""Where a run's models come from, and who answers what they are asked: in nothing else do a build, a re-judging and an estimate differ.

RealEngines         loads and asks the models                       here
RememberedAnswers   asks nobody: what the models said is looked up  flows/commands/rejudge.py
MadeUpAnswers       asks nobody: what was never said is made up     flows/commands/dry_run.py"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from flows.planning.registry import engine_of
from flows.runs import shards
from flows.runs.engine_host import Host
from pipeline.storage.answer_cache import AnswerCache, Usage
from schemas.ports import Engine
from schemas.records import digest


class Wanted(NamedTuple):
    """A model that a run asks something."""

    name: str  # of the recipe's models, or that of what a train step leaves
    round: int
    spec: dict[str, Any]  # its engine and settings


class Answers(Protocol):
    """What stands between steps and engines, as an AnswerCache does."""

    @property
    def damaged(self) -> set[bytes]:
        """Keys of answers that are kept but damaged."""
        ...

    def engine(self, engine: Any, usage: Usage, unanswered: set[bytes] | None = None, step: str = "") -> Engine:
        """`engine` for one step; what it is asked is added to `usage`, the keys of questions that stay open to `unanswered`."""
        ...

    async def settle(self) -> None:
        """To be called before rows are published. EngineError when a model refuses all that it is asked."""
        ...

    def commit(self) -> None: ...

    def close(self) -> None: ...


class ModelSource(Protocol):
    """What a run needs to know of its models. A run is handed one, and is the same whichever it is."""

    def trained(self, folder: Path) -> Path:
        """Where the model lies that a train step of this run leaves in `folder`."""
        ...

    def identity(self, model: Wanted) -> str:
        """What ids and cache keys call the model. EngineError or NotAsked where it is not known."""
        ...

    async def connect(self, models: Sequence[Wanted], host: Host) -> dict[str, Any]:
        """name -> what `Answers.engine` takes for its engine."""
        ...

    def answers(self, path: Path, host: Host) -> Answers:
        """The answers kept in the file `path`, for one unit; whoever asks for them closes them."""
        ...


class Identities:
    """The identities that engines give to models, each worked out once."""

    def __init__(self):
        self._known: dict[str, str] = {}

    def of(self, model: Wanted) -> str:
        """EngineError where the model is not there."""
        key = digest(model.spec)
        if key not in self._known:
            module, settings = engine_of(model.spec, model.name)
            self._known[key] = module.identity_of(settings)
        return self._known[key]


class RealEngines:
    """Loads the models, and notes in the run's folder what their engines can, for whoever looks at their answers without them."""

    def __init__(self, folder: Path):
        self._folder, self._identities = folder, Identities()

    def trained(self, folder: Path) -> Path:
        return folder

    def identity(self, model: Wanted) -> str:
        return self._identities.of(model)

    async def connect(self, models: Sequence[Wanted], host: Host) -> dict[str, Engine]:
        found = await host.connect({m.name: (m.spec, self.identity(m)) for m in models})
        new = {digest(m.spec): found[m.name] for m in models}
        note_engines(self._folder, {
            spec: {"identity": e.identity, "can": sorted(e.can), "media": sorted(e.media), "slots": e.slots}
            for spec, e in new.items()
        })  # fmt: skip
        return found

    def answers(self, path: Path, host: Host) -> AnswerCache:
        return AnswerCache(path, host.journal)


def noted_engines(folder: Path) -> dict[str, dict[str, Any]]:
    """What engines can that a run has asked, by the digest of the model's spec; none in a run that asked nothing yet. DamageError."""
    return shards.read_json(folder / "engines.json") or {}


def note_engines(folder: Path, new: Mapping[str, dict], kept: Mapping[str, dict] | None = None) -> dict[str, dict]:
    """What is noted of a run's engines, with what is new; in place of a file that is lost or damaged comes another with what was `kept`."""
    path = folder / "engines.json"
    known = shards.read_json_or_none(path) or {}
    found = {**(kept or {}), **known, **new}
    if found != known:
        shards.write_json(path, found)
    return found
