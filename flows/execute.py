"""The executor: runs a recipe unit by unit, knows nothing of Prefect, and goes on where it was killed.

    run = open_run("demo", ["sample.n=4"], out=Path("data/runs/demo"), cache=Path("data/cache"))
    for unit in run.units:
        run.do(unit)
    run.finish()

A unit is a pass (neighbouring steps of scope `sample`), a step of scope `table`, or the dataset. Units that hold a model in
process (vLLM, training) run in a child, so that a crash or growing memory is one restart, resumed from the cache."""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import flows.child
from flows import load, plug, shards
from flows.passes import Bound, Pass, bind, from_sources, from_tables, seen
from pipeline.cache import AnswerCache, CachedEngine, Usage
from pipeline.store import open_store
from schemas.errors import OutputError, RecipeError
from schemas.operator import VERBS, Context, Fitted
from schemas.recipe import Recipe, Step, settings_of
from schemas.records import Rejection, digest

VERSION = 1
RESTARTS = 3  # times a child that crashed is started again
IN_PROCESS = ("vllm", "hf")
Report = Callable[[str, int, int | None, str], None]


@dataclass(frozen=True)
class Unit:
    """One thing that is either finished or not."""

    name: str
    kind: str  # pass, table, dataset
    steps: tuple[Step, ...]
    round: int = 1
    child: bool = False


@dataclass
class Run:
    """A recipe on its way in a folder."""

    folder: Path
    cache: Path
    recipe: Recipe
    raw: dict
    units: list[Unit]
    dataset_given: Path | None = None
    report: Report = lambda unit, done, total, text: None
    lock: Any = None
    ingested: bool = False  # what comes in is a pass of its own
    _identities: dict[str, str] = field(default_factory=dict)

    # what is where ---------------------------------------------------------------------------------------------------

    def place(self, unit: Unit) -> Path:
        return self.folder / ("passes" if unit.kind == "pass" else "steps") / unit.name

    def dataset(self, round: int) -> Path:
        if self.dataset_given:
            return self.dataset_given
        last = self.recipe.rounds.n if self.recipe.rounds else 1
        return self.folder / ("dataset" if round == last else f"dataset-{round}")

    def before(self, unit: Unit) -> list[Unit]:
        """The units of the same round before this one."""
        return [u for u in self.units[: self.units.index(unit)] if u.round == unit.round]

    def tables(self, unit: Unit | None = None, round: int | None = None) -> shards.RunTables:
        """The live rows that `unit` may read; those of a whole round without one."""
        units = self.before(unit) if unit else [u for u in self.units if u.round == (round or self.units[-1].round)]
        passes = [self._shards(u) for u in units if u.kind == "pass"]
        found = [self.place(u) / "rejections.arrow" for u in units if u.kind == "table"]
        return shards.RunTables(passes, [p for p in found if p.exists()])

    def _shards(self, unit: Unit) -> list[Path]:
        done = shards.read_json(self.place(unit) / "done.json")
        return [self.place(unit) / name for name in done["shards"]]

    # models ----------------------------------------------------------------------------------------------------------

    def spec(self, name: str, round: int) -> dict[str, Any]:
        """The engine and settings of a model: as the recipe says, or what a train step of this round (or the last one) left."""
        rebinds = self.recipe.rounds.rebinds if self.recipe.rounds else {}
        if round > 1 and name in rebinds:
            return self.spec(rebinds[name], round - 1)
        if name in self.recipe.models:
            return self.recipe.models[name]
        for unit in self.units:
            for step in unit.steps:
                if step.binds == name and unit.round == round:
                    return {**self.spec(step.settings["model"], round), "model": str(self.place(unit) / "model")}
        raise RecipeError(f"no model '{name}'")

    def identity(self, name: str, round: int) -> str:
        spec = self.spec(name, round)
        key = digest(spec)
        if key not in self._identities:
            module, settings = _engine(spec, name)
            self._identities[key] = module.identity_of(settings)
        return self._identities[key]

    def bound(self, unit: Unit) -> list[Bound]:
        names = {m for s in unit.steps for m in plug.models_of(s.family, s.operator, s.settings)}
        steps = self.recipe.steps
        before = steps[: steps.index(unit.steps[0])] if unit.steps else ()
        return bind(unit.steps, {n: self.identity(n, unit.round) for n in names}, before)

    async def connect(self, names: list[str], round: int, media) -> dict[str, Any]:
        out = {}
        for name in names:
            module, settings = _engine(self.spec(name, round), name)
            out[name] = await module.connect(settings, media)
        return out

    # doing -----------------------------------------------------------------------------------------------------------

    def key(self, unit: Unit, bound: list[Bound] | None = None) -> str:
        """A digest of everything that decides what the unit leaves, but for the rows that its sources yield."""
        parents = [  # a pass names its shards by those before it, which leaves what filters dropped
            shards.read_json(self.place(u) / "done.json")["key"]
            for u in self.before(unit)
            if unit.kind != "pass" or u.kind == "table"
        ]
        if self.dataset_given and unit.steps and unit.steps[0].family == "train":
            parents.append(self.contents(self.dataset_given))
        return digest(VERSION, unit.kind, [b.key for b in bound or self.bound(unit)], parents)

    def contents(self, dataset: Path) -> str:
        """A digest of the bytes of an exported dataset, which are read once."""
        if str(dataset) not in self._identities:
            total = hashlib.sha256()
            for path in sorted(dataset.glob("*/*.parquet")):
                with path.open("rb") as file:
                    total.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
            self._identities[str(dataset)] = total.hexdigest()
        return self._identities[str(dataset)]

    def do(self, unit: Unit) -> str:
        """Brings a unit to its end: "kept" when it was there, else "done". Errors of a child are raised here."""
        if unit.kind != "pass" and self.finished(unit):
            return "kept"
        if unit.child and os.environ.get("PAIRWRIGHT_UNIT") != unit.name:
            flows.child.run(self, unit, RESTARTS)
        else:
            self.work(unit)
        return "done"

    def finished(self, unit: Unit) -> bool:
        done = shards.read_json(self.place(unit) / "done.json")
        return done is not None and done["key"] == self.key(unit)

    def work(self, unit: Unit) -> None:
        """Does the unit in this process."""
        started = time.monotonic()
        media = open_store(self.cache / "media")
        progress = lambda done, total, text="": self.report(unit.name, done, total, text)
        work = {"pass": self._pass, "table": self._table, "dataset": self._write}[unit.kind]
        result = work(unit, media, progress)
        before = shards.read_json(self.place(unit) / "done.json") or {}
        seconds = time.monotonic() - started
        if before.get("key") == result["key"]:
            seconds = before["seconds"]  # nothing was left to do
        shards.write_json(self.place(unit) / "done.json", {"unit": unit.name, **result, "seconds": round(seconds, 3)})

    def _pass(self, unit: Unit, media, progress) -> dict:
        bound = self.bound(unit)
        cache = AnswerCache(self.cache / "answers.sqlite")
        work = Pass(
            self.place(unit), bound, media, cache, self.recipe.name,
            lambda names: self.connect(names, unit.round, media), progress,
            {n: self.spec(n, unit.round).get("model", n) for b in bound for n in b.models}, unit.child,
            self.cache,
        )  # fmt: skip
        earlier = self.tables(unit)
        if hasattr(bound[0].module, "fit"):
            bound[0].fitted = self._fit(unit, bound[0], earlier, media, progress)
        key = self.key(unit, bound)
        stream = from_tables(earlier, key) if earlier.passes else from_sources(work.sources, work.context, key)
        total = sum(t for b in work.sources if (t := getattr(b.module, "count", lambda s: 0)(b.settings))) or None
        try:
            names = _loop(work.run(stream, total))
        finally:
            cache.close()
        seconds = sum(getattr(e, "seconds", 0.0) for e in work.engines.values())
        fitted = bound[0].fitted and bound[0].fitted.key
        return {"key": digest(key, names), "shards": names, "fitted": fitted, "engine_seconds": round(seconds, 3)}

    def _fit(self, unit: Unit, bound: Bound, earlier: shards.RunTables, media, progress) -> Fitted:
        context = Context(
            bound.step.name, bound.version, media, self.recipe.name, progress=progress, tables=earlier,
            folder=self.kept(unit, bound.step),
        )  # fmt: skip
        return bound.module.fit(seen(bound, earlier), bound.settings, context)

    def kept(self, unit: Unit, step: Step) -> Path:
        """Where a step may keep what outlives a run of it: the ledger of what people were asked and said."""
        return self.folder / "people" / (f"round{unit.round}-{step.name}" if self.recipe.rounds else step.name)

    def _table(self, unit: Unit, media, progress) -> dict:
        (bound,) = self.bound(unit)
        place = self.place(unit)
        fresh = place.with_name(f".{place.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        cache = AnswerCache(self.cache / "answers.sqlite")
        usage = Usage()
        needs_engine = bound.step.family != "train"

        async def work():
            engines = await self.connect(bound.models, unit.round, media) if needs_engine else {}
            context = Context(
                bound.step.name, bound.version, media, self.recipe.name,
                engines={n: CachedEngine(e, cache, usage) for n, e in engines.items()},
                models={n: self.spec(n, unit.round)["model"] for n in bound.models if "model" in self.spec(n, unit.round)},
                folder=fresh / "model" if bound.step.binds else fresh, dataset=self.dataset(unit.round), progress=progress,
            )  # fmt: skip
            context = plug.build(bound.module, bound.settings, context)
            out = getattr(bound.module, VERBS[bound.step.family])(self.tables(unit), bound.settings, context)
            return await out if asyncio.iscoroutine(out) else out

        try:
            out = _loop(work())
        finally:
            cache.close()
        record: dict[str, Any] = {
            "key": self.key(unit),
            "step": bound.step.name,
            "operator": bound.step.title,
            "usage": vars(usage),
        }
        rows = [Rejection(*row) for row in (out.pop("rejections", ()) if isinstance(out, dict) else out)]
        shards.write_table(fresh / "rejections.arrow", "rejections", rows)
        record["rejections"] = shards.counted(rows)
        if isinstance(out, dict):
            record["result"] = out
            if "model" in out:
                record["result"]["model"] = str((place / "model").relative_to(self.folder))
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
        shards.fsync(place.parent)
        return record

    def _write(self, unit: Unit, media, progress) -> dict:
        from pipeline.dataset.write import write

        counts = write(
            self.tables(unit), media, self.dataset(unit.round), {"recipe": self.recipe.name, "digest": digest(self.raw)}
        )
        self.place(unit).mkdir(parents=True, exist_ok=True)
        return {"key": self.key(unit), "pairs": counts}

    def finish(self) -> dict:
        """Writes summary.json, the dataset card and report.html; returns the summary."""
        from flows import summary

        return summary.finish(self)

    def close(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None


def _engine(spec: dict[str, Any], name: str):
    module = plug.engine(spec["engine"])
    return module, settings_of(module, {k: v for k, v in spec.items() if k != "engine"}, f"models.{name}")


def _loop(work):
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


INGEST = ("source", "prompt", "filter")  # families of the steps by which samples come in


def ingesting(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The first steps of a recipe, those by which samples come in."""
    return tuple(takewhile(lambda step: step.family in INGEST, steps))


def plan(recipe: Recipe, dataset_given: bool = False, ingested: bool = False) -> list[Unit]:
    """The units of a recipe in order. A pass ends at a step of scope `table`, before one that looks at all samples first (`fit`),
    where another model in process is needed, and, when samples were `ingested` before, where they are in."""
    units: list[Unit] = []
    first = ingesting(recipe.steps)
    bound = {s.binds: s.settings["model"] for s in recipe.steps if s.binds}

    def engine(model: str) -> str:
        return engine(bound[model]) if model in bound else recipe.models[model]["engine"]

    def heavy(step: Step) -> set[str]:
        return {m for m in plug.models_of(step.family, step.operator, step.settings) if engine(m) in IN_PROCESS}

    for round in range(1, (recipe.rounds.n if recipe.rounds else 1) + 1):
        prefix = f"round{round}-" if recipe.rounds else ""
        waiting: list[Step] = []
        written = dataset_given

        def flush(waiting=waiting, prefix=prefix, round=round):
            if waiting:
                child = any(heavy(s) for s in waiting)
                number = sum(u.kind == "pass" and u.round == round for u in units)
                units.append(Unit(f"{prefix}pass{number}-{waiting[-1].name}", "pass", tuple(waiting), round, child))
                waiting.clear()

        for step in recipe.steps:
            module = plug.operator(step.family, step.operator)
            if ingested and step not in first and all(s in first for s in waiting):
                flush()
            if module.SCOPE == "sample":
                if hasattr(module, "fit") or len({n for s in [*waiting, step] for n in heavy(s)}) > 1:
                    flush()
                waiting.append(step)
                continue
            flush()
            if (
                step.family == "train"
                and not written
                and any(u.steps and _leaves(u, "pairs") for u in units if u.round == round)
            ):
                units.append(Unit(f"{prefix}dataset", "dataset", (), round))
                written = True
            units.append(
                Unit(f"{prefix}{step.name}", "table", (step,), round, step.family == "train" or bool(heavy(step)))
            )
        flush()
        if not written and any(_leaves(u, "pairs") for u in units if u.round == round):
            units.append(Unit(f"{prefix}dataset", "dataset", (), round))
    return units


def _leaves(unit: Unit, table: str) -> bool:
    return any(table in plug.operator(s.family, s.operator).LEAVES for s in unit.steps)


def open_run(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    out: Path,
    cache: Path = Path("data/cache"),
    report: Report | None = None,
    ingest: bool = False,
) -> Run:
    """Checks the whole recipe, takes the folder (or finds its own work in it) and plans. RecipeError, OutputError.

    `ingest`: what comes in is a pass of its own, from now on in this folder."""
    return _open(load.document(recipe, list(settings)), Path(out), Path(cache), None, report, ingest)


def open_document(raw: dict, *, out: Path, cache: Path, report: Report | None = None) -> Run:
    """The same for a recipe's parsed document."""
    return _open(raw, Path(out), Path(cache), None, report)


def _open(
    raw: dict, out: Path, cache: Path, dataset: Path | None, report: Report | None, ingest: bool = False
) -> Run:
    checked = load.checked(raw, given=("samples", "pairs") if dataset else ())
    out, cache = out.absolute(), cache.absolute()
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: choose a folder for --out")
    out.mkdir(parents=True, exist_ok=True)
    lock = _take(out)
    known = shards.read_json(out / "run.json")
    ingested = ingest or bool(known and known.get("ingested"))
    mine = {
        "recipe": raw, "cache": str(cache), "dataset": dataset and str(dataset), "version": VERSION, "ingested": ingested,
    }  # fmt: skip
    if known is None:
        if any(p.name not in (".lock",) and not p.name.startswith(".run.json") for p in out.iterdir()):
            raise OutputError(f"{out} holds files that no run of Pairwright left: choose an empty folder for --out")
        shards.write_json(out / "run.json", mine)
    elif known["recipe"] != raw or known.get("dataset") != mine["dataset"]:
        raise OutputError(
            f"{out} holds a run of another recipe ({_difference(known['recipe'], raw)}): choose another --out; "
            "the cache keeps the answers, so only what is new is asked"
        )
    elif known["cache"] != str(cache) or bool(known.get("ingested")) != ingested:
        shards.write_json(out / "run.json", mine)
    units = plan(checked, dataset is not None, ingested)
    return Run(out, cache, checked, raw, units, dataset, report or (lambda *a: None), lock, ingested)


def go_on(folder: Path, report: Report | None = None) -> Run:
    """The run of a folder, taken again as `open_run` takes it. OutputError when there is none."""
    known = _known(folder)
    dataset = known.get("dataset") and Path(known["dataset"])
    return _open(known["recipe"], folder, Path(known["cache"]), dataset, report)


def reopen(folder: Path, report: Report | None = None) -> Run:
    """The run of a folder as it was opened, for its child or for looking at it; takes no lock."""
    known = _known(folder)
    dataset = known.get("dataset") and Path(known["dataset"])
    recipe = load.checked(known["recipe"], given=("samples", "pairs") if dataset else ())
    return Run(
        folder.absolute(),
        Path(known["cache"]),
        recipe,
        known["recipe"],
        plan(recipe, bool(dataset), bool(known.get("ingested"))),
        dataset,
        report or (lambda *a: None),
        ingested=bool(known.get("ingested")),
    )


def _known(folder: Path) -> dict:
    known = shards.read_json(folder / "run.json")
    if known is None:
        raise OutputError(f"{folder} is not the folder of a run: name the --out of a `pairwright build`")
    return known


def _take(folder: Path):
    """One run a folder at a time. A child holds the lock too, so a run started again waits until its orphan is gone."""
    lock = (folder / ".lock").open("w")
    for _ in range(100):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.1)
        else:
            os.set_inheritable(lock.fileno(), True)
            return lock
    lock.close()
    raise OutputError(f"{folder} is in use by another run: wait for it, or choose another --out")


def _difference(old: Any, new: Any, where: str = "") -> str:
    """The first place at which two documents differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *new]:
            if old.get(key) != new.get(key):
                return _difference(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, (a, b) in enumerate(zip(old, new, strict=True), 1):
            if a != b:
                return _difference(a, b, f"{where} {place}")
    return f"{where}: {_short(old)} there, {_short(new)} now"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."


# what the command line and the flows offer beside `build` -------------------------------------------------------------


def everything(run: Run) -> Iterator[Unit]:
    """Does all units of a run in order, yielding each when it is finished."""
    for unit in run.units:
        run.do(unit)
        yield unit


def train_dataset(dataset: Path, out: Path, settings: Sequence[str] = (), *, model: str = "data/models/tiny",
                  cache: Path = Path("data/cache"), report: Report | None = None) -> dict:  # fmt: skip
    """Trains `model` on an exported dataset (or on the dataset of a run's folder); returns the trainer's report."""
    folder = dataset / "dataset" if (dataset / "run.json").exists() else dataset
    if not any(folder.glob("*/*.parquet")):
        raise OutputError(
            f"{dataset} holds no exported dataset: name the --out of a finished `pairwright build`, or its dataset folder"
        )
    raw = {
        "name": "train",
        "models": {"policy": {"engine": "vllm", "model": model}},
        "steps": [{"train": {"model": "policy", "as": "trained"}}],
    }
    return _single(raw, settings, out, cache, folder.absolute(), report)


def evaluate_model(
    model: str,
    out: Path,
    settings: Sequence[str] = (),
    *,
    cache: Path = Path("data/cache"),
    report: Report | None = None,
) -> dict:
    """Evaluates a model on the held-out scenes; returns the figures."""
    raw = {
        "name": "evaluate",
        "models": {"model": {"engine": "vllm", "model": model}},
        "steps": [{"evaluate.scenes": {"model": "model", "name": "evaluate"}}],
    }
    return _single(raw, settings, out, cache, None, report)


def _single(raw: dict, settings, out: Path, cache: Path, dataset: Path | None, report: Report | None) -> dict:
    for assignment in settings:
        load.override(raw, assignment)
    run = _open(raw, Path(out), Path(cache), dataset, report)
    try:
        for _ in everything(run):
            pass
        return shards.read_json(run.place(run.units[-1]) / "done.json")["result"]
    finally:
        run.close()
