"""What decides that a unit is finished."""

from pathlib import Path

from flows import execute
from flows.shards import write_json

TINY = str(Path(__file__).parents[2] / "data" / "models" / "tiny")


def training_key(out: Path, dataset: Path) -> str:
    """The key of the training on an exported dataset, as a new process sees it."""
    recipe = {
        "name": "train",
        "models": {"policy": {"engine": "vllm", "model": TINY}},
        "steps": [{"train": {"model": "policy", "as": "trained"}}],
    }
    write_json(out / "run.json", {"recipe": recipe, "cache": str(out), "dataset": str(dataset), "version": 1})
    run = execute.reopen(out)
    return run.key(run.units[0])


def test_a_dataset_that_grew_is_trained_on_again_and_one_that_did_not_is_not(tmp_path):
    image = tmp_path / "dataset" / "image"
    image.mkdir(parents=True)
    (image / "train-00000.parquet").write_bytes(b"one night's rows")
    first = training_key(tmp_path, tmp_path / "dataset")
    assert training_key(tmp_path, tmp_path / "dataset") == first
    (image / "train-00000.parquet").write_bytes(b"two nights' rows")
    assert training_key(tmp_path, tmp_path / "dataset") != first
