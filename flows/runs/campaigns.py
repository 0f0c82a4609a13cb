"""Human annotation in a run: its judge.people steps, their progress, and their sync with the labeling server."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from annotators.measures import annotator_quality
from annotators.people import snapshot
from annotators.people.ledger import Ledger
from annotators.people.progress import Progress, progress
from annotators.people.settings import Settings, campaign_of
from flows.planning.bind import Bound, BoundRecipe
from pipeline.media.portable import portable_file
from pipeline.storage.media_store import open_store
from schemas.disk import error_line
from schemas.errors import OutputError, StoreError

PEOPLE = "judge.people"
NAMED = 20  # quarantined annotations listed one by one


class AskingStep(NamedTuple):
    """A step that asks people, with the folder of its ledger."""

    unit: Any
    step: str
    settings: Settings
    folder: Path


def required_secrets(recipe: BoundRecipe) -> set[str]:
    """The environment variables with secrets that human annotation needs; empty for a recipe without it."""
    steps = [step for step in recipe.steps if step.title == PEOPLE]
    if not steps:
        return set()
    from annotators.label_studio.links import secrets_of

    return {"LABEL_STUDIO_API_KEY"}.union(*(secrets_of(_settings(step).media) for step in steps))


def asking_steps(run) -> Iterator[AskingStep]:
    """The steps of a run, in all rounds, that ask people and have already done so."""
    for unit in run.units:
        for step in unit.steps:
            if step.title == PEOPLE and run.persistent_folder(unit, step).exists():
                yield AskingStep(unit, step.name, _settings(step), run.persistent_folder(unit, step))


def _settings(step: Bound) -> Settings:
    """The settings of a step that asks people."""
    return cast(Settings, step.settings)


def required_steps(run) -> list[AskingStep]:
    """Like `asking_steps`, but OutputError if there are none (yet)."""
    if found := list(asking_steps(run)):
        return found
    if any(step.title == PEOPLE for step in run.recipe.steps):
        raise OutputError(f"{run.folder} has not asked any annotators yet; run `pairwright build` first")
    raise OutputError(f"{run.folder} does not ask annotators; add a judge.people step to its recipe")


@contextlib.contextmanager
def open_ledger(asking: AskingStep) -> Generator[Ledger]:
    """The ledger of a step, closed on exit. StoreError for errors of its SQLite file."""
    ledger = Ledger(asking.folder)
    try:
        yield ledger
    except sqlite3.Error as error:
        raise StoreError(error_line(error, ledger.path)) from error
    finally:
        ledger.close()


def sync(run, what: str, **how) -> dict[str, Any]:
    """Does `what` (work, push, pull, reconcile, doctor) for every step that asks people: {step: Report}. OutputError if there is none."""
    from annotators.label_studio.sync import connect_sync

    out = {}
    with contextlib.closing(open_store(run.cache / "media")) as media:
        for asking in required_steps(run):
            with open_ledger(asking) as ledger, ledger.alone():
                campaign = campaign_of(run.recipe.name, asking.step, asking.settings)
                shown = partial(portable_file, media)
                server = connect_sync(campaign, run.recipe.name, asking.step, asking.settings, ledger, media, shown)
                out[asking.step] = getattr(server, what)(**how)
        media.sync()
    return out


def is_built(run) -> bool:
    """Whether a build has finished with all current annotations. False if annotations have changed since, or the build died."""
    if run.summary() is None:
        return False
    for asking in asking_steps(run):
        with open_ledger(asking) as ledger, ledger.alone():
            now, _ = snapshot.take_snapshot(
                ledger, asking.folder / "snapshots", asking.step, run.bound(asking.unit)[0].version
            )
        if run.done(asking.unit).get("fitted") != now:
            return False
    return True


def progress_line(run) -> tuple[bool, str]:
    """(whether everyone is done, a line with the progress in total and by person)"""
    asked, answered, by = 0, 0, Counter()
    for asking in required_steps(run):
        with open_ledger(asking) as ledger:
            found, names = progress(ledger, asking.settings), ledger.people()
            asked, answered = asked + found.asked, answered + found.answered
            by.update({_name(names, person): n for person, n in ledger.shares().items()})
    text = f"{answered} of {asked} annotations"
    return answered >= asked, f"{text}: {', '.join(f'{name} {n}' for name, n in sorted(by.items()))}" if by else text


def figures(run) -> dict[str, dict]:
    """{step: {asked, answered, states, quarantine: {reason: n}, quality}} of all annotations so far."""
    out = {}
    for asking in asking_steps(run):
        with open_ledger(asking) as ledger:
            found: Progress = progress(ledger, asking.settings)
            reasons = [reason for *_, reason, _ in ledger.problems()]
            out[asking.step] = {
                "task": str(asking.settings.task), "asked": found.asked, "answered": found.answered,
                "states": {str(state): n for state, n in sorted(found.states.items())},
                "quarantine": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
                "quality": annotator_quality.report(ledger, asking.settings),
            }  # fmt: skip
    return out


def show(run, console: Console) -> None:
    """Prints progress and annotator quality; this shows names, which never leave this machine."""
    found = figures(run)
    for asking in required_steps(run):
        with open_ledger(asking) as ledger:
            names, problems = ledger.people(), ledger.problems()
        counts = found[asking.step]
        states = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in counts["states"].items())
        total = f"{counts['answered']} of {counts['asked']} annotations"
        console.print(
            f"[bold]{escape(asking.step)}[/bold] ({counts['task']}): {total}; questions: {states}", soft_wrap=True
        )
        if counts["quality"]:
            _quality(counts["quality"], names, console)
        for annotation, uid, person, reason, detail in problems[:NAMED]:
            why = f"{reason} {detail}".strip()
            text = f"annotation {annotation} by {_name(names, person)} is quarantined: {why} (question {uid})"
            console.print(f"  {escape(text)}", soft_wrap=True)
        if len(problems) > NAMED:
            console.print(f"  and {len(problems) - NAMED} more in quarantine")
    if all(counts["answered"] >= counts["asked"] for counts in found.values()):
        console.print("everyone is done: the same `pairwright build` continues from here")


def _quality(found: dict, names: dict[int, str], console: Console) -> None:
    for axis, a in found["agreement"].items():
        alpha = ", ".join(f"{_decimals(value)} {level}" for level, value in a["alpha"].items())
        console.print(
            f"  {axis}: {a['items']} items judged by two or more, {_share(a['percent'])} of vote pairs agree; alpha {alpha}; "
            f"kappa {_decimals(a['fleiss'])} Fleiss, {_decimals(a['cohen'])} Cohen",
            soft_wrap=True,
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("  who", "votes", "skipped", "agree", "skill", "gold", "left", "repeats", "seconds"):
        table.add_column(name, justify="left" if name == "  who" else "right", no_wrap=True)
    people = {_name(names, int(who.partition(":")[2])): quality for who, quality in found["annotators"].items()}
    for name, p in people.items():
        shares = (
            p["agreement"],
            p["skill"],
            *(value and value["share"] for value in (p["gold"], p["left"], p["repeats"])),
        )
        seconds = "-" if p["seconds"] is None else f"{p['seconds']:.0f}"
        mark = "! " if p["flags"] else "  "
        table.add_row(mark + escape(name), str(p["votes"]), str(p["skipped"]), *map(_share, shares), seconds)
    console.print(table)
    for name, p in people.items():
        for flag in p["flags"]:
            console.print(f"  [yellow]! {escape(name)}: {escape(flag)}[/yellow]", soft_wrap=True)


def _name(names: dict[int, str], person: int) -> str:
    return names.get(person, f"person:{person}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
