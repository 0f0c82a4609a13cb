"""A run's replies, read again: what changed in how judges are read shows in a finished run, with no model and no server there.

Rows are functions of the cached answers, and the keys of shards name the versions of steps. So the passes are run again, on engines that
only remember what the real ones said: where a step's version is the old one its shards are there; where its parser is a new one they are
made anew from the same words, and a `build` goes on from them. What such an engine was never asked ends it there: it writes no row
that a model would have written otherwise."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from flows.planning.plan import Unit
from flows.runs import executor, shards
from flows.runs.engine_host import Host
from pipeline.storage.answer_cache import AnswerCache, Remembered
from schemas.errors import NotAsked, OutputError, Waiting
from schemas.records import digest

Said = tuple[str, float | None]  # outcome, value


@dataclass
class Changes:
    """What became of the judgements of steps that ask a model."""

    same: Counter[str] = field(default_factory=Counter)  # by step
    changed: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # step, what it was, what it is
    pairs: tuple[int, int] = (0, 0)  # in the passes that were looked at: before, now
    left: str | None = None  # where a `build` goes on, and why this could not


class Remembering(executor.Run):
    """A run whose engines are not there."""

    memory: AnswerCache

    def known(self, name: str, round: int) -> dict[str, Any]:
        found = (shards.read_json(self.folder / "engines.json") or {}).get(digest(self.spec(name, round)))
        if found is None:
            raise NotAsked(f"{name} was never asked in this run: `pairwright build` asks it")
        return found

    def identity(self, name: str, round: int) -> str:
        return self.known(name, round)["identity"]

    async def connect(self, names: Sequence[str], round: int, host: Host) -> dict[str, Any]:
        return {name: Remembered(self.memory, **self.known(name, round)) for name in names}


def rejudge(run: executor.Run) -> Changes:
    """Reads the replies of a run's judges again, and says what changed.

    Goes through the finished passes up to the first unit that needs a model in earnest (training, an evaluation), people who are not
    done, or a question that was never asked, as when a prompt was changed. OutputError when no pass is finished."""
    units = [replace(u, child=False) for u in run.units]
    # made of the same parts; its own engines stay away
    again = Remembering(
        run.folder, run.cache, run.recipe, run.raw, units, run.dataset_given, run.report, None, run.ingested,
        withheld=run.withheld,
    )  # fmt: skip
    if not any(u.kind == "pass" and (again.place(u) / "done.json").exists() for u in units):
        raise OutputError(f"{run.folder} holds no finished pass: `pairwright build` goes on from here")
    again.memory = AnswerCache(run.cache / "answers.sqlite")
    found = Changes()
    try:
        for unit in units:
            if (left := _again(again, unit, found)) is not None:
                found.left = f"{unit.name}: {left}"
                break
    finally:
        again.memory.close()
    return found


def _again(run: Remembering, unit: Unit, found: Changes) -> str | None:
    """Brings one unit up to date; why it could not."""
    before = shards.read_json(run.place(unit) / "done.json")
    if before is None:
        return "it was never finished"
    try:
        if unit.kind == "dataset" or (unit.kind == "table" and run.bound(unit)[0].models):
            return None if run.finished(unit) else (run.repaired or ["what it was made from has changed"])[-1]
        run.do(unit)
        if unit.kind == "pass":
            _compare(run, unit, before["shards"], found)
    except (NotAsked, Waiting) as reason:
        return str(reason)
    return None


def _compare(run: Remembering, unit: Unit, before: list[str], found: Changes) -> None:
    """Adds what the unit's judgements were and are, shard by shard."""
    steps = {b.step.name for b in run.bound(unit) if b.models}
    now = run.done(unit)["shards"]
    for old, new in zip(before, now, strict=True):
        was, counted = _said(run, unit, old, steps)
        are, counts = _said(run, unit, new, steps)
        found.pairs = found.pairs[0] + counted, found.pairs[1] + counts
        for (step, *slip), said in are.items():
            if (earlier := was.get((step, *slip), said)) == said:
                found.same[step] += 1
            else:
                found.changed[step, *_words(earlier, said)] += 1


def _said(run: Remembering, unit: Unit, shard: str, steps: set[str]) -> tuple[dict[tuple, Said], int]:
    """What the judgements of some steps in a shard say, and how many pairs are in it."""
    folder = run.place(unit) / shard
    rows = shards.rows(folder / "judgements.arrow", "judgements")
    said = {(s.step, s.items, s.axis, s.order): (s.outcome, s.value) for s in rows if s.step in steps}
    return said, shards.record_of(folder)["counts"]["pairs"]


def _words(was: Said, now: Said) -> tuple[str, str]:
    return (was[0], now[0]) if was[0] != now[0] else (f"{was[0]} {was[1]:g}", f"{now[0]} {now[1]:g}")


def show(found: Changes, console: Console) -> None:
    """What changed, a line a change."""
    steps = dict.fromkeys([*found.same, *(step for step, *_ in found.changed)])
    for step in steps:
        changed = {(was, now): n for (name, was, now), n in found.changed.items() if name == step}
        console.print(f"  {escape(step)}: {found.same[step]} judgements as they were, {sum(changed.values())} others")
        for (was, now), n in sorted(changed.items(), key=lambda item: -item[1]):
            console.print(f"    {n} {escape(was)} -> {escape(now)}")
    if found.pairs[0] != found.pairs[1]:
        console.print(f"  pairs: {found.pairs[0]} -> {found.pairs[1]}")
    if found.left:
        console.print(f"  [yellow]{escape(found.left)}[/yellow]", soft_wrap=True)
    console.print(
        "the same `pairwright build` goes on from here" if found.changed or found.left else "nothing has changed"
    )
