"""What happened in a run, finished or not, on a terminal."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows import execute, shards
from flows.progress import ending


def show(folder: Path) -> None:
    """The units of the run and how far each is, then the counts and figures of a finished one."""
    console = Console(highlight=False)
    run = execute.reopen(folder)
    table = Table(title=f"{run.recipe.name} in {folder}", title_justify="left")
    for name in ("unit", "steps", "state", "seconds"):
        table.add_column(name)
    for unit in run.units:
        done = shards.read_json(run.place(unit) / "done.json")
        parts = [p for p in run.place(unit).glob("[0-9]*") if p.is_dir()] if unit.kind == "pass" else []
        state = "finished" if done else f"{len(parts)} shards so far" if parts else "not begun"
        table.add_row(
            unit.name, " · ".join(s.title for s in unit.steps), state, f"{done['seconds']:.1f}" if done else ""
        )
    console.print(table)
    summary = shards.read_json(folder / "summary.json")
    if summary is None:
        console.print("not finished: the same `pairwright build` goes on from here")
    else:
        ending(summary, folder, console)
