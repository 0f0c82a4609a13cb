"""Training on an exported dataset as a Prefect flow; its deployment is triggered by the event of a finished dataset."""

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.build import described, hide_foreign_errors
from flows.reports.terminal import reporter
from flows.runs import executor
from schemas.markdown import plain
from schemas.redact import clean


@flow
def train(dataset: str, out: str, model: str = "data/models/tiny", settings: list[str] | None = None) -> None:
    """Trains `model` on the dataset in folder `dataset`, in the run folder `out`; `settings` are train.setting=value overrides."""
    report = reporter(get_run_logger().info)
    with hide_foreign_errors():
        figures = executor.train_dataset(Path(dataset), Path(out), settings or [], model=model, report=report)
    create_markdown_artifact(
        described(figures), key="training", description=clean(f"{plain(model)} on {plain(dataset)}")
    )
