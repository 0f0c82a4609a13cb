"""`pairwright estimate`: what a run will ask, before it asks. Runs the recipe on its real samples, with models that simulate answers.

Sources, filters and all other steps do their real work in a temporary folder; the cache is only read."""

import heapq
import shutil
import tempfile
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.commands.dry_run import Observations, SimulatedEngines, examples
from flows.planning import load
from flows.planning.plan import Unit, ingesting, plan
from flows.planning.trainable import check_trained
from flows.runs import costs, executor, rejections, shards
from flows.runs.campaigns import PEOPLE
from flows.runs.engine_host import EngineHost
from flows.runs.folder import disk_errors_translated, make_folder, read_run_note
from pipeline.storage.answer_cache import AnswerCache, Usage, total_usage
from schemas.arrow import from_batch
from schemas.errors import OutputError
from schemas.records import MEDIA_KINDS, Outcome, Reason, Rejection

SAMPLES = 1000  # samples on which the steps are tried
STUB = {"key": "not run", "seconds": 0, "shards": [], "usage": {}}
Say = Callable[[str], None]


class Row(NamedTuple):
    """What a step will request from a model."""

    step: str
    model: str
    usage: dict[str, Any]  # figures of a Usage; seconds is None if no rate is known
    money: dict[str, Any] | None  # `costs.money`, and `most`: the cost if every answer reaches max_tokens


class Estimate(NamedTuple):
    """What a run will request. `tried` of `samples` samples went through the steps; the rest is extrapolated."""

    name: str
    samples: int
    tried: int
    rows: list[Row]
    notes: list[str]


class Trial(NamedTuple):
    """A recipe being tried."""

    run: executor.Run
    models: SimulatedEngines
    """answers the run's requests"""

    @property
    def incoming(self) -> list[Unit]:
        """The ingesting units of all rounds."""
        first = ingesting(self.run.recipe.steps)
        return [u for u in self.run.units if u.steps and all(step in first for step in u.steps)]


def estimate(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    cache: Path,
    out: Path | None = None,
    samples: int = SAMPLES,
    say: Say = lambda text: None,
) -> Estimate:
    """Estimates what `recipe` will request. No model is asked or loaded, and no answer is added to `cache`; sources are read
    to the end.

    `out`: the run's own folder, if it was started, with the models it has trained. `samples`: the steps are tried on this many, those with
    the smallest ids. RecipeError and InputError as in a build; OutputError if `out` holds a run of another recipe."""
    raw = load.document(recipe, list(settings))
    checked = load.checked(raw)
    check_trained(checked)
    cache = make_folder(cache, "--cache")
    answers = AnswerCache(cache / "answers.sqlite")
    known = Observations(answers.measured(), examples(checked.steps))
    answers.close()
    with disk_errors_translated(cache), tempfile.TemporaryDirectory() as folder, EngineHost(cache) as host:
        place = Path(folder).resolve()
        models = SimulatedEngines(checked, place, known, _begun(out, raw))
        run = executor.Run(
            place, cache, checked, raw, plan(checked, ingested=True), models, ingested=True,
            report=lambda unit, done, total, text, used: say(f"{unit}: {done:,}{f' of {total:,}' if total else ''}"),
        )  # fmt: skip
        return _tried(Trial(run, models), host, samples)


def _begun(out: Path | None, raw: dict) -> Path | None:
    """The folder of the real run, if there is one."""
    if out is None or (run := read_run_note(out, "--out")) is None:
        return None
    if unlike := executor.recipe_difference(run, raw, out):
        raise OutputError(f"{out} holds a run of another recipe ({unlike}); choose another --out, or omit it")
    return out.absolute()


def _tried(trial: Trial, host: EngineHost, samples: int) -> Estimate:
    run, known = trial.run, trial.models.known
    for unit in trial.incoming:
        run.work(unit, host)
    came, tried = _choose(trial, samples)
    rest = [unit for unit in run.units if unit not in trial.incoming]
    _work(run, host, rest)
    if known.found and known.made:  # second pass: simulated answers learn from the cached ones
        known.forget()
        for unit in rest:
            shutil.rmtree(run.unit_folder(unit), ignore_errors=True)
        _work(run, host, rest)
    rows = _rows(trial, came / tried if tried else 1.0)
    return Estimate(run.recipe.name, came, tried, rows, list(_notes(trial, rows, came, tried)))


def _choose(trial: Trial, samples: int) -> tuple[int, int]:
    """(samples that came in, samples that are tried): those with the smallest ids, which are digests and so a random choice."""
    run, incoming = trial.run, trial.incoming
    if not incoming:
        return 0, 0
    after = next((u for u in run.units if u not in incoming), None)
    tables = run.tables(after)
    came = sum(batch.num_rows for batch in tables.batches("samples", ["id"]))
    first = heapq.nsmallest(
        samples, (name for batch in tables.batches("samples", ["id"]) for name in batch["id"].to_pylist())
    )
    for number, batch in enumerate(tables.batches("samples", ["id"]) if came > samples else ()):
        gone = [name for name in batch["id"].to_pylist() if name > first[-1]]
        run.left_out.append(run.folder / f"dropped-{number}.arrow")
        rows = [Rejection(name, "samples", "estimate", Reason.NOT_SAMPLED, "", name) for name in gone]
        shards.write_table(run.left_out[-1], "rejections", rows)
    kinds: Tally[str] = Tally()
    for batch in run.tables(after).batches("samples"):
        for row in from_batch("samples", batch):
            trial.models.known.sample(row)
            kinds[row.kind] += 1
    check_trained(run.recipe, kinds)
    return came, len(first)


def _work(run: executor.Run, host: EngineHost, units: list[Unit]) -> None:
    """Runs the units up to training. After human annotation only steps that read no rows are run."""
    waits = False
    for unit in units:
        waits = waits or asks_people(unit)
        blind = not any(step.module.READS for step in unit.steps)
        if unit.kind == "dataset" or unit.steps[0].family == "train" or (waits and not blind):
            run.unit_folder(unit).mkdir(parents=True, exist_ok=True)
            shards.write_json(run.unit_folder(unit) / "done.json", STUB)
        else:
            run.work(unit, host)


def asks_people(unit: Unit) -> bool:
    """Whether the unit contains a judge.people step."""
    return any(step.title == PEOPLE for step in unit.steps)


def _rows(trial: Trial, scale: float) -> list[Row]:
    """What each step requests from each model, extrapolated to all samples."""
    run, incoming = trial.run, trial.incoming
    found: dict[tuple[str, str], Usage] = {}
    for unit in run.units:
        whole = unit in incoming or not any(step.module.READS for step in unit.steps)
        for step, models in shards.read_json(run.unit_folder(unit) / "done.json")["usage"].items():
            for model, figures in models.items():
                sums = found.setdefault((step, model), Usage())
                sums.add(Usage(**{name: value * (1 if whole else scale) for name, value in figures.items()}))
    order = [step.name for step in run.recipe.steps]
    several = sorted(found.items(), key=lambda item: order.index(item[0][0]))
    return [_row(trial, step, model, usage) for (step, model), usage in several]


def _row(trial: Trial, step: str, model: str, usage: Usage) -> Row:
    figures = {name: round(value, 3) if name == "seconds" else round(value) for name, value in usage.figures().items()}
    price = trial.run.recipe.prices.get(model)
    money = None
    if price:
        most = costs.cost({**figures, "answer_tokens": figures["most_answer_tokens"]}, price)["spent"]
        money = {**costs.cost(figures, price), "most": most}
    models = trial.models
    if any(m.like in models.known.unmeasured for (name, _), m in models.loaded.items() if name == model):
        figures["seconds"] = None
    return Row(step, model, figures, money)


def _notes(trial: Trial, rows: list[Row], came: int, tried: int) -> Iterator[str]:
    """Caveats about the figures."""
    run, known = trial.run, trial.models.known
    if tried < came:
        yield f"{tried:,} of {came:,} samples were tried, chosen by their ids; the figures are extrapolated"
    asked = {row.model for row in rows if row.usage["asked"]}
    notes: defaultdict[str, list[str]] = defaultdict(list)
    for name, model in {name: model for (name, _), model in trial.models.loaded.items() if name in asked}.items():
        takes = [f"{kind} {tokens:.0f}" for kind in MEDIA_KINDS if (tokens := known.media_tokens(model, kind))]
        media = f"media as in cached answers ({', '.join(takes)})" if takes else "media are NOT counted"
        notes[f"input tokens by {model.counter.how}, {media}"].append(name)
        if model.like in known.guessed:
            notes["output tokens are a guess, a quarter of max_tokens: the cache holds no such answer"].append(name)
        if model.like in known.unmeasured:
            notes["the time is unknown: the cache holds no such request"].append(name)
    for text, names in notes.items():
        yield f"{', '.join(names)}: {text}"
    for step in _unread(trial):
        yield f"{step}: most simulated answers could not be parsed; it may send fewer requests, and later steps more"
    if any(asks_people(unit) for unit in run.units):
        yield "steps after human annotation are not included in the estimate"
    if any(step.family == "train" for step in run.recipe.steps):
        yield "training sends no requests; its time is not included"


def _unread(trial: Trial) -> list[str]:
    """Steps that could parse less than half of the simulated answers."""
    if not trial.models.known.made or not trial.incoming:
        return []
    tables = trial.run.tables(round=1)
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
    """Prints the figures as a table, and the notes."""
    table = Table(
        title=f"estimate for {escape(found.name)}, {found.samples:,} samples", title_justify="left", box=SIMPLE_HEAD,
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
        whole = total_usage([{**row.usage, "seconds": row.usage["seconds"] or 0} for row in found.rows]).figures()
        if any(row.usage["seconds"] is None and row.usage["asked"] for row in found.rows):
            whole["seconds"] = None
        table.add_row("all", "", *_cells(whole), *_money(found.rows, currencies))
    console.print(table)
    if found.rows and not any(row.usage["asked"] for row in found.rows):
        console.print("  every answer is cached; nothing will be requested")
    for note in found.notes:
        console.print(f"  {escape(note)}", soft_wrap=True)


def _cells(usage: dict[str, Any]) -> list[str]:
    tokens = [costs.compact_amount(usage[key]) for key in ("prompt_tokens", "answer_tokens", "most_answer_tokens")]
    seconds = usage["seconds"]
    time = "?" if seconds is None and usage["asked"] else str(timedelta(seconds=round(seconds or 0)))
    return [f"{usage['asked']:,}", f"{usage['cached']:,}", *tokens, time]


def _money(rows: list[Row], currencies: list[str]) -> list[str]:
    """The expected and the highest cost, in each currency; empty if no price is known."""
    found = [row.money for row in rows if row.money]
    if not found:
        return []
    sums = [[sum(m[key] for m in found if m["currency"] == name) for name in currencies] for key in ("spent", "most")]
    return [" + ".join(map(costs.amount, currency_sums)) for currency_sums in sums]
