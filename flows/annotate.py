"""Human annotation as a Prefect flow: pulls for a waiting run, asks again where annotators disagree, emits an event when all are done."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.states import Completed, State

from flows.build import described, hide_foreign_errors, load_secrets
from flows.runs import campaigns, executor
from schemas.markdown import plain

DONE = "pairwright.people.done"


@flow
def annotate(out: str) -> State:
    """Syncs the run in folder `out` with the labeling server; does nothing if the run has not asked any annotators yet.

    When everyone is done it emits the event DONE with the run's folder, so that the build can continue: at each pull until a build has
    finished with these annotations, and again if annotations change afterwards. Until people are done it ends as Completed with the name
    Waiting."""
    run = executor.reopen(Path(out))
    if not any(campaigns.asking_steps(run)):
        return Completed(name="Waiting", message="no annotators have been asked yet")
    load_secrets(campaigns.required_secrets(run.recipe))
    with hide_foreign_errors():
        reports = campaigns.sync(run, "work")
    for step, report in reports.items():
        get_run_logger().info("%s: %s", step, dict(report.counts))
        for note in report.notes:
            get_run_logger().warning("%s: %s", step, note)
    found = campaigns.figures(run)
    create_markdown_artifact(
        described(found), key="people", description=f"{plain(run.recipe.name)} in {plain(str(run.folder))}"
    )
    asked, answered = (sum(counts[name] for counts in found.values()) for name in ("asked", "answered"))
    if answered < asked:
        return Completed(name="Waiting", message=f"{answered} of {asked} annotations")
    if campaigns.is_built(run):
        return Completed(message=f"all {asked} annotations, used by a finished build")
    emit_event(
        DONE,
        resource={
            "prefect.resource.id": f"pairwright.people.{run.recipe.name}",
            "prefect.resource.name": run.recipe.name,
        },
        payload={"out": str(run.folder)},
    )
    return Completed(message=f"all {asked} annotations")
