"""`pairwright import`: an existing preference set as a run. It is a recipe with `source.pairs` and nothing else."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from rich.console import Console
from rich.markup import escape

from flows.planning import load
from flows.reports import terminal
from flows.reports.summary import finish
from flows.runs import executor
from flows.runs.folder import check_path
from pipeline.source import pairs
from pipeline.storage.urls import fill_variables
from schemas.errors import InputError
from schemas.redact import clean


def import_set(form: str, path: str, settings: Sequence[str], out: Path, cache: Path | None, console: Console) -> dict:
    """Reads the file or folder of rows at `path` into a run in `out`, and prints what was accepted and rejected; returns the summary.

    `form` is a format or `auto`; `settings` are `pairs.setting=value`. InputError, RecipeError and OutputError as in a build."""
    raw = {
        "name": "import",
        "about": "An existing preference set, imported unchanged.",
        "steps": [{"source.pairs": {"path": path, "format": form}}],
    }
    for assignment in settings:
        load.override(raw, assignment)
    (step,) = load.checked(raw).steps
    found = Counter(
        (f.format, f.why) for f in pairs.detect_formats(cast(pairs.Settings, fill_variables(step.settings)))
    )
    for (name, why), files in found.items():
        what = f"format [bold]{name}[/bold]" if name else "no known format"
        console.print(f"  {files} file{'s' * (files > 1)} of {what}: {escape(clean(why))}", soft_wrap=True)
    check_path(out)
    fresh = not out.exists()
    run = executor.open_document(raw, out=out, cache=cache)
    try:
        with terminal.progress_shown(run, console):
            for _ in executor.run_all(run):
                pass
    except InputError:
        run.close()
        if fresh:  # so that another try, with another format, can use the folder
            shutil.rmtree(out)
        raise
    summary = finish(run)
    terminal.print_summary(summary, run, console)
    for table in pairs.LEAVES[2:]:  # answers and pairs that were rejected though their sample was accepted
        terminal.print_dropped_rows(run.tables(), console, table)
    run.close()
    return summary
