"""What a recipe trains is looked at before anything runs."""

import pytest

from flows.planning import load
from flows.planning.trainable import check_trained
from flows.runs.executor import _recipe_differs, train_dataset
from pipeline.dataset.write import write
from pipeline.storage.media_store import FolderStore
from schemas.errors import RecipeError
from tests.support import small_run
from tests.support.text_model import make


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return make(tmp_path_factory.mktemp("models") / "text")


def recipe(model, source: dict, **settings) -> dict:
    steps = [source, {"make.sample": {"model": "m", "n": 2}}, {"judge.rule": {}}, {"pair.right_wrong": {}}]
    models = {"m": {"engine": "vllm", "model": str(model)}}
    return {"name": "r", "models": models, "steps": [*steps, {"train.dpo": {"model": "m", **settings}}]}


def test_a_text_only_model_is_taken_for_rows_and_refused_for_scenes(text):
    rows = {"source.rows": {"path": "rows.jsonl"}}
    check_trained(load.checked(recipe(text, rows)))
    check_trained(load.checked(recipe(text, rows)), {"text": 3})
    with pytest.raises(
        RecipeError, match=r"^dpo: .*text reads only text, but 2 of 5 rows show media \(image\); train a multimodal"
    ):
        check_trained(load.checked(recipe(text, rows)), {"text": 3, "image": 2})
    with pytest.raises(RecipeError, match=r"^dpo: .*text reads only text, but source.scenes makes samples with media"):
        check_trained(load.checked(recipe(text, {"source.scenes": {}})))
    check_trained(load.checked(recipe("data/models/tiny", {"source.scenes": {}})))


def test_a_model_without_a_chat_template_is_refused_for_its_step(tmp_path):
    place = make(tmp_path / "base", template=None)
    with pytest.raises(RecipeError, match=r"^dpo: .*base has no chat template; train a model that was tuned to chat"):
        check_trained(load.checked(recipe(place, {"source.rows": {"path": "rows.jsonl"}})))


def test_training_on_a_dataset_with_media_is_refused_before_a_folder_is_made(text, tmp_path):
    media = FolderStore(tmp_path / "media")
    write(small_run.make(media, 8), media, tmp_path / "dataset", {"recipe": "small"})
    with pytest.raises(RecipeError, match=r"^train: .*text reads only text, but (\d+) of \1 rows show media"):
        train_dataset(tmp_path / "dataset", tmp_path / "out", model=str(text))
    assert not (tmp_path / "out").exists()


def test_a_training_continues_with_another_memory(text):
    rows = {"source.rows": {"path": "rows.jsonl"}}
    known = {"recipe": recipe(text, rows)}
    assert _recipe_differs(known, recipe(text, rows, memory=0.5)) == ""
    assert _recipe_differs(known, recipe(text, rows, lr=0.5)) != ""
