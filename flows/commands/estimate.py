"""What a run will ask, before it asks: the recipe is run dry, over samples that really come in, with models that make answers up.

Sources, filters and every other step do their real work in a folder that is thrown away; the cache is only looked up."""

import heapq
import shutil
import tempfile
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.dry_run import DryCache, Known, MadeUp, Model, examples
from flows.planning import load, registry
from flows.planning.plan import Unit, ingesting, plan
from flows.planning.registry import engine_of
from flows.runs import costs, executor, rejections, shards
from flows.runs.campaigns import PEOPLE
from flows.runs.engine_host import Host
from flows.runs.folder import at_work, begun, made
from pipeline.modeling.checkpoint import folder_with, identity
from pipeline.modeling.token_count import FILES, Counter
from pipeline.storage.answer_cache import AnswerCache, Usage, total
from schemas.arrow import from_batch
from schemas.errors import EngineError, OutputError
from schemas.records import MEDIA_KINDS, Outcome, Reason, Rejection

SAMPLES = 1000  # on which the steps are tried
STUB = {"key": "not run", "seconds": 0, "shards": [], "usage": {}}
LOCAL = ("vllm", "hf")  # engines whose `model` is a folder or a name on the Hub, with a tokenizer
Say = Callable[[str], None]


class Row(NamedTuple):
    """What a step will ask a model."""

    step: str
    model: str
    usage: dict[str, Any]  # a Usage's figures; seconds None where no rate is known
    money: dict[str, Any] | None  # `costs.money`, and `most`: what is spent when every answer is as long as it may be


class Estimate(NamedTuple):
    """What a run will ask. `tried` of `samples` samples were run through the steps, and what they asked was extrapolated."""

    name: str
    samples: int
    tried: int
    rows: list[Row]
    notes: list[str]


@dataclass
class DryRun(executor.Run):
    """A run in which no model is loaded."""

    known: Known = field(default_factory=lambda: Known({}))
    trained: Path | None = None
    """folder of the real run, in which models may be that it trained"""
    dropped: list[Path] = field(default_factory=list)
    """rejections of the samples that are not tried"""
    loaded: dict[tuple[str, int], Model] = field(default_factory=dict)

    @property
    def incoming(self) -> list[Unit]:
        """The units by which samples come in, of all rounds."""
        first = ingesting(self.recipe.steps)
        return [u for u in self.units if u.steps and all(step in first for step in u.steps)]

    def answers(self, host: Host) -> DryCache:
        return DryCache(self.cache / "answers.sqlite", self.known)

    def spec(self, name: str, round: int) -> dict[str, Any]:
        spec = super().spec(name, round)
        model = Path(str(spec.get("model")))
        if self.trained and model.is_relative_to(self.folder):
            return {**spec, "model": str(self.trained / model.relative_to(self.folder))}
        return spec

    def identity(self, name: str, round: int) -> str:
        """A model that is still to be trained has its name for an identity, which no cached answer has."""
        model = self.spec(name, round).get("model", "")
        still = name not in self.recipe.models or round > 1
        if still and Path(model).is_absolute() and not Path(model).exists():
            return f"{name} of round {round}, still to be trained"
        return super().identity(name, round)

    def model(self, name: str, round: int) -> Model:
        if (name, round) not in self.loaded:
            spec = self.spec(name, round)
            module, settings = engine_of(spec, name)
            can, media = module.able(settings)
            named = like = self.identity(name, round)
            if not any(sort.model == named for sort in self.known.measured):
                like = self.identity(self.root(name), 1)
            counter = self._counter(self.spec(self.root(name), 1))
            self.loaded[name, round] = Model(named, like, can, media, settings.slots, counter)
        return self.loaded[name, round]

    def root(self, name: str) -> str:
        """The model of the recipe that this one is, or will be trained from."""
        of = {s.binds: s.settings["model"] for s in self.recipe.steps if s.binds}
        while name in of:
            name = of[name]
        return name

    def _counter(self, spec: dict[str, Any]) -> Counter:
        if spec["engine"] not in LOCAL:
            return Counter(None)
        try:
            _, revision = identity(spec["model"], spec.get("revision"))
        except EngineError:
            return Counter(None)
        return Counter(folder_with(FILES, spec["model"], revision))

    async def connect(self, names: list[str], round: int, host: Host) -> dict[str, Any]:
        return {name: MadeUp(self.model(name, round), host.media) for name in names}

    def tables(self, unit: Unit | None = None, round: int | None = None) -> shards.RunTables:
        found = super().tables(unit, round)
        dropped = self.dropped if unit not in self.incoming else []
        return shards.RunTables([folders for folders in found.passes if folders], [*found.filters, *dropped], found.order)


def estimate(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    cache: Path,
    out: Path | None = None,
    samples: int = SAMPLES,
    say: Say = lambda text: None,
) -> Estimate:
    """What `recipe` will ask. No model is asked or loaded, and no answer is added to `cache`; sources are read to their end.

    `out`: the run's own folder, where it was begun, for the models that it trained. `samples`: on so many, drawn by their ids, the steps
    are tried. RecipeError and InputError as in a build; OutputError where `out` holds a run of another recipe."""
    raw = load.document(recipe, list(settings))
    checked = load.checked(raw)
    cache = made(cache, "--cache")
    answers = AnswerCache(cache / "answers.sqlite")
    known = Known(answers.measured(), examples(checked))
    answers.close()
    with at_work(cache), tempfile.TemporaryDirectory() as folder, Host(cache) as host:
        run = DryRun(
            Path(folder).resolve(), cache, checked, raw, plan(checked, ingested=True),
            report=lambda unit, done, total, text, used: say(f"{unit}: {done:,}{f' of {total:,}' if total else ''}"),
            ingested=True, known=known, trained=_begun(out, raw),
        )  # fmt: skip
        return _tried(run, host, samples)


def _begun(out: Path | None, raw: dict) -> Path | None:
    """The folder of the real run, where it is there."""
    if out is None or (run := begun(out, "--out")) is None:
        return None
    if unlike := executor.unlike(run, raw):
        raise OutputError(f"{out} holds a run of another recipe ({unlike}): choose another --out, or leave it out")
    return out.absolute()


def _tried(run: DryRun, host: Host, samples: int) -> Estimate:
    for unit in run.incoming:
        run.work(unit, host)
    came, tried = _choose(run, samples)
    rest = [unit for unit in run.units if unit not in run.incoming]
    _work(run, host, rest)
    if run.known.found and run.known.made:  # answers that are there tell of those that are not
        run.known.forget()
        for unit in rest:
            shutil.rmtree(run.place(unit), ignore_errors=True)
        _work(run, host, rest)
    rows = _rows(run, came / tried if tried else 1.0)
    return Estimate(run.recipe.name, came, tried, rows, list(_notes(run, rows, came, tried)))


def _choose(run: DryRun, samples: int) -> tuple[int, int]:
    """How many samples came in, and how many of them are tried: those whose ids, which are digests, come first."""
    if not run.incoming:
        return 0, 0
    after = next((u for u in run.units if u not in run.incoming), None)
    tables = run.tables(after)
    came = sum(batch.num_rows for batch in tables.batches("samples", ["id"]))
    first = heapq.nsmallest(
        samples, (name for batch in tables.batches("samples", ["id"]) for name in batch["id"].to_pylist())
    )
    for number, batch in enumerate(tables.batches("samples", ["id"]) if came > samples else ()):
        gone = [name for name in batch["id"].to_pylist() if name > first[-1]]
        run.dropped.append(run.folder / f"dropped-{number}.arrow")
        rows = [Rejection(name, "samples", "estimate", Reason.NOT_SAMPLED, "", name) for name in gone]
        shards.write_table(run.dropped[-1], "rejections", rows)
    for batch in run.tables(after).batches("samples"):
        for row in from_batch("samples", batch):
            run.known.sample(row)
    return came, len(first)


def _work(run: DryRun, host: Host, units: list[Unit]) -> None:
    """Runs what asks models, and what leads to it. Behind people only what reads no rows can go on."""
    waits = False
    for unit in units:
        waits = waits or asks_people(unit)
        blind = not any(registry.operator(s.family, s.operator).READS for s in unit.steps)
        if unit.kind == "dataset" or unit.steps[0].family == "train" or (waits and not blind):
            run.place(unit).mkdir(parents=True, exist_ok=True)
            shards.write_json(run.place(unit) / "done.json", STUB)
        else:
            run.work(unit, host)


def asks_people(unit: Unit) -> bool:
    return any((step.family, step.operator) == PEOPLE for step in unit.steps)


def _rows(run: DryRun, scale: float) -> list[Row]:
    """What each step asks each model, over all samples."""
    found: dict[tuple[str, str], Usage] = {}
    for unit in run.units:
        whole = unit in run.incoming or not any(registry.operator(s.family, s.operator).READS for s in unit.steps)
        for step, models in shards.read_json(run.place(unit) / "done.json")["usage"].items():
            for model, figures in models.items():
                sums = found.setdefault((step, model), Usage())
                sums.add(Usage(**{name: value * (1 if whole else scale) for name, value in figures.items()}))
    order = [step.name for step in run.recipe.steps]
    several = sorted(found.items(), key=lambda item: order.index(item[0][0]))
    return [_row(run, step, model, usage) for (step, model), usage in several]


def _row(run: DryRun, step: str, model: str, usage: Usage) -> Row:
    figures = {name: round(value, 3) if name == "seconds" else round(value) for name, value in usage.figures().items()}
    price = run.recipe.prices.get(model)
    money = None
    if price:
        most = costs.money({**figures, "answer_tokens": figures["most_answer_tokens"]}, price)["spent"]
        money = {**costs.money(figures, price), "most": most}
    if any(m.like in run.known.unmeasured for (name, _), m in run.loaded.items() if name == model):
        figures["seconds"] = None
    return Row(step, model, figures, money)


def _notes(run: DryRun, rows: list[Row], came: int, tried: int) -> Iterator[str]:
    """What a reader must know of the figures."""
    known = run.known
    if tried < came:
        yield f"{tried:,} of {came:,} samples were tried, drawn by their ids; the figures are extrapolated"
    asked = {row.model for row in rows if row.usage["asked"]}
    said: defaultdict[str, list[str]] = defaultdict(list)
    for name, model in {name: model for (name, _), model in run.loaded.items() if name in asked}.items():
        takes = [f"{kind} {tokens:.0f}" for kind in MEDIA_KINDS if (tokens := known.media_tokens(model, kind))]
        media = f"media by the answers that are there ({', '.join(takes)})" if takes else "media are NOT counted"
        said[f"tokens in by {model.counter.how}, {media}"].append(name)
        if model.like in known.guessed:
            said["tokens out are a guess, a quarter of max_tokens: no such answer was measured with this cache"].append(
                name
            )
        if model.like in known.unmeasured:
            said["the time cannot be known: nothing of the sort was asked with this cache"].append(name)
    for text, names in said.items():
        yield f"{', '.join(names)}: {text}"
    for step in _unread(run):
        yield f"{step}: made-up answers could mostly not be read: it may ask less, and the steps behind it more"
    if any(asks_people(unit) for unit in run.units):
        yield "what comes behind people hangs on what they will say, and is not in here"
    if any(step.family == "train" for step in run.recipe.steps):
        yield "training asks no model; its time is not in here"


def _unread(run: DryRun) -> list[str]:
    """The steps that could read less than half of what was made up."""
    if not run.known.made or not run.incoming:
        return []
    tables = run.tables(round=1)
    read, unread = Tally(), Tally()
    for batch in tables.batches("judgements", ["step", "outcome"]):
        for step, outcome in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            (unread if outcome == Outcome.UNPARSABLE else read)[step] += 1
    for batch in tables.batches("candidates", ["step"]):
        read.update(batch["step"].to_pylist())
    for step, reasons in rejections.in_tables(tables).items():
        unread[step] += reasons.get(Reason.UNPARSABLE, 0)
    return [step for step, count in unread.items() if count > read[step]]


def show(found: Estimate, console: Console) -> None:
    """The figures in a table, and what to know of them."""
    table = Table(
        title=f"what {escape(found.name)} will ask, of {found.samples:,} samples", title_justify="left", box=SIMPLE_HEAD,
        padding=0,
    )  # fmt: skip
    currencies = list(dict.fromkeys(row.money["currency"] for row in found.rows if row.money))
    money = (" + ".join(currencies), "at most") if currencies else ()
    names = ("step", "model", "asked", "cached", "tokens in", "out", "at most", "time", *money)
    for name in names:
        table.add_column(name, justify="left" if name in names[:2] else "right")
    for row in found.rows:
        table.add_row(escape(row.step), escape(row.model), *_cells(row.usage), *_money([row], currencies))
    if len(found.rows) > 1:
        whole = total([{**row.usage, "seconds": row.usage["seconds"] or 0} for row in found.rows]).figures()
        if any(row.usage["seconds"] is None and row.usage["asked"] for row in found.rows):
            whole["seconds"] = None
        table.add_row("all", "", *_cells(whole), *_money(found.rows, currencies))
    console.print(table)
    if found.rows and not any(row.usage["asked"] for row in found.rows):
        console.print("  every answer is in the cache: nothing will be asked")
    for note in found.notes:
        console.print(f"  {escape(note)}", soft_wrap=True)


def _cells(usage: dict[str, Any]) -> list[str]:
    tokens = [costs.short(usage[key]) for key in ("prompt_tokens", "answer_tokens", "most_answer_tokens")]
    seconds = usage["seconds"]
    time = "?" if seconds is None and usage["asked"] else str(timedelta(seconds=round(seconds or 0)))
    return [f"{usage['asked']:,}", f"{usage['cached']:,}", *tokens, time]


def _money(rows: list[Row], currencies: list[str]) -> list[str]:
    """What is spent, in each currency, and what it may come to at most; nothing where no price is known."""
    found = [row.money for row in rows if row.money]
    if not found:
        return []
    sums = [[sum(m[key] for m in found if m["currency"] == name) for name in currencies] for key in ("spent", "most")]
    return [" + ".join(map(costs.amount, of)) for of in sums]
