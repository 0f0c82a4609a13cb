"""The sample recipes in tests/recipes as finished runs."""

from pathlib import Path

from flows import execute
from schemas.arrow import from_batch

RECIPES = Path(__file__).parent / "recipes"


def finished(name: str, settings: list[str], place: Path) -> execute.Run:
    """The run of the recipe `name` in place/name, with its cache in place/cache; it is at its end and closed."""
    run = execute.open_run(str(RECIPES / f"{name}.yaml"), settings, out=place / name, cache=place / "cache")
    for _ in execute.everything(run):
        pass
    run.finish()
    run.close()
    return run


def rows(run: execute.Run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]
