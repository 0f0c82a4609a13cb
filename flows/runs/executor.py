"""The executor: runs a recipe unit by unit, independent of Prefect, and continues where a killed run stopped.

    run = open_run("demo", ["sample.n=4"], out=Path("data/runs/demo"), cache=Path("data/cache"))
    for unit in run.units:
        run.complete(unit)
    finish(run)

A unit is a pass (consecutive steps of scope `sample`), a step of scope `table`, or the dataset. Units that hold a model in process
(vLLM, training) run in a child process, so that a crash or growing memory costs one restart, resumed from the cache. The child is kept
for later units, so that a model is loaded once."""

import asyncio
import hashlib
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.planning import load
from flows.planning.bind import Bound, BoundRecipe, build
from flows.planning.model_folders import check_folders
from flows.planning.plan import Unit, passes_fit_memory, passes_of, plan
from flows.planning.trainable import check_trained
from flows.runs import costs, leftovers, rejections, shards
from flows.runs.engine_host import EngineHost
from flows.runs.folder import (
    check_path,
    disk_errors_translated,
    lock_folder,
    make_folder,
    read_run_note,
    require_run_note,
)
from flows.runs.heartbeat import Heartbeat
from flows.runs.model_source import Answers, ModelSource, RealEngines, RunModel, note_engines
from flows.runs.notes import VERSION
from flows.runs.same_replies import judges_by_place, rejected_pairs
from flows.runs.stream import Pass, Resources, Used, from_sources, from_tables, seen_samples
from flows.runs.supervisor import Supervisor
from pipeline.dataset import manifest
from pipeline.media.portable import portable_file
from pipeline.source.reading import row_files
from pipeline.storage import checksum, urls
from pipeline.storage.answer_cache import Usage
from schemas import redact
from schemas.errors import DamageError, InputError, OutputError, RecipeError
from schemas.operator import Context
from schemas.published import public_text
from schemas.recipe import DatasetSettings, parse, without_prices
from schemas.records import Rejection, digest

CACHE = Path("data/cache")  # default
MEDIA_LIMITS = {"fps": float, "max_frames": int, "max_seconds": float}
"""settings of engines that say how much of a medium a model is shown"""
Report = Callable[[str, int, int | None, str, dict], None]
"""called as report(unit, done, total, text, used): `used` is the unit's usage so far, in the form of `costs.priced`"""


@dataclass
class Run:
    """A recipe being run in a folder."""

    folder: Path
    cache: Path
    recipe: BoundRecipe
    raw: dict
    units: list[Unit]
    model_source: ModelSource
    """provides the models; replaced if a recipe is run without asking them"""
    dataset_given: Path | None = None
    report: Report = lambda unit, done, total, text, used: None
    lock: Any = None
    ingested: bool = False  # the ingesting steps are a pass of their own
    repaired: list[str] = field(default_factory=list)
    """a line for each finished unit that was damaged and is redone"""
    _intact: set[Path] = field(default_factory=set)  # shards and row files that have been checked
    withheld: tuple[str, ...] = ()  # steps and models whose settings had secrets, which are not in run.json
    left_out: list[Path] = field(default_factory=list)
    """files with rejections of samples that later units must not see, for example if only some are tried"""
    _contents: dict[Path, str] = field(default_factory=dict)
    _supervisor: Supervisor | None = None

    # paths and stored state ------------------------------------------------------------------------------------------

    def unit_folder(self, unit: Unit) -> Path:
        """The folder of a unit's shards and records."""
        return self.folder / ("passes" if unit.kind == "pass" else "steps") / unit.name

    def dataset(self, round: int) -> Path:
        """The dataset folder of a round; the last round's is `dataset`."""
        if self.dataset_given:
            return self.dataset_given
        last = self.recipe.rounds.n if self.recipe.rounds else 1
        return self.folder / ("dataset" if round == last else f"dataset-{round}")

    def earlier_units(self, unit: Unit) -> list[Unit]:
        """The units of the same round that run before this one."""
        return [u for u in self.units[: self.units.index(unit)] if u.round == unit.round]

    def tables(self, unit: Unit | None = None, round: int | None = None) -> shards.RunTables:
        """The live rows that `unit` may read; without a unit, those of a whole round."""
        units = (
            self.earlier_units(unit) if unit else [u for u in self.units if u.round == (round or self.units[-1].round)]
        )
        passes = [found for u in units if u.kind == "pass" and (found := self._shards(u))]
        found = [self._dropped(u) for u in units if u.kind == "table" or (u.kind == "dataset" and self.is_done(u))]
        dropped = [*(p for p in found if p.exists()), *self.left_out]
        return shards.RunTables(passes, dropped, [s.name for s in self.recipe.steps])

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit has finished once; its done.json may be damaged or of another key."""
        return (self.unit_folder(unit) / "done.json").exists()

    def done(self, unit: Unit) -> dict:
        """The done.json of a finished unit. DamageError if it is missing or damaged."""
        path = self.unit_folder(unit) / "done.json"
        if (found := shards.read_json(path)) is None:
            raise DamageError(f"{path} is missing; {shards.REMEDY}")
        if found.get("unit", unit.name) != unit.name:
            raise DamageError(f"{path} belongs to unit {found['unit']}; {shards.REMEDY}")
        return found

    def summary(self) -> dict | None:
        """The summary.json if it belongs to the units as they are now. None if it does not exist or is older than a build that is running
        or was killed."""
        if (found := shards.read_json(self.folder / "summary.json")) is None or "units" not in found:
            return found  # older summaries do not list their units
        made = {unit.name: shards.read_json(self.unit_folder(unit) / "done.json") for unit in self.units}
        now = {name: checksum.of_value(done) for name, done in made.items() if done}
        return found if found["units"] == now else None

    def _shards(self, unit: Unit) -> list[Path]:
        """The shards of a finished pass; each is checked once. DamageError if one is damaged."""
        folders = [self.unit_folder(unit) / name for name in self.done(unit)["shards"]]
        for folder in folders:
            if folder not in self._intact:
                shards.check(folder)
                self._intact.add(folder)
        return folders

    def _dropped(self, unit: Unit) -> Path:
        """The file of a table step's rejections; checked once. DamageError if it is damaged."""
        path = self.unit_folder(unit) / "rejections.arrow"
        if path not in self._intact:
            done = self.done(unit)
            if what := _file_damage(path, done):
                raise DamageError(f"{path.parent} is damaged ({what}); {shards.REMEDY}")
            self._intact.add(path)
        return path

    def damages(self, unit: Unit, quick: bool = False) -> Iterator[str]:
        """What is damaged in a finished unit's files, in a few words each. `quick`: for a dataset only file sizes are checked. DamageError if
        its done.json is damaged."""
        done, place = self.done(unit), self.unit_folder(unit)
        if unit.kind == "dataset":
            yield from manifest.damages(self.dataset(unit.round), done["pairs"], quick)
            if what := _file_damage(place / "rejections.arrow", done):
                yield what
        elif unit.kind == "pass":
            yield from (f"{name}: {what}" for name in done["shards"] for what in shards.damages(place / name))
        elif "files" in done:
            yield from checksum.find_damage(place, done["files"])
        elif what := _file_damage(place / "rejections.arrow", done):
            yield what

    # models ----------------------------------------------------------------------------------------------------------

    def spec(self, name: str, round: int) -> dict[str, Any]:
        """The engine and settings of a model: from the recipe, or trained by a step of this round (or, if rebound, of the last one)."""
        rebinds = self.recipe.rounds.rebinds if self.recipe.rounds else {}
        if round > 1 and name in rebinds:
            return self.spec(rebinds[name], round - 1)
        if name in self.recipe.models:
            return self.recipe.models[name]
        for unit in self.units:
            for step in unit.steps:
                if step.step.binds == name and unit.round == round:
                    return {
                        **self.spec(self.recipe.trained[name], round),
                        "model": str(self.model_source.trained(self.unit_folder(unit) / "model")),
                    }
        raise RecipeError(f"unknown model '{name}'")

    def wanted(self, name: str, round: int) -> RunModel:
        """A model with its engine and settings in a round."""
        return RunModel(name, round, self.spec(name, round))

    def identity(self, name: str, round: int) -> str:
        """The model's name in ids and cache keys. EngineError if it is missing."""
        return self.model_source.identity(self.wanted(name, round))

    def bound(self, unit: Unit) -> list[Bound]:
        """The unit's steps, with versions for the models of its round."""
        identities = {name: self.identity(name, unit.round) for name in {m for step in unit.steps for m in step.models}}
        return [step.of(identities) for step in unit.steps]

    async def connect(self, names: Sequence[str], round: int, host: EngineHost) -> dict[str, Any]:
        return await self.model_source.connect([self.wanted(name, round) for name in names], host)

    # work ------------------------------------------------------------------------------------------------------------

    def key(self, unit: Unit, bound: list[Bound] | None = None) -> str:
        """Digest of everything that determines the unit's results, except the rows of its sources."""
        parents = [  # not passes: their shards are named by those before them, and contain what filters dropped
            self.done(u)["key"] for u in self.earlier_units(unit) if unit.kind != "pass" or u.kind == "table"
        ]
        if self.dataset_given and unit.steps and unit.steps[0].family == "train":
            parents.append(self.contents(self.dataset_given))
        if unit.kind == "dataset" and self.recipe.dataset != DatasetSettings():
            parents.append(self.recipe.dataset.media)
        if unit.kind == "dataset" and (kept := [s.name for s in self.recipe.steps if s.step.same_reply == "keep"]):
            parents.append(kept)  # the default is not in it: keys from before stay
        return digest(VERSION, unit.kind, [b.key for b in bound or self.bound(unit)], parents)

    def contents(self, dataset: Path) -> str:
        """A digest of the Parquet files of an exported dataset, computed once."""
        if dataset not in self._contents:
            total = hashlib.sha256()
            for path in sorted(dataset.glob("*/*.parquet")):
                with path.open("rb") as file:
                    total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
            self._contents[dataset] = total.hexdigest()
        return self._contents[dataset]

    def complete(self, unit: Unit) -> str:
        """Completes a unit: "kept" if it was already finished, else "done". Errors of a child process are raised here."""
        with disk_errors_translated(self.folder, self.cache):
            return self._complete(unit)

    def _complete(self, unit: Unit) -> str:
        self.check_secrets(unit)
        if unit.kind != "pass" and self.finished(unit):
            return "kept"
        self.report(unit.name, 0, None, "", {})
        if not unit.child:
            with EngineHost(self.cache) as host:
                self.work(unit, host)
            return "done"
        self._supervisor = self._supervisor or Supervisor(self)
        if unit.trains:
            self._supervisor.end()  # training needs all memory
        self._supervisor.complete(unit)
        if unit.trains or not any(u.child for u in self.units[self.units.index(unit) + 1 :]):
            self._supervisor.end()
        return "done"

    def check_secrets(self, unit: Unit) -> None:
        """InputError if settings of the unit contained secrets, which only the recipe itself has."""
        names = {name for b in unit.steps for name in (b.name, *b.models)}
        if names := sorted(names.intersection(self.withheld)):
            raise InputError(
                f"{self.folder} does not store the secrets of the recipe in {', '.join(names)}; continue with `pairwright build` and the "
                "recipe, or use a variable there, like ${ROWS_URL}, and export it"
            )

    def finished(self, unit: Unit) -> bool:
        """Whether a unit is finished for its current key, with all files intact. Notes damage in `repaired`."""
        if not self.is_done(unit):
            return False
        try:
            if self.done(unit)["key"] != self.key(unit):
                return False
            what = next(self.damages(unit), None)
        except DamageError as error:
            what = str(error).partition("; ")[0]
        if what is not None:
            self.repaired.append(f"{unit.name} was damaged ({what}); redone")
        return what is None

    def work(self, unit: Unit, host: EngineHost) -> None:
        """Completes the unit in this process and writes its done.json."""
        started, loads = time.monotonic(), host.loads.copy()

        def progress(done: int, total: int | None, text: str = "", used: Used | None = None) -> None:
            if done:
                heartbeat.stop()
            figures = {name: usage.figures() for name, usage in (used or {}).items()}
            self.report(unit.name, done, total, text, costs.priced(figures, self.recipe.prices))

        work = {"pass": self._pass, "table": self._table, "dataset": self._write}[unit.kind]
        with Heartbeat(host.waiting, lambda text: self.report(unit.name, 0, None, text, {})) as heartbeat:
            result = work(unit, host, progress)
        cost = {"seconds": round(time.monotonic() - started, 3), "loads": dict(host.loads - loads)}
        before = shards.read_json_or_none(self.unit_folder(unit) / "done.json") or {}
        if before.get("key") == result["key"]:
            cost |= {name: before[name] for name in cost if name in before}  # everything was finished already
        shards.write_json(self.unit_folder(unit) / "done.json", {"unit": unit.name, **result, **cost})

    def answers(self, host: EngineHost) -> Answers:
        """The answer cache of the run, for one unit; the caller closes it."""
        return self.model_source.answers(self.cache / "answers.sqlite", host)

    def _pass(self, unit: Unit, host: EngineHost, progress) -> dict:
        bound, earlier = self.bound(unit), self.tables(unit)
        if earlier.passes and any(b.family == "score" for b in bound):
            ignored = self._by_place(earlier)
            bound = [replace(b, ignored=ignored) if b.family == "score" else b for b in bound]
        if fit := bound[0].fit:
            bound[0] = replace(bound[0], fitted=fit(*self._fitting(unit, bound[0], earlier, host.media, progress)))
        cache = self.answers(host)
        models = {n: self.spec(n, unit.round).get("model", n) for b in bound for n in b.models}
        connect = lambda names: self.connect(names, unit.round, host)
        resources = Resources(host.media, cache, self.recipe.name, connect, models, self.cache)
        work = Pass(
            self.unit_folder(unit), bound, resources, progress, beside=unit.child,
            after_shard=host.watchdog.look if unit.child else None, order=self._order(unit),
        )  # fmt: skip
        key, again = self.key(unit, bound), host.media.again
        stream = from_tables(earlier, key) if earlier.passes else from_sources(work.sources, work.context, key)
        if earlier.passes:
            total = sum(batch.num_rows for batch in earlier.batches("samples", ["id"]))
        else:
            counts = [count(b.settings) for b in work.sources if (count := getattr(b.module, "count", None))]
            total = sum(counts) if len(counts) == len(work.sources) else None
        try:
            names = host.run(work.run(stream, total))
        finally:
            cache.close()
        fitted = bound[0].fitted and bound[0].fitted.key
        records = [shards.record_of(self.unit_folder(unit) / name) for name in names]
        self._check_from(unit, records)
        repaired = work.repaired
        if n := host.media.again - again:
            repaired.append(
                f"{n:,} media in {self.cache / 'media'} were lost or damaged; stored again from their source"
            )
        unread = {step: files for step, files in work.unread.items() if files}
        specs = {digest(self.spec(name, unit.round)) for b in bound for name in b.models}
        engines = note_engines(
            self.folder, {}, (shards.read_json_or_none(self.unit_folder(unit) / "done.json") or {}).get("engines")
        )
        if n := len(cache.damaged):
            repaired.append(f"{n:,} answers in {self.cache / 'answers.sqlite'} were damaged; requested again")
        return {
            "key": digest(key, names), "shards": names, "fitted": fitted,
            "usage": costs.by_step(map(costs.usage_of_shard, records)), **({"repaired": repaired} if repaired else {}),
            **({"unread": unread} if unread else {}),
            "engines": {spec: engines[spec] for spec in specs & engines.keys()},
        }  # fmt: skip

    def _check_from(self, unit: Unit, records: Sequence[dict]) -> None:
        """RecipeError if samples reached a step and none of them is of the sources in its `from:`."""
        for step in unit.steps:
            notes = [record["steps"].get(step.name, {}) for record in records]
            reached, matched = (sum(note.get(name, 0) for note in notes) for name in ("reached", "matched"))
            if reached and not matched:
                others = [s.name for s in self.recipe.steps[: self.recipe.steps.index(step)] if "samples" in s.leaves]
                raise RecipeError(
                    f"{step.name}: `from: {', '.join(step.step.sources)}` matches none of the {reached:,} samples that reach it; samples "
                    f"are of {', '.join(others)}; `pairwright show {self.folder}` names the rows that were dropped"
                )

    def _by_place(self, earlier: shards.RunTables) -> frozenset[str]:
        """The judging steps that a score leaves out as they reply by place; none if there is no other judge."""
        found = frozenset(judges_by_place(earlier, self._droppable()))
        judging = {s.name for s in self.recipe.steps if s.family == "judge" and (s.models or s.title == "judge.people")}
        return found if judging - found else frozenset()

    def _droppable(self) -> list[str]:
        """The judging steps that ask a model, except those whose scores are used whatever they reply."""
        return [s.name for s in self.recipe.steps if s.family == "judge" and s.models and s.step.same_reply == "drop"]

    def _order(self, unit: Unit) -> list[str]:
        """The recipe's step names if an earlier unit ran steps that follow this unit's in the recipe; else empty."""
        steps = self.recipe.steps
        ran = [steps.index(step) for u in self.earlier_units(unit) for step in u.steps]
        return [step.name for step in steps] if ran and max(ran) > steps.index(unit.steps[0]) else []

    def _fitting(self, unit: Unit, bound: Bound, earlier: shards.RunTables, media, progress) -> tuple:
        """The arguments for a step's `fit`."""
        context = Context(
            bound.step.name, bound.version, media, self.recipe.name, progress=progress, tables=earlier,
            folder=self.persistent_folder(unit, bound), shown=partial(portable_file, media),
        )  # fmt: skip
        return seen_samples(bound, earlier), bound.settings, context

    def persistent_folder(self, unit: Unit, step: Bound) -> Path:
        """The folder for a step's data that must outlive its results, such as the ledger of human annotation."""
        return self.folder / "people" / (f"round{unit.round}-{step.name}" if self.recipe.rounds else step.name)

    def _table(self, unit: Unit, host: EngineHost, progress) -> dict:
        (bound,) = self.bound(unit)
        place = self.unit_folder(unit)
        fresh = place.with_name(f".{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        cache = self.answers(host)
        used: Used = defaultdict(Usage)
        unanswered: set[bytes] = set()
        unread: dict[str, dict[str, int]] = {}
        needs_engine = bound.step.family != "train"

        async def work():
            engines = await self.connect(bound.models, unit.round, host) if needs_engine else {}
            context = Context(
                bound.step.name, bound.version, host.media, self.recipe.name,
                engines={n: cache.engine(e, used[n], unanswered, bound.step.name) for n, e in engines.items()},
                models={n: self.spec(n, unit.round)["model"] for n in bound.models if "model" in self.spec(n, unit.round)},
                media_limits={n: media_limits(self.spec(n, unit.round)) for n in bound.models},
                folder=fresh / "model" if bound.step.binds else fresh, dataset=self.dataset(unit.round), unread=unread,
                progress=lambda done, total, text="": progress(done, total, text, used),
            )  # fmt: skip
            context = build(bound, context)
            out = bound.verb(self.tables(unit), bound.settings, context)
            out = await out if asyncio.iscoroutine(out) else out
            await cache.settle()
            return out

        try:
            out = host.run(work())
        finally:
            cache.close()
        key = self.key(unit)
        record: dict[
            str, Any
        ] = {  # with open requests the key differs, so that units that depend on it are redone after them
            "key": digest(key, sorted(question.hex() for question in unanswered)) if unanswered else key,
            "step": bound.step.name,
            "operator": bound.step.title,
            "usage": {bound.step.name: {name: usage.figures() for name, usage in used.items()}},
        }
        rows = [Rejection(*row) for row in (out.pop("rejections", ()) if isinstance(out, dict) else out)]
        shards.write_table(fresh / "rejections.arrow", "rejections", rows)
        record["rejections"] = rejections.count_rows(rows)
        if unread:
            record["unread"] = {bound.step.name: unread}
        record["files"] = checksum.file_checksums(
            fresh, [p.relative_to(fresh).as_posix() for p in fresh.rglob("*") if p.is_file()]
        )
        if isinstance(out, dict):
            record["result"] = out
            if "model" in out:
                record["result"]["model"] = str((place / "model").relative_to(self.folder))
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
        shards.fsync(place.parent)
        return record

    def _write(self, unit: Unit, host: EngineHost, progress) -> dict:
        from pipeline.dataset.write import write

        info = {"recipe": public_text(self.recipe.name), "digest": digest(redact.document(without_prices(self.raw)))}
        tables, place = self.tables(unit), self.unit_folder(unit)
        replies = judges_by_place(tables, self._droppable())
        rejected = list(rejected_pairs(tables, replies)) if replies else []
        place.mkdir(parents=True, exist_ok=True)
        file = place / "rejections.arrow"
        file.unlink(missing_ok=True)
        if rejected:
            shards.write_table(file, "rejections", rejected)
            tables = replace(tables, filters=[*tables.filters, file])
        counts = write(tables, host.media, self.dataset(unit.round), info, self.recipe.dataset.media)
        return {
            "key": self.key(unit),
            "pairs": counts,
            **({"rejections": rejections.count_rows(rejected)} if rejected else {}),
        }

    def close(self) -> None:
        """Ends the child process and releases the lock of the folder."""
        if self._supervisor is not None:
            self._supervisor.end()
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def media_limits(spec: Mapping[str, Any]) -> dict[str, Any]:
    """How much of a medium the model with these settings is shown, as far as they say so; the trainer shows it the same."""
    return {name: kind(spec[name]) for name, kind in MEDIA_LIMITS.items() if name in spec}


def _file_damage(file: Path, done: dict) -> str | None:
    """Why the rejections of a table step are damaged, in a few words; None if intact."""
    if name := next((n for n in done.get("files", ()) if n == file.name), None):
        return next(checksum.find_damage(file.parent, {name: done["files"][name]}), None)
    rows = sum(n for reasons in done.get("rejections", {}).values() for n in reasons.values())
    return shards.wrong_row_count(file, rows) if rows or file.exists() else None


def cache_of(out: Path | None, given: Path | None = None) -> Path:
    """The cache of the run in `out`: the one it was started with, independent of the default; `given` if that no longer exists or there is no run.

    OutputError if another one is given, since answers and media would then be in two places."""
    known = read_run_note(out) if out else None
    if not known:
        return (given or CACHE).absolute()
    kept = Path(known["cache"])
    if given is None or given.resolve() == kept.resolve():
        return kept
    if kept.is_dir():
        raise OutputError(
            f"{out} keeps its answers and media in {kept}, not in {given.absolute()}; omit --cache, or move them with "
            f"`mv {kept} {given.absolute()}` and run the same command again"
        )
    return given.absolute()


def open_run(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    out: Path,
    cache: Path | None = None,
    report: Report | None = None,
    ingest: bool = False,
) -> Run:
    """Checks the whole recipe, locks the folder (a new one, or one with this recipe's own run) and plans the units. RecipeError,
    OutputError.

    `cache`: as in `cache_of`. `ingest`: the ingesting steps are a pass of their own, from now on in this folder."""
    return _open(Opening(load.document(recipe, list(settings)), None, report, ingest), Path(out), cache)


def open_document(raw: dict, *, out: Path, cache: Path | None = None, report: Report | None = None) -> Run:
    """`open_run` for a recipe's parsed document."""
    return _open(Opening(raw, None, report), Path(out), cache)


class Opening(NamedTuple):
    """How a run is opened, besides its folders."""

    raw: dict  # the recipe's document
    dataset: Path | None = None  # an exported dataset, for a recipe without sources
    report: Report | None = None
    ingest: bool = False
    withheld: Sequence[str] = ()  # steps and models of `raw` without their secrets, if it comes from a run.json


def _open(asked: Opening, out: Path, cache: Path | None) -> Run:
    from pipeline.dataset.read import rows_by_kind

    raw, dataset = asked.raw, asked.dataset
    checked = load.checked(raw, given=("samples", "pairs") if dataset else ())
    _check_held_out(checked)
    if not asked.ingest:
        check_folders(checked)
    check_trained(checked, rows_by_kind(dataset) if dataset else None)
    out, cache = make_folder(out, "--out"), make_folder(cache_of(out, cache), "--cache")
    lock, known = lock_folder(out, lambda note: _check_recipe(note, out, raw, dataset))
    try:
        leftovers.clear(out)
        return _planned(asked, checked, out, cache, lock, known)
    except BaseException:
        lock.close()
        raise


def _check_held_out(recipe: BoundRecipe) -> None:
    """InputError if rows that a step evaluates on do not exist: it would be found after the training."""
    for step in recipe.steps:
        if step.title == "evaluate.rows" and not urls.is_url(path := urls.fill_variables(step.settings).path):
            row_files.list_row_files(row_files.limited(path)[0])


def _planned(asked: Opening, checked: BoundRecipe, out: Path, cache: Path, lock: Any, known: dict | None) -> Run:
    """The run of a locked folder; writes its run.json."""
    raw, dataset = asked.raw, asked.dataset
    ingested = asked.ingest or bool(known and known.get("ingested"))
    same = known and not _recipe_differs(known, raw)
    units = plan(checked, dataset is not None, ingested, known.get("passes", ()) if same else ())
    if not passes_fit_memory(units, checked):  # the passes were decided on a larger machine
        units = plan(checked, dataset is not None, ingested)
    redacted = redact.document(raw)
    mine = {
        "recipe": redacted, "cache": str(cache), "dataset": dataset and str(dataset), "version": VERSION, "ingested": ingested,
        "passes": passes_of(units),
    }  # fmt: skip
    if hidden := asked.withheld or _withheld(raw, redacted):
        mine["withheld"] = list(hidden)
    if known != mine:
        shards.write_json(out / "run.json", mine, sort_keys=False)
    return Run(
        out, cache, checked, raw, units, RealEngines(out), dataset, asked.report or (lambda *a: None), lock, ingested,
        withheld=tuple(asked.withheld),
    )  # fmt: skip


def _check_recipe(known: dict | None, out: Path, raw: dict, dataset: Path | None) -> None:
    """OutputError if a folder's run.json belongs to another recipe or dataset. A corrected recipe may go on where nothing was made."""
    if not known:
        return
    found = recipe_difference(known, raw, out)
    if found or known.get("dataset") != (dataset and str(dataset)):
        raise OutputError(
            f"{out} holds a run of another recipe ({found or 'another dataset'}); choose another --out "
            "(cached answers are kept, so only new requests are sent)"
        )


def recipe_difference(known: dict, raw: dict, out: Path) -> str:
    """The first difference between the recipe of a run.json in `out` and `raw`, in a few words, ignoring prices; empty if they are the same, or
    have the same name and the run has made nothing."""
    found = _recipe_differs(known, raw)
    if not found or (known["recipe"].get("name") == raw.get("name") and not shards.made_anything(out)):
        return ""
    return found


def _recipe_differs(known: dict, raw: dict) -> str:
    # run.json contains no secrets, but one of an older version may
    old, new = (load.without_memory(load.comparable(redact.document(document))) for document in (known["recipe"], raw))
    return _difference(old, new) if old != new else ""


def _withheld(raw: dict, redacted: dict) -> list[str]:
    """The steps and models of a recipe that differ in `redacted`, its version without secrets."""
    if raw == redacted:
        return []
    whole, rest = parse(raw), parse(redacted)
    steps = [step.name for step, other in zip(whole.steps, rest.steps, strict=True) if step != other]
    return steps + [name for name in whole.models if whole.models[name] != rest.models.get(name)]


def resume(where: Path, report: Report | None = None) -> Run:
    """Reopens the run of a folder, as `open_run` does. OutputError if there is none."""
    known = require_run_note(where)
    dataset = known.get("dataset") and Path(known["dataset"])
    return _open(Opening(known["recipe"], dataset, report, withheld=known.get("withheld", ())), where, None)


def reopen(where: Path, report: Report | None = None, raw: dict | None = None) -> Run:
    """The run of a folder, without a lock: for its child process, or to read it. `raw`: the recipe with the secrets that run.json lacks.
    OutputError if there is no run."""
    known = require_run_note(where)
    dataset = known.get("dataset") and Path(known["dataset"])
    whole = known["recipe"] if raw is None else raw
    recipe = load.checked(whole, given=("samples", "pairs") if dataset else ())
    return Run(
        where.absolute(),
        Path(known["cache"]),
        recipe,
        whole,
        plan(recipe, bool(dataset), bool(known.get("ingested")), known.get("passes", ())),
        RealEngines(where.absolute()),
        dataset,
        report or (lambda *a: None),
        ingested=bool(known.get("ingested")),
        withheld=tuple(known.get("withheld", ())) if raw is None else (),
    )


def _difference(old: Any, new: Any, where: str = "") -> str:
    """The first difference of two documents, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (a, b) in enumerate(zip(old, new, strict=True), 1):
            if a != b:
                return _difference(a, b, f"{where} {place}")
    return f"{where}: {_short(old)} in the run, {_short(new)} now"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


# entry points of the command line and the flows, besides `build` ------------------------------------------------------


def run_all(run: Run) -> Iterator[Unit]:
    """Completes all units of a run in order; yields each when it is finished."""
    for unit in run.units:
        run.complete(unit)
        yield unit


def intact_dataset(folder: Path) -> Path:
    """The exported dataset of a run's folder, or the folder itself. OutputError if there is none, DamageError if it is damaged."""
    check_path(folder)
    if (folder / "run.json").exists():
        run = reopen(folder)
        units = [unit for unit in run.units if unit.kind == "dataset" and run.is_done(unit)]
        if units:
            dataset = run.dataset(units[-1].round)
            manifest.check(dataset, run.done(units[-1])["pairs"])
            return dataset
    elif any(folder.glob("*/*.parquet")) or (folder / manifest.NAME).exists():
        manifest.check(folder)
        return folder
    raise OutputError(
        f"{folder} contains no exported dataset; give the --out of a finished `pairwright build`, or its dataset folder"
    )


def train_dataset(dataset: Path, out: Path, settings: Sequence[str] = (), *, model: str = "data/models/tiny",
                  cache: Path | None = None, report: Report | None = None) -> dict:  # fmt: skip
    """Trains `model` on an exported dataset, or on that of a run's folder; returns the trainer's report. `settings`: train.setting=value."""
    folder = intact_dataset(dataset)
    raw = {
        "name": "train",
        "models": {"policy": {"engine": "vllm", "model": model}},
        "steps": [{"train": {"model": "policy", "as": "trained"}}],
    }
    return _single(raw, settings, out, cache, folder.absolute(), report)["result"]


def evaluate_model(
    model: str,
    out: Path,
    settings: Sequence[str] = (),
    *,
    rows: str | None = None,
    cache: Path | None = None,
    report: Report | None = None,
) -> dict:
    """Evaluates a model on held-out scenes, or on `rows`, a file or folder of rows or a URL; returns the step's done.json. `settings`:
    evaluate.setting=value."""
    step = {"model": "model", "name": "evaluate"}
    raw = {
        "name": "evaluate",
        "models": {"model": {"engine": "vllm", "model": model}},
        "steps": [{"evaluate.scenes": step} if rows is None else {"evaluate.rows": {**step, "path": rows}}],
    }
    return _single(raw, settings, out, cache, None, report)


def _single(raw: dict, settings, out: Path, cache: Path | None, dataset: Path | None, report: Report | None) -> dict:
    """The done.json of the last unit of a recipe, once all are finished."""
    for assignment in settings:
        load.override(raw, assignment)
    run = _open(Opening(load.comparable(raw), dataset, report), Path(out), cache)
    try:
        for _ in run_all(run):
            pass
        return run.done(run.units[-1])
    finally:
        run.close()
