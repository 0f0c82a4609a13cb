"""`pairwright ingest`: only the sources of a recipe and the prompt makers and filters directly after them, before any model is asked."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.planning.plan import ingesting
from flows.reports.terminal import print_dropped_rows, print_unread
from flows.runs import executor, rejections
from schemas.errors import RecipeError
from schemas.operator import Tables
from schemas.records import MEDIA_KINDS, SAMPLE_KINDS


def ingest(run: executor.Run) -> dict[str, Any]:
    """Runs the ingesting units of a run and returns counts: `samples` and `media` by kind, `bytes` of the media by kind, `rejections` by
    step and reason, `unread` columns by step and file, `seconds`. A later `build` continues from there.

    RecipeError if the recipe does not begin with a source."""
    units = units_of(run)
    if not units:
        raise RecipeError(f"{run.recipe.name} does not begin with a source; add one as its first step")
    for unit in units:
        run.complete(unit)
    done = [run.done(unit) for unit in units]
    unread = {step: files for d in done for step, files in d.get("unread", {}).items()}
    return counts(so_far(run)) | {"unread": unread, "seconds": round(sum(d["seconds"] for d in done), 1)}


def units_of(run: executor.Run) -> list[executor.Unit]:
    """The ingesting units of a run: its first ones, up to the first step that needs more than samples."""
    first = {step.name for step in ingesting(run.recipe.steps)}
    return [u for u in run.units if u.round == 1 and u.steps and first >= {step.name for step in u.steps}]


def so_far(run: executor.Run) -> Tables:
    """The live rows after these units."""
    rest = [u for u in run.units if u.round == 1 and u not in units_of(run)]
    return run.tables(rest[0]) if rest else run.tables(round=1)


def counts(tables: Tables) -> dict[str, Any]:
    """Counts of live samples and media by kind, bytes of media by kind, and rejections by step and reason."""
    samples, media, sizes = Counter(), Counter(), Counter()
    for batch in tables.batches("samples", ["kind"]):
        samples.update(batch.column("kind").to_pylist())
    for batch in tables.batches("media", ["kind", "size"]):
        for kind, size in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            media[kind] += 1
            sizes[kind] += size
    return {
        "samples": {kind: samples[kind] for kind in SAMPLE_KINDS if samples[kind]},
        "media": {kind: media[kind] for kind in MEDIA_KINDS if media[kind]},
        "bytes": {kind: sizes[kind] for kind in MEDIA_KINDS if sizes[kind]},
        "rejections": rejections.in_tables(tables),
    }


def show(run: executor.Run, found: dict[str, Any], console: Console) -> None:
    """Prints what was accepted, in a table, and what was rejected, by reason and by row."""
    table = Table(title=f"{run.recipe.name}: ingested in {found['seconds']} s", title_justify="left")
    kinds = [kind for kind in SAMPLE_KINDS if kind in found["samples"] or kind in found["media"]]
    for name in ("", *kinds, "all"):
        table.add_column(name, justify="right" if name else "left")
    for name in ("samples", "media", "bytes"):
        table.add_row(name, *(f"{found[name].get(k, 0):,}" for k in kinds), f"{sum(found[name].values()):,}")
    console.print(table)
    for line in rejections.lines(found["rejections"]):
        console.print(f"  {escape(line)}", soft_wrap=True)
    print_dropped_rows(so_far(run), console)
    print_unread(found["unread"], console)
    console.print(f"`pairwright build` with the same recipe and --out {escape(str(run.folder))} continues from here")
