"""What units share while they run: an event loop, the media store, and the engines.

A run's own process creates one per unit; its child keeps one for all units, so that a model is loaded once."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from flows.planning.registry import engine_of
from flows.runs import stop
from flows.runs.memory_watchdog import RestartWorker, Watchdog
from pipeline.engines.local.device import fits_in_memory
from pipeline.storage import memory_limit
from pipeline.storage.in_flight import Journal
from pipeline.storage.media_store import open_store
from schemas.ports import Engine
from schemas.records import digest


class EngineHost:
    """Runs units. `loads` counts the models loaded into this process, by name."""

    def __init__(self, cache: Path, journal: Journal | None = None):
        """`cache`: the folder shared by runs; `journal`: notes requests in flight of engines in this process."""
        self.media = open_store(cache / "media")
        self.journal = journal
        self.watchdog = Watchdog()
        self.loads: Counter[str] = Counter()
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
        """The engines of these models, name -> (spec, identity); those not loaded yet are loaded.

        RestartWorker if they do not fit beside loaded engines that are not wanted: closing a vLLM engine would end the others too."""
        keys = {name: digest(spec, identity) for name, (spec, identity) in wanted.items()}
        made = {n: engine_of(wanted[n][0], n) for n, key in keys.items() if key not in self._engines}
        new = {
            keys[n]: share(settings)
            for n, (module, settings) in made.items()
            if (share := getattr(module, "share", None))
        }
        if new and self._shares.keys() - keys.values() and not fits_in_memory([*self._shares.values(), *new.values()]):
            raise RestartWorker(f"{', '.join(made)} does not fit into memory together with the models of earlier steps")
        if new:
            memory_limit.lift_limit()  # sources are being read in another thread
        for name, (module, settings) in made.items():
            if (key := keys[name]) not in self._engines:  # the same model may have been loaded under another name
                engine = self._engines[key] = await module.connect(settings, self.media)
                if key in new:
                    self._loaded(name, engine)
        self._shares |= new
        return {name: self._engines[key] for name, key in keys.items()}

    def _loaded(self, name: str, engine: Engine) -> None:
        self.loads[name] += 1
        self.watchdog.loaded()
        if self.journal:
            self.journal.watch(engine)


def _loop_factory():
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
