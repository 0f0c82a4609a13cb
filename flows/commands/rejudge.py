"""`pairwright rejudge`: re-parses stored judge replies with the current parsers, without model or server.

Rows are functions of the cached answers, and shard keys include the versions of steps. So the passes run again on engines that only
return cached answers: shards of steps with an unchanged version are kept; where a parser has a new version, shards are made again from
the same replies, and a `build` continues from them. A request that is not in the cache ends the pass: no row is written that a model
would have written differently."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.planning.plan import Unit
from flows.runs import executor, shards
from flows.runs.engine_host import EngineHost
from flows.runs.model_source import RunModel, noted_engines
from pipeline.media.portable import known_id
from pipeline.storage.answer_cache import AnswerCache, CacheOnlyEngine
from schemas.errors import NotAsked, OutputError, Waiting
from schemas.records import digest

Verdict = tuple[str, float | None]  # outcome, value


@dataclass
class Changes:
    """How the judgements of steps that ask a model have changed."""

    same: Counter[str] = field(default_factory=Counter)  # by step
    changed: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # step, before, now
    pairs: tuple[int, int] = (0, 0)  # in the passes that were compared: before, now
    left: str | None = None  # the unit from which a `build` must continue, and why


class CachedEngines:
    """The ModelSource of a run without engines: replies come from the cache, identities from the notes of the run."""

    def __init__(self, folder: Path, memory: AnswerCache):
        """`folder` of the run; `memory`: its answer cache, open as long as the engines are used."""
        self._folder, self._memory = folder, memory

    def trained(self, folder: Path) -> Path:
        return folder

    def identity(self, model: RunModel) -> str:
        """NotAsked if the run never asked the model."""
        return self._known(model)["identity"]

    async def connect(self, models: Sequence[RunModel], host: EngineHost) -> dict[str, CacheOnlyEngine]:
        return {model.name: CacheOnlyEngine(self._memory, **self._known(model)) for model in models}

    def answers(self, path: Path, host: EngineHost) -> AnswerCache:
        return AnswerCache(path, host.journal, partial(known_id, host.media))

    def _known(self, model: RunModel) -> dict[str, Any]:
        found = noted_engines(self._folder).get(digest(model.spec))
        if found is None:
            raise NotAsked(f"{model.name} was never asked in this run; run `pairwright build`, which asks it")
        return found


def rejudge(run: executor.Run) -> Changes:
    """Re-parses the replies of a run's judges and returns what changed.

    Stops at the first unit that needs a real model (training, an evaluation), people who are not done, or a request that is not in the
    cache, as after a change of a prompt. OutputError if no pass is finished."""
    units = [replace(u, child=False) for u in run.units]
    if not any(u.kind == "pass" and run.is_done(u) for u in units):
        raise OutputError(f"{run.folder} contains no finished pass; run `pairwright build` first")
    memory = AnswerCache(run.cache / "answers.sqlite")
    # a copy of the run with other engines
    again = executor.Run(
        run.folder, run.cache, run.recipe, run.raw, units, CachedEngines(run.folder, memory), run.dataset_given, run.report,
        ingested=run.ingested, withheld=run.withheld,
    )  # fmt: skip
    found = Changes()
    try:
        for unit in units:
            if (left := _again(again, unit, found)) is not None:
                found.left = f"{unit.name}: {left}"
                break
    finally:
        memory.close()
    return found


def _again(run: executor.Run, unit: Unit, found: Changes) -> str | None:
    """Brings one unit up to date; returns why if it could not."""
    before = shards.read_json(run.unit_folder(unit) / "done.json")
    if before is None:
        return "it was not finished"
    try:
        if unit.kind == "dataset" or (unit.kind == "table" and run.bound(unit)[0].models):
            return None if run.finished(unit) else (run.repaired or ["its inputs have changed"])[-1]
        run.complete(unit)
        if unit.kind == "pass":
            _compare(run, unit, before["shards"], found)
    except (NotAsked, Waiting) as reason:
        return str(reason)
    return None


def _compare(run: executor.Run, unit: Unit, before: list[str], found: Changes) -> None:
    """Adds the unit's judgements before and now, shard by shard."""
    steps = {b.step.name for b in run.bound(unit) if b.models}
    now = run.done(unit)["shards"]
    for old, new in zip(before, now, strict=True):
        was, pairs_before = _verdicts(run, unit, old, steps)
        are, pairs_now = _verdicts(run, unit, new, steps)
        found.pairs = found.pairs[0] + pairs_before, found.pairs[1] + pairs_now
        for (step, *judgement), verdict in are.items():
            if (earlier := was.get((step, *judgement), verdict)) == verdict:
                found.same[step] += 1
            else:
                found.changed[step, *_words(earlier, verdict)] += 1


def _verdicts(run: executor.Run, unit: Unit, shard: str, steps: set[str]) -> tuple[dict[tuple, Verdict], int]:
    """The verdicts of some steps in a shard, and the number of its pairs."""
    folder = run.unit_folder(unit) / shard
    rows = shards.rows(folder / "judgements.arrow", "judgements")
    verdicts = {(j.step, j.items, j.axis, j.order): (j.outcome, j.value) for j in rows if j.step in steps}
    return verdicts, shards.record_of(folder)["counts"]["pairs"]


def _words(was: Verdict, now: Verdict) -> tuple[str, str]:
    return (was[0], now[0]) if was[0] != now[0] else (f"{was[0]} {was[1]:g}", f"{now[0]} {now[1]:g}")


def show(found: Changes, console: Console) -> None:
    """Prints the changes, a line per change."""
    steps = dict.fromkeys([*found.same, *(step for step, *_ in found.changed)])
    for step in steps:
        changed = {(was, now): n for (name, was, now), n in found.changed.items() if name == step}
        console.print(f"  {escape(step)}: {found.same[step]} judgements unchanged, {sum(changed.values())} changed")
        for (was, now), n in sorted(changed.items(), key=lambda item: -item[1]):
            console.print(f"    {n} {escape(was)} -> {escape(now)}")
    if found.pairs[0] != found.pairs[1]:
        console.print(f"  pairs: {found.pairs[0]} -> {found.pairs[1]}")
    if found.left:
        console.print(f"  [yellow]{escape(found.left)}[/yellow]", soft_wrap=True)
    console.print(
        "the same `pairwright build` continues from here" if found.changed or found.left else "nothing has changed"
    )
