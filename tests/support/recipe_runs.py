"""The sample recipes in tests/recipes as finished runs."""

from pathlib import Path

from flows.reports.summary import finish
from flows.runs import executor
from schemas.arrow import from_batch

RECIPES = Path(__file__).parents[1] / "recipes"


def finished(name: str, settings: list[str], place: Path) -> executor.Run:
    """The run of the recipe `name` in place/name, with its cache in place/cache; it is at its end and closed."""
    run = executor.open_run(str(RECIPES / f"{name}.yaml"), settings, out=place / name, cache=place / "cache")
    for _ in executor.run_all(run):
        pass
    finish(run)
    run.close()
    return run


def rows(run: executor.Run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]
