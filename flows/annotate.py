"""What people did, as a Prefect flow: pulls for a run that waits, asks once more where they disagree, tells when all are done."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.states import Completed, State

from flows.build import described, in_our_words, take_keys
from flows.runs import campaigns, executor
from schemas.markdown import plain

DONE = "pairwright.people.done"


@flow
def annotate(out: str) -> State:
    """Syncs the run in folder `out` with the labeling server; a run that has asked nobody yet is left alone.

    Where everybody is done it sends the event DONE with the run's folder, so that the build can go on: at each pull until a build
    came to its end with what they said, and again when they say something else afterwards. Until they are done it ends as
    Completed, named Waiting."""
    run = executor.reopen(Path(out))
    if not any(campaigns.asking_steps(run)):
        return Completed(name="Waiting", message="nobody was asked yet")
    take_keys(campaigns.keys(run.recipe))
    with in_our_words():
        reports = campaigns.sync(run, "work")
    for step, report in reports.items():
        get_run_logger().info("%s: %s", step, dict(report.counts))
        for note in report.notes:
            get_run_logger().warning("%s: %s", step, note)
    found = campaigns.figures(run)
    create_markdown_artifact(
        described(found), key="people", description=f"{plain(run.recipe.name)} in {plain(str(run.folder))}"
    )
    asked, answered = (sum(of[name] for of in found.values()) for name in ("asked", "answered"))
    if answered < asked:
        return Completed(name="Waiting", message=f"{answered} of {asked} annotations")
    if campaigns.is_built(run):
        return Completed(message=f"all {asked} annotations, and a build has taken them")
    emit_event(
        DONE,
        resource={
            "prefect.resource.id": f"pairwright.people.{run.recipe.name}",
            "prefect.resource.name": run.recipe.name,
        },
        payload={"out": str(run.folder)},
    )
    return Completed(message=f"all {asked} annotations")
