"""Where units are done: one event loop, the media, and the engines, which stay from unit to unit.

A run's own process makes one for each unit; its child keeps one for all that it does, so that a model is loaded once."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from flows.planning.registry import engine_of
from flows.runs import stop
from flows.runs.memory_watchdog import RestartWorker, Watchdog
from pipeline.engines.local.device import fit
from pipeline.storage import memory_limit
from pipeline.storage.in_flight import Journal
from pipeline.storage.media_store import open_store
from schemas.ports import Engine
from schemas.records import digest


class Host:
    """`loads` counts the models that were loaded into this process, by their names in the recipe."""

    def __init__(self, cache: Path, journal: Journal | None = None):
        """`cache`: the folder that runs share; `journal`: notes what engines in this process are asked."""
        self.media = open_store(cache / "media")
        self.journal = journal
        self.watchdog = Watchdog()
        self.loads: Counter[str] = Counter()
        self._engines: dict[str, Engine] = {}
        self._shares: dict[str, float] = {}  # of the device's memory, of those in this process
        self._runner = asyncio.Runner(loop_factory=_loop_factory())

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_) -> None:
        """Closes the engines, the loop and the media store."""
        for engine in self._engines.values():
            self.run(engine.close())
        self._runner.close()
        self.media.close()

    def run(self, work: Coroutine) -> Any:
        return stop.run(self._runner, work)

    async def connect(self, wanted: dict[str, tuple[dict[str, Any], str]]) -> dict[str, Engine]:
        """The engines of these models, name -> (spec, identity): those that are here and, of the rest, new ones.

        RestartWorker where they do not fit beside what is here and not wanted: an engine of vLLM that is closed ends those beside it."""
        keys = {name: digest(spec, identity) for name, (spec, identity) in wanted.items()}
        made = {n: engine_of(wanted[n][0], n) for n, key in keys.items() if key not in self._engines}
        new = {
            keys[n]: share(settings)
            for n, (module, settings) in made.items()
            if (share := getattr(module, "share", None))
        }
        if new and self._shares.keys() - keys.values() and not fit([*self._shares.values(), *new.values()]):
            raise RestartWorker(f"{', '.join(made)} does not fit into memory beside the models of steps before")
        if new:
            memory_limit.release()  # sources are read on another thread meanwhile
        for name, (module, settings) in made.items():
            if (key := keys[name]) not in self._engines:  # another name of the same model may have brought it
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
