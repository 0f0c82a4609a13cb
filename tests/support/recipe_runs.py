"""Runs brought to their end, and the sample recipes in tests/recipes as such."""

from contextlib import closing
from pathlib import Path

from flows.reports.summary import finish
from flows.runs import executor
from schemas.arrow import from_batch

RECIPES = Path(__file__).parents[1] / "recipes"


def completed(run: executor.Run) -> dict:
    """The summary of a run after all its units; the run is closed, however it ends."""
    with closing(run):
        for _ in executor.run_all(run):
            pass
        return finish(run)


def finished(name: str, settings: list[str], place: Path) -> executor.Run:
    """The run of the recipe `name` in place/name, with its cache in place/cache; it is at its end and closed."""
    run = executor.open_run(str(RECIPES / f"{name}.yaml"), settings, out=place / name, cache=place / "cache")
    completed(run)
    return run


def rows(run: executor.Run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]
