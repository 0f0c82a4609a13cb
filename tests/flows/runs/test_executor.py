"""What decides that a unit is finished, and which recipe a folder takes."""

import json
from pathlib import Path

import pytest

from flows.commands.estimate import estimate
from flows.runs import executor
from flows.runs.shards import write_json
from schemas.errors import EngineError, OutputError
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

TINY = str(Path(__file__).parents[3] / "data" / "models" / "tiny")


def training_key(out: Path, dataset: Path) -> str:
    """The key of the training on an exported dataset, as a new process sees it."""
    recipe = {
        "name": "train",
        "models": {"policy": {"engine": "vllm", "model": TINY}},
        "steps": [{"train": {"model": "policy", "as": "trained"}}],
    }
    write_json(out / "run.json", {"recipe": recipe, "cache": str(out), "dataset": str(dataset), "version": 1})
    run = executor.reopen(out)
    return run.key(run.units[0])


def test_a_dataset_that_grew_is_trained_on_again_and_one_that_did_not_is_not(tmp_path):
    image = tmp_path / "dataset" / "image"
    image.mkdir(parents=True)
    (image / "train-00000.parquet").write_bytes(b"one night's rows")
    first = training_key(tmp_path, tmp_path / "dataset")
    assert training_key(tmp_path, tmp_path / "dataset") == first
    (image / "train-00000.parquet").write_bytes(b"two nights' rows")
    assert training_key(tmp_path, tmp_path / "dataset") != first


def test_progress_has_a_total_only_if_every_source_knows_its_number(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"prompt": f"what is {n} ?"}) + "\n" for n in range(3)))
    scenes, rows = {"source.scenes": {"n": 4}}, {"source.rows": {"path": str(tmp_path / "rows.jsonl")}}
    for sources, end in (([scenes], (4, 4)), ([rows], (3, None)), ([scenes, rows], (7, None))):
        told, recipe = [], tmp_path / f"{end[0]}.yaml"
        recipe.write_text(json.dumps({"name": "r", "models": {}, "steps": sources}))
        report = lambda unit, done, total, text, used, told=told: told.append((done, total))
        completed(executor.open_run(str(recipe), out=tmp_path / str(end[0]), cache=tmp_path / "cache", report=report))
        assert told[-1] == end


def test_a_run_keeps_its_cache_whatever_is_said_until_that_is_gone(tmp_path):
    out, kept, other = (tmp_path / name for name in ("out", "kept", "other"))
    out.mkdir()
    kept.mkdir()
    assert executor.cache_of(out) == executor.CACHE.absolute()
    assert executor.cache_of(out, other) == other
    write_json(out / "run.json", {"recipe": {}, "version": 2, "cache": str(kept)})
    assert executor.cache_of(out) == executor.cache_of(out, kept) == kept
    (tmp_path / "link").symlink_to(kept)
    assert executor.cache_of(out, tmp_path / "link") == kept
    with pytest.raises(OutputError, match=f"in {kept}, not in {other}; omit --cache, or move them"):
        executor.cache_of(out, other)
    kept.rename(other)
    assert executor.cache_of(out, other) == other
    assert executor.cache_of(out) == kept  # made again there


def test_a_corrected_recipe_goes_on_where_nothing_was_made(tmp_path):
    """First the server is wrong, then every row; what is made at last is guarded as ever."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": " ", "question": f"what is {n} ?"}) + "\n" for n in range(3)))

    def recipe(url: str, column: str, name: str = "mine") -> dict:
        return {
            "name": name,
            "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url}},
            "steps": [
                {"source.rows": {"path": str(rows), "columns": {"prompt": column}}},
                {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
            ],
        }

    def build(raw: dict) -> dict:
        return completed(executor.open_document(raw, out=tmp_path / "out", cache=tmp_path / "cache"))

    with served(Endpoint()) as url:
        with pytest.raises(EngineError, match="no server answers at"):
            build(recipe("http://127.0.0.1:9/v1", "question"))
        assert not build(recipe(url, "prompt"))["samples"]
        with pytest.raises(OutputError, match="name: mine in the run, other now"):
            build(recipe(url, "question", "other"))
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps(recipe(url, "question")))
        assert estimate(path, cache=tmp_path / "cache", out=tmp_path / "out").rows
        assert sum(build(recipe(url, "question"))["candidates"].values()) == 6
        with pytest.raises(OutputError, match="prompt: question in the run, prompt now"):
            build(recipe(url, "prompt"))
