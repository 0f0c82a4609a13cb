"""`pairwright verify`: checks that every file of a run or a dataset, and the media and answers it uses, are stored intact."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.planning.plan import Unit
from flows.reports import judge_notes
from flows.runs import executor, shards
from flows.runs.folder import check_path
from pipeline.dataset import manifest
from pipeline.storage.answer_cache import AnswerCache
from pipeline.storage.media_store import open_store
from schemas.errors import DamageError, OutputError, StoreError

NAMED = 20  # damages listed per area
ASKED_AGAIN = "the next build requests them again"
AWAY = "move it away together with its -wal and -shm files; its answers are then requested again"


@dataclass
class Area:
    """One part of what is checked: counts of what was read, and its damages."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    damages: list[tuple[str, str]] = field(default_factory=list)
    """(what is damaged, remedy)"""

    def add(self, **counts: int) -> None:
        """Adds to the counts."""
        for name, n in counts.items():
            self.counts[name] = self.counts.get(name, 0) + n

    def damaged(self, what: str, remedy: str = shards.REMEDY) -> None:
        """Adds a damage."""
        self.damages.append((what, remedy))


def verify(folder: Path, progress: Callable[[str], object] = lambda text: None) -> list[Area]:
    """Checks a run's folder, or an exported dataset. `progress` is called with the name of what is being read.

    Damaged media and answers are removed from the cache, so that the next build stores or requests them again.
    OutputError if `folder` is neither."""
    check_path(folder)
    if (folder / "run.json").exists():
        return list(_run(folder, progress))
    if (folder / manifest.NAME).exists() or manifest.rows(folder):
        return [_dataset(folder, None)]
    raise OutputError(
        f"{folder} is neither the folder of a run nor an exported dataset; give the --out of a `pairwright build`"
    )


def _run(folder: Path, progress: Callable[[str], object]) -> Iterator[Area]:
    records = Area("records")
    for name in ("run.json", "engines.json", "summary.json", "crashes.json", "judge-bench.json"):
        _json(folder / name, records)
    if any(what.startswith(str(folder / "run.json")) for what, _ in records.damages):
        yield records  # without it the other parts cannot be checked
        return
    run = executor.reopen(folder)
    passes, steps, media = Area("passes"), Area("steps"), Area("media")
    datasets = []
    used: dict[str, None] = {}
    finished = (folder / "summary.json").exists()
    with suppress(DamageError):  # already reported above
        if finished and run.summary() is None:
            records.damaged(f"{folder / 'summary.json'} does not belong to the units in this folder")
    for unit in run.units:
        progress(unit.name)
        if (done := _done(run, unit, finished, records)) is None and unit.kind != "pass":
            continue
        if unit.kind == "pass":
            _pass(run, unit, done, passes, used)
        elif unit.kind == "table":
            steps.add(steps=1, files=len((done or {}).get("files", ())))
            for what in run.damages(unit):
                steps.damaged(f"{run.unit_folder(unit)}: {what}")
        else:
            datasets.append(_dataset(run.dataset(unit.round), (done or {})["pairs"]))
    yield from (records, passes, steps, *datasets)
    progress("media")
    _media(run.cache / "media", used, media)
    yield media
    progress("answers")
    yield _answers(run.cache / "answers.sqlite", bool(run.recipe.models and passes.counts))


def _json(path: Path, area: Area) -> None:
    try:
        area.add(files=int(shards.read_json(path) is not None))
    except DamageError as error:
        area.damaged(*_split(error))


def _split(error: StoreError) -> tuple[str, str]:
    """(what is wrong, remedy) of an error message."""
    what, _, remedy = str(error).rpartition("; ")
    return what, remedy


def _done(run: executor.Run, unit: Unit, finished: bool, area: Area) -> dict | None:
    """A unit's done.json; None if it is not finished or damaged."""
    if not finished and not run.is_done(unit):
        return None
    try:
        done = run.done(unit)
    except DamageError as error:
        area.damaged(*_split(error))
        return None
    area.add(files=1)
    return done


def _pass(run: executor.Run, unit: Unit, done: dict | None, area: Area, used: dict[str, None]) -> None:
    """Checks the shards of a pass: those it lists, or those present if it is unfinished. Adds the media of its rows to `used`."""
    place = run.unit_folder(unit)
    names = done["shards"] if done else sorted(path.name for path in place.glob("[!.]*-*") if path.is_dir())
    for name in names:
        area.add(shards=1)
        if found := list(shards.damages(place / name)):
            for what in found:
                area.damaged(f"{place / name}: {what}")
            continue
        area.add(rows=sum(shards.record_of(place / name)["counts"].values()))
        for batch in shards.batches(place / name / "media.arrow"):
            used.update(dict.fromkeys(batch.column("id").to_pylist()))


def _dataset(folder: Path, pairs: dict[str, int] | None) -> Area:
    area = Area("dataset")
    found = manifest.rows(folder)
    area.add(files=len(found), rows=sum(found.values()))
    for what in manifest.damages(folder, pairs):
        area.damaged(f"{folder}: {what}", manifest.REMEDY)
    return area


def _media(where: Path, used: dict[str, None], area: Area) -> None:
    store = open_store(where)
    for sha in used:
        try:
            data = store.read(sha)
        except KeyError:
            area.damaged(
                f"{where} has no media item {sha}",
                "run the same `pairwright build` again, which reads its source again",
            )
        except DamageError as error:
            area.damaged(*_split(error))
        else:
            area.add(media=1, bytes=len(data))
            if hashlib.sha256(data).hexdigest() != sha:
                area.damaged(
                    f"{where} contains different bytes under {sha}",
                    "remove the media folder and run the same `pairwright build` again",
                )


def _answers(path: Path, asked: bool) -> Area:
    area = Area("answers")
    if not path.exists():
        if asked:
            area.damaged(
                f"{path} is missing",
                "restore the file; without it a changed recipe requests every answer again (finished parts are kept)",
            )
        return area
    try:
        cache = AnswerCache(path)
        count, bad = cache.check()
        cache.close()
    except (sqlite3.Error, StoreError) as error:
        area.damaged(f"{path} is damaged ({error})", AWAY)
        return area
    area.add(answers=count)
    if bad:
        area.damaged(f"{path}: {bad:,} of {count:,} answers were damaged and have been removed", ASKED_AGAIN)
    return area


def show(folder: Path, areas: list[Area], console: Console) -> bool:
    """Prints a line per area, then one per damage; returns whether everything is intact."""
    console.print(f"[bold]{escape(str(folder))}[/bold]", soft_wrap=True)
    for area in areas:
        counts = (
            ", ".join(
                f"{n:,} {name[:-1] if n == 1 and name.endswith('s') else name}" for name, n in area.counts.items()
            )
            or "nothing"
        )
        state = f"[red]{len(area.damages):,} damaged[/red]" if area.damages else "[green]intact[/green]"
        console.print(f"  {area.name:<8}  {state}  {counts}")
    for area in areas:
        for what, remedy in area.damages[:NAMED]:
            console.print(f"  [red]damaged[/red]: {escape(what)}; {escape(remedy)}", soft_wrap=True)
        if (more := len(area.damages) - NAMED) > 0:
            console.print(f"  and {more:,} more damaged in {area.name}")
    summary = shards.read_json_or_none(folder / "summary.json") or {}
    for line in judge_notes.same_replies(summary.get("judges", {})):
        console.print(f"  [yellow]{escape(line)}[/yellow]", soft_wrap=True)
    damaged = sum(len(area.damages) for area in areas)
    console.print(f"{damaged:,} damaged" if damaged else "everything is intact")
    return not damaged
