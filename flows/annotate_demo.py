"""Label Studio on this machine, with annotators and the questions of a recipe: for trying how people judge (`make annotate-demo`)."""

import os
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from annotators.label_studio import local
from flows import execute, people
from flows.progress import bars, ending
from schemas.errors import Waiting

NAMES = ("anna", "ben", "chris")
EVERY = 10.0  # seconds between pulls


def run(recipe: str, settings: list[str], out: Path, cache: Path, server: Path, port: int, once: bool, console: Console) -> None:
    """Starts the server whose data are in the folder `server`, puts the recipe's questions there, says who may log in where, and
    pulls until everybody is done (with `once`, a single time) or Ctrl-C; then the build goes on to its end. Started again it
    finds its people and their work."""
    console.print("starting Label Studio (the first time it takes a minute) ...")
    with local.start(server, port=port) as label_studio:
        os.environ |= {
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.key,
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(label_studio.files),
        }
        _logins(label_studio, console)
        said = ""
        while (waiting := _build(recipe, settings, out, cache, console)) is not None:
            if waiting != said:
                console.print(f"[yellow]waiting[/yellow]: {escape(waiting)}", soft_wrap=True)
                said = waiting
            if once:
                people.show(execute.reopen(out), console)
                return
            time.sleep(EVERY)


def _logins(server: local.LocalServer, console: Console) -> None:
    table = Table(title=f"Label Studio is at {server.url}", title_justify="left")
    table.add_column("log in as")
    table.add_column("password")
    for person in local.people(server, NAMES).values():
        table.add_row(person.email, person.password)
    console.print(table)


def _build(recipe: str, settings: list[str], out: Path, cache: Path, console: Console) -> str | None:
    """Builds as far as can be; what it waits for, None when it came to its end."""
    run = execute.open_run(recipe, settings, out=out, cache=cache)
    try:
        with bars(run, console):
            for _ in execute.everything(run):
                pass
    except Waiting as waiting:
        return str(waiting)
    finally:
        run.close()
    ending(run.finish(), run, console)
    return None
