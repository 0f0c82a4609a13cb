"""`pairwright judge-bench`: benchmarks a judge on labelled preference data.

It builds a recipe on the fly: `source.pairs` reads the set, followed by the judge's own step and what that needs. So answers are
cached, media are checked and bad rows are rejections as in any run."""

import shutil
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from annotators.measures.judge_benchmark import JudgeBenchmark
from annotators.measures.judge_quality import Answer
from flows.planning import load
from flows.planning.bind import Bound, bound_step
from flows.reports import terminal
from flows.reports.summary import grouped_by_sample, records
from flows.runs import executor, shards
from flows.runs.folder import check_path
from schemas import recipe as recipes
from schemas import redact
from schemas.errors import InputError, RecipeError
from schemas.recipe import Step
from schemas.text import did_you_mean

SOURCE = "bench"
RESULT = "judge-bench.json"
SCORE = "score.refuted_claims"  # the score for a judge of claims if the recipe has none
MEASURED = ("accuracy", "longer")  # shown with their intervals
COLUMNS = {
    "accuracy": "accuracy", "longer": "longer wins", "accuracy_plus": "ACC+", "accuracy_with_ties": "with ties", "decided": "decided",
    "read": "read", "rank_distance": "distance",
}  # fmt: skip
SAME = (
    "accuracy_plus",
    "accuracy_with_ties",
)  # hidden if equal to accuracy: prompts have one pair each, or no ties are known


def judge_bench(
    judge: str, path: str, settings: Sequence[str], step: str | None, out: Path, cache: Path | None, console: Console
) -> dict[str, Any]:
    """Runs the judge on the rows of `path` as a run in `out`, prints the figures, writes them to out/judge-bench.json and returns them.

    `judge` is a recipe, `step` names its judge step; `settings` override the generated recipe, whose source is called `bench`.
    RecipeError if the recipe has no such step; InputError and OutputError as in a build."""
    raw, name = bench_recipe(load.document(judge), path, step)
    for assignment in settings:
        load.override(raw, assignment)
    check_path(out)
    fresh = not out.exists()
    run = executor.open_document(raw, out=out, cache=cache)
    try:
        with terminal.progress_shown(run, console):
            for unit in run.units:
                if unit.kind == "pass":
                    run.complete(unit)
        found = redact.document({"judge": judge, "step": name, "set": path, **_measured(run.tables(), name)})
        shards.write_json(out / RESULT, found)
        show(found, console)
        for table in ("samples", "candidates"):
            terminal.print_dropped_rows(run.tables(), console, table)
        console.print(f"figures  [bold]{escape(str(out / RESULT))}[/bold]")
        return found
    except InputError:
        if fresh:  # so that another try, with another file, can use the folder
            shutil.rmtree(out)
        raise
    finally:
        run.close()


def bench_recipe(raw: dict, path: str, step: str | None = None) -> tuple[dict, str]:
    """(the recipe that runs a judge of the recipe `raw` on the rows of `path`, the name of the step whose verdicts count).

    `step` defaults to the only step that asks a model to judge. For a score, and so for a jury, all judge steps before it are included;
    for a judge of claims, its score. RecipeError if there is no such step, or several and none is named."""
    recipe = recipes.parse(raw)
    entries = [(bound_step(s), entry) for s, entry in zip(recipe.steps, raw["steps"], strict=True) if _judges(s)]
    target = _target([bound for bound, _ in entries], step)
    place = [bound for bound, _ in entries].index(target)
    if target.family == "score":
        taken = entries[: place + 1]
    else:
        taken = [entries[place]]
        if "claims" in target.leaves:
            scores = next((entry for entry in entries[place:] if _counts_claims(entry[0])), None)
            taken.append(scores or (bound_step(recipes.parse({"name": "x", "steps": [SCORE]}).steps[0]), SCORE))
    names = {s.name for s, _ in taken}
    models = {m for s, _ in taken for m in s.models}
    steps = [{"source.pairs": {"name": SOURCE, "path": path}}, *(_alone(entry, names) for _, entry in taken)]
    found = {
        "name": "judge-bench",
        "about": f"{target.name} of {recipe.name}",
        "models": {m: spec for m, spec in recipe.models.items() if m in models},
        "steps": steps,
    }
    return found, taken[-1][0].name


def _target(judging: Sequence[Bound], name: str | None) -> Bound:
    named = {s.name: s for s in judging}
    if name is not None:
        if name not in named:
            raise RecipeError(f"unknown judge step '{name}'; {did_you_mean(name, named)}")
        return named[name]
    asking = [s for s in named.values() if s.family == "judge" and s.models]
    if len(asking) != 1:
        raise RecipeError(
            f"{len(asking)} steps ask a model to judge; choose one with --step: {', '.join(named) or 'none'}"
        )
    return asking[0]


def _judges(step: Step) -> bool:
    """Whether a step can be benchmarked. Not judge.people, which waits, and not judge.probe, which needs the pairs of a run."""
    return step.family in ("judge", "score") and step.title not in ("judge.people", "judge.probe")


def _counts_claims(step: Bound) -> bool:
    return step.family == "score" and "claims" in step.module.READS


def _alone(entry: Any, names: set[str]) -> Any:
    """A step's entry for the rows of the set: without the settings that select samples in its own recipe."""
    if isinstance(entry, str):
        return entry
    ((title, settings),) = entry.items()
    kept = {key: value for key, value in (settings or {}).items() if key not in ("where", "share", "from")}
    sources = (settings or {}).get("from") or []
    if sources := [name for name in ([sources] if isinstance(sources, str) else sources) if name in names]:
        kept["from"] = [SOURCE, *sources]
    return {title: kept}


def _measured(tables, step: str) -> dict[str, Any]:
    bench = JudgeBenchmark(step, SOURCE)
    rows_of = {
        table: grouped_by_sample(records(tables, table), attrgetter("sample"))
        for table in ("candidates", "judgements", "pairs")
    }
    for sample in records(tables, "samples"):
        answers = {c.id: Answer(c.text, c.model) for c in rows_of["candidates"](sample.id)}
        bench.add(sample, answers, rows_of["judgements"](sample.id), rows_of["pairs"](sample.id))
    return bench.report()


def show(found: dict[str, Any], console: Console) -> None:
    """Prints the figures by category, then the judge's biases."""
    categories = found["categories"]
    shown = {
        figure: title for figure, title in COLUMNS.items() if any(figures[figure] for figures in categories.values())
    }
    for figure in SAME:
        if all(figures[figure] == figures["accuracy"] for figures in categories.values()):
            shown.pop(figure, None)
    scores = any(figures["scores"] for figures in categories.values())
    table = Table(title=f"{escape(found['step'])} on {escape(found['set'])} (95 % interval)", title_justify="left")
    for name in ("", "pairs", *shown.values(), *(["Pearson's r"] if scores else [])):
        table.add_column(name, justify="right" if name else "left")
    for name, figures in categories.items():
        row = [_cell(figures[figure], figure in MEASURED) for figure in shown]
        if scores:
            row.append(_cell(figures["scores"], True))
        table.add_row(escape(name), f"{figures['pairs']:,}", *row)
    if found["macro"]["accuracy"] is not None:
        means = {name: "" if value is None else f"{value:.2f}" for name, value in found["macro"].items()}
        table.add_row("mean", "", *(means.get(figure, "") for figure in shown), *([""] if scores else []))
    console.print(table)
    if found["worth"]:
        terminal.print_judge_quality({found["step"]: found["worth"]}, console)


def _cell(figure: dict[str, Any] | None, measured: bool) -> str:
    if not figure:
        return ""
    value = figure["r"] if "r" in figure else figure["share"]
    return f"{value:.2f} [dim]({figure['low']:.2f}-{figure['high']:.2f})[/dim]" if measured else f"{value:.2f}"
