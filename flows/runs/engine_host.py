"""What units share while they run: an event loop, the media store, and the engines.

A run's own process creates one per unit; its child keeps one for all units, so that a model is loaded once, and only when a request is not
in the answer cache."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from flows.planning.registry import engine_of
from flows.runs import stop
from flows.runs.memory_watchdog import RestartWorker, Watchdog
from pipeline.engines.local.device import fits_in_memory
from pipeline.storage import memory_limit
from pipeline.storage.in_flight import Journal
from pipeline.storage.media_store import open_store
from schemas.ports import Engine, LocalEngineModule
from schemas.records import digest
from schemas.requests import Request


class EngineHost:
    """Runs units. `loads` counts the models loaded into this process, by name."""

    def __init__(self, cache: Path, journal: Journal | None = None, longest: int = 0):
        """`cache`: the folder shared by runs; `journal`: notes requests in flight of engines in this process; `longest`: maximum tokens of an
        answer in the run."""
        self.media = open_store(cache / "media")
        self.journal, self._longest = journal, longest
        self.watchdog = Watchdog()
        self.loads: Counter[str] = Counter()
        self.loading = ""  # the model that is being loaded now
        self.in_flight: Callable[[], int] = lambda: 0
        """number of requests of the unit that have no answer yet"""
        self._engines: dict[str, Engine] = {}
        self._shares: dict[str, float] = {}  # share of the device's memory of each engine in this process
        self._runner = asyncio.Runner(loop_factory=_loop_factory())

    def __enter__(self) -> "EngineHost":
        return self

    def __exit__(self, *_) -> None:
        """Closes the engines, the loop and the media store."""
        for engine in self._engines.values():
            self.run(engine.close())
        self._runner.close()
        self.media.close()

    def run(self, work: Coroutine) -> Any:
        """Runs a coroutine on the host's event loop and returns its result."""
        return stop.run(self._runner, work)

    async def connect(self, wanted: dict[str, tuple[dict[str, Any], str]]) -> dict[str, Engine]:
        """The engines of these models, name -> (spec, identity). Models in this process are loaded by their first request.

        RestartWorker if they do not fit beside loaded engines that are not wanted: closing a vLLM engine would end the others too."""
        keys = {name: digest(spec, identity) for name, (spec, identity) in wanted.items()}
        made = {n: engine_of(wanted[n][0], n) for n, key in keys.items() if key not in self._shares}
        new = {
            keys[n]: module.share(settings)
            for n, (module, settings) in made.items()
            if isinstance(module, LocalEngineModule)
        }
        if new and self._shares.keys() - keys.values() and not fits_in_memory([*self._shares.values(), *new.values()]):
            names = ", ".join(name for name in made if keys[name] in new)
            raise RestartWorker(f"{names} does not fit into memory together with the models of earlier steps")
        for name, (module, settings) in made.items():
            if (key := keys[name]) in self._engines:  # the same model may have been connected under another name
                continue
            if not isinstance(module, LocalEngineModule):
                self._engines[key] = await module.connect(settings, self.media)
                continue
            start = partial(self._load, name, module, settings, key)
            engine = self._engines[key] = LocalEngine(wanted[name][1], module.features(settings), start)
            if self.journal:
                self.journal.watch(engine)
        return {name: self._engines[key] for name, key in keys.items()}

    async def _load(self, name: str, module: LocalEngineModule, settings: Any, key: str) -> Engine:
        memory_limit.lift_limit()  # sources are being read in another thread
        self.loading = name
        try:
            engine = await module.connect(settings, self.media, self._longest)
        finally:
            self.loading = ""
        self.loads[name] += 1
        self._shares[key] = module.share(settings)
        self.watchdog.loaded()
        return engine

    def waiting(self) -> str:
        """What the unit waits for, in a few words; empty if for no model. May be called from another thread."""
        if self.loading:
            return f"loading the model {self.loading}"
        return f"{count:,} requests in flight" if (count := self.in_flight()) else ""


class LocalEngine:
    """An Engine in this process. Its model is loaded by `load`, before the first request; until then it is known by its settings alone."""

    def __init__(
        self,
        identity: str,
        features: tuple[frozenset[str], frozenset[str], int],
        start: Callable[[], Awaitable[Engine]],
    ):
        """`features`: as an engine module's function of this name returns them; `start` loads the model."""
        self.identity = identity
        self.can, self.media, self.slots = features
        self.loaded: Callable[[], object] = lambda: None
        """called after the model was loaded"""
        self._start = start
        self._model: Engine | None = None
        self._error: Exception | None = None
        self._door = asyncio.Lock()

    async def load(self) -> None:
        """Loads the model, once. EngineError if that fails, also of every later call."""
        async with self._door:
            if self._error:
                raise self._error
            if self._model is None:
                try:
                    self._model = await self._start()
                except Exception as error:
                    self._error = error
                    raise
                self.can, self.media, self.slots = self._model.can, self._model.media, self._model.slots
                self.loaded()

    async def ask(self, request: Request) -> Any:
        await self.load()
        assert self._model is not None
        return await self._model.ask(request)

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()


def _loop_factory():
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
