"""`pairwright show`: what happened in a run, finished or not."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.reports.terminal import print_summary, usage_table
from flows.runs import campaigns, costs, executor, rejections, shards
from schemas.errors import DamageError


def show(folder: Path) -> None:
    """Prints the units of the run and their state; for a finished run its counts and figures, otherwise the dropped rows so far.

    OutputError if the folder is not a run; DamageError if a file that it reads is damaged."""
    console = Console(highlight=False)
    run = executor.reopen(folder)
    table = Table(title=f"{escape(run.recipe.name)} in {escape(str(folder))}", title_justify="left")
    for name in ("unit", "steps", "state", "seconds"):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    dropped: list[rejections.Reasons] = []
    usages: list[costs.Usages] = []
    for unit in run.units:
        done = shards.read_json(run.unit_folder(unit) / "done.json")
        place = run.unit_folder(unit)
        if unit.kind == "pass":
            records = [shards.record_of(place / name) for name in shards.published_shards(place)]
        else:
            records = [done] if done else []
        dropped += [record.get("rejections", {}) for record in records]
        usages += [
            costs.usage_of_shard(record) if unit.kind == "pass" else record.get("usage", {}) for record in records
        ]
        state = "finished" if done else f"{len(records)} shards so far" if records else "not started"
        steps = " · ".join(step.title for step in unit.steps)
        table.add_row(unit.name, escape(steps), state, f"{done['seconds']:.1f}" if done else "")
    console.print(table)
    summary = run.summary()
    if summary is not None:
        print_summary(summary, run, console)
        for unit in run.units:
            if unit.kind == "dataset" and (what := next(run.damages(unit, quick=True), None)):
                raise DamageError(f"the dataset {run.dataset(unit.round)} is damaged ({what}); {shards.REMEDY}")
        return
    if models := costs.by_model(costs.by_step(usages)):
        console.print(usage_table(costs.priced(models, run.recipe.prices), "model usage so far"))
        if left := sum(usage["open"] for usage in models.values()):
            console.print(f"  [yellow]open: {left:,} requests; the same `pairwright build` sends them again[/yellow]")
    for step, found in campaigns.figures(run).items():
        console.print(
            f"  {escape(step)}: {found['answered']} of {found['asked']} annotations (`pairwright annotate status`)"
        )
    for line in rejections.lines(rejections.sum_counts(dropped)):
        console.print(f"  {escape(line)}", soft_wrap=True)
    console.print("not finished: the same `pairwright build` continues from here")
