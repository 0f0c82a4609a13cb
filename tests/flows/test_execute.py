"""What decides that a unit is finished."""

from pathlib import Path

import pytest

from flows import execute
from flows.shards import write_json
from schemas.errors import OutputError

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


def test_a_run_keeps_its_cache_whatever_is_said_until_that_is_gone(tmp_path):
    out, kept, other = (tmp_path / name for name in ("out", "kept", "other"))
    out.mkdir()
    kept.mkdir()
    assert execute.cache_of(out) == execute.CACHE.absolute()
    assert execute.cache_of(out, other) == other
    write_json(out / "run.json", {"recipe": {}, "version": 2, "cache": str(kept)})
    assert execute.cache_of(out) == execute.cache_of(out, kept) == kept
    (tmp_path / "link").symlink_to(kept)
    assert execute.cache_of(out, tmp_path / "link") == kept
    with pytest.raises(OutputError, match=f"in {kept}, not in {other}: leave --cache out, or move them"):
        execute.cache_of(out, other)
    kept.rename(other)
    assert execute.cache_of(out, other) == other
    assert execute.cache_of(out) == kept  # made again there
