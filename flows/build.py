"""A recipe as a Prefect flow, with a task per unit, so that Prefect shows, retries and schedules it."""

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event
from prefect.states import Completed, State

from flows.commands import outgoing
from flows.planning.bind import BoundRecipe
from flows.reports.summary import finish
from flows.reports.terminal import open_lines, reporter
from flows.runs import campaigns, executor
from pipeline.storage.urls import variables
from schemas.errors import PairwrightError, RecipeError, RunError, Waiting
from schemas.markdown import plain

FINISHED = "pairwright.dataset.finished"
ASKED = ("asked", "cached", "failed", "prompt_tokens", "answer_tokens", "seconds", "spent", "saved", "currency")


@flow(log_prints=False)
def build(out: str, recipe: str | None = None, cache: str | None = None, settings: list[str] | None = None) -> State:
    """Builds `recipe` in the folder `out`, or continues there; `settings` are STEP.setting=value overrides. Without a recipe it continues
    with the one that `out` was started with.

    Creates a summary artifact and, if a dataset was made, emits the event FINISHED with its folder. If annotators are not done, it ends as
    Completed with the name Waiting."""
    report = reporter(get_run_logger().info)
    if recipe is None:
        run = executor.resume(Path(out), report)
    else:
        run = executor.open_run(
            recipe, settings or [], out=Path(out), cache=Path(cache) if cache else None, report=report
        )
    try:
        load_secrets(required_variables(run.recipe))
        for line in outgoing.summary_lines(outgoing.disclosures(run.recipe)):
            get_run_logger().info("data leaves this machine for %s", line)
        for unit in run.units:
            settled = task(name=unit.name, retries=2, retry_delay_seconds=5, retry_condition_fn=is_retryable,
                           cache_policy=NO_CACHE, persist_result=False)  # fmt: skip
            if waiting := settled(done_or_waiting)(run, unit):
                return Completed(name="Waiting", message=waiting)
        summary = finish(run)
    finally:
        run.close()
    text = f"{described(summary)}\n\n{asked(summary)}"
    create_markdown_artifact(text, key="summary", description=f"{plain(run.recipe.name)} in {plain(str(run.folder))}")
    emit_finished(run)
    return Completed(message="\n".join(open_lines(summary)) or None)


def done_or_waiting(run: executor.Run, unit: executor.Unit) -> str | None:
    """Completes the unit; returns what it waits for if annotators are not done, which is not a failure."""
    try:
        with hide_foreign_errors():
            run.complete(unit)
    except Waiting as waiting:
        return str(waiting)
    return None


@contextlib.contextmanager
def hide_foreign_errors() -> Generator[None]:
    """Prefect stores exceptions with their causes: inside, only messages of this project, which contain no secrets, are raised."""
    try:
        yield
    except PairwrightError as error:
        raise error from None
    except Exception as error:  # noqa: BLE001
        raise PairwrightError(f"{type(error).__name__}: {error}") from None


def required_variables(recipe: BoundRecipe) -> set[str]:
    """The environment variables a build needs: API keys of models (`api_key_env`), variables in paths, and those needed for human annotation."""
    ends = [end for model in recipe.models.values() for end in (model, *(model.get("endpoints") or ()))]
    models = {end["api_key_env"] for end in ends if end.get("api_key_env")}
    return models.union(campaigns.required_secrets(recipe), *(variables(step.step.settings) for step in recipe.steps))


def load_secrets(needed: set[str]) -> None:
    """Loads keys that are not set into the environment from Secret blocks: A_KEY from the block a-key.

    RecipeError if there is neither variable nor block."""
    for variable in needed - os.environ.keys():
        block = variable.lower().replace("_", "-")
        try:
            secret = Secret.load(block)
        except ValueError:
            raise RecipeError(f"{variable} is not set; export it, or create a Secret block {block}") from None
        os.environ[variable] = secret.get()  # ty: ignore[missing-union-attribute]  # `load` is synchronous here, which the type stub does not express


def is_retryable(task, task_run, state) -> bool:
    """Whether a retry of a failed unit may succeed without any change: not if the user's input is wrong."""
    return isinstance(state.result(raise_on_failure=False), RunError)


def described(found: dict) -> str:
    """Figures as a Markdown table; nested names are joined by dots. Leaves out the recipe and the usage by step (see `asked`)."""
    rows = [
        f"| {name} | {_cell(value)} |" for name, value in figures(found) if not name.startswith(("recipe.", "steps."))
    ]
    return "\n".join(["| figure | value |", "|---|---|", *rows])


def asked(summary: dict) -> str:
    """Usage by step and model, as a Markdown table."""
    rows = [
        f"| {plain(step)} | {plain(model)} | {' | '.join(_cell(usage.get(key, '')) for key in ASKED)} |"
        for step, record in summary["steps"].items()
        for model, usage in record["models"].items()
    ]
    head = f"| step | model | {' | '.join(ASKED).replace('_', ' ')} |"
    return "\n".join([head, "|---" * (len(ASKED) + 2) + "|", *rows])


def _cell(value: object) -> str:
    """Numbers unchanged; everything else is escaped, since it may come from a row or a server."""
    return str(value) if isinstance(value, int | float) else plain(str(value))


def figures(tree: dict, above: str = "") -> Iterator[tuple[str, object]]:
    """(dotted name, value) of the leaves. Names are escaped for Markdown, since they may come from a row or a server."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from figures(value, f"{above}{plain(name)}.")
        elif value is not None:
            yield above + plain(name), value


def emit_finished(run: executor.Run) -> None:
    """Emits the event of a finished dataset, so that Prefect can start what depends on it (training)."""
    dataset = run.dataset(run.units[-1].round)
    if dataset.exists():
        name = run.recipe.name
        emit_event(
            FINISHED,
            resource={"prefect.resource.id": f"pairwright.dataset.{name}", "prefect.resource.name": name},
            payload={"dataset": str(dataset), "run": str(run.folder)},
        )
