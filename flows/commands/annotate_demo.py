"""`make annotate-demo`: Label Studio on this machine, with annotators and the questions of a recipe, to try human annotation."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from annotators.label_studio.local import local_server
from flows.reports.summary import finish
from flows.reports.terminal import print_summary, progress_shown
from flows.runs import campaigns, executor
from flows.runs.folder import make_folder
from schemas.disk import place
from schemas.errors import UserError, Waiting

NAMES = ("anna", "ben", "chris")
EVERY = 3.0  # seconds between pulls


def run(
    recipe: str, settings: list[str], out: Path, cache: Path | None, server: Path, port: int, console: Console
) -> None:
    """Starts a server whose data are in the folder `server`, uploads the recipe's questions, prints the logins, and pulls until everyone
    is done or Ctrl-C. Then the build runs to its end. Started again, it continues with the same people and their work. UserError if the
    demo is already running or the server cannot be started."""
    with _alone(server, port):
        console.print("starting Label Studio on this machine (takes a minute the first time) ...")
        with local_server.start(server, port=port) as label_studio:
            os.environ |= {
                "LABEL_STUDIO_URL": label_studio.url,
                "LABEL_STUDIO_API_KEY": label_studio.key,
                "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(label_studio.files),
            }
            console.print("generating the answers to judge (takes a minute or two the first time) ...")
            invited = False
            while not _built(recipe, settings, out, cache, console):
                if not invited:
                    _invite(label_studio, console)
                    invited = True
                _wait(executor.reopen(out), console)
    console.print(
        f"annotator reliability: see [bold]pairwright annotate status {escape(str(out))}[/bold] and the report",
        soft_wrap=True,
    )


@contextmanager
def _alone(server: Path, port: int) -> Generator[None]:
    """Locks the server's folder while the demo runs. The lock file holds the address, for the message to a second demo."""
    server = make_folder(server, "--server")
    with place(server, "--server"):
        note = (server / "demo").open("a+")
    with note:
        try:
            fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note.seek(0)
            raise UserError(
                f"the demo is already running at {note.read().strip()}; stop it with Ctrl-C, or give this one "
                "its own --server, --port and --out"
            ) from None
        note.truncate(0)
        print(f"http://127.0.0.1:{port}", file=note, flush=True)
        yield


def _invite(server: local_server.LocalServer, console: Console) -> None:
    console.print(f"Label Studio is running at [bold]{server.url}[/bold]; log in as one of:")
    table = Table()
    table.add_column("e-mail")
    table.add_column("password")
    for person in local_server.people(server, NAMES).values():
        table.add_row(person.email, person.password)
    console.print(table)
    for line in (
        "1. Open the address, log in, open a project (one for each media type) and press [bold]Label All Tasks[/bold].",
        "2. Continue as another annotator: in a private window, or log out first. docs/annotators.md is their guide.",
        "3. When everything is judged, pairs are made, a model is trained on them, and the report is written.",
        "Ctrl-C stops the server; the same command continues with the same people and their work.",
    ):
        console.print(line, soft_wrap=True)


def _wait(run, console: Console) -> None:
    """Pulls until everyone is done; prints the progress whenever it changes."""
    last = ""
    with console.status("asking Label Studio ...") as status:
        while True:
            campaigns.sync(run, "work")
            done, text = campaigns.progress_line(run)
            if text != last:
                last = text
                status.update(escape(text))
                if not console.is_terminal:
                    console.print(f"  {escape(text)}", soft_wrap=True)
            if done:
                console.print("everyone is done")
                return
            time.sleep(EVERY)


def _built(recipe: str, settings: list[str], out: Path, cache: Path | None, console: Console) -> bool:
    """Builds as far as possible; returns whether the build finished."""
    run = executor.open_run(recipe, settings, out=out, cache=cache)
    try:
        with progress_shown(run, console):
            for _ in executor.run_all(run):
                pass
    except Waiting:
        return False
    finally:
        run.close()
    print_summary(finish(run), run, console)
    return True
