"""A recipe's models are looked for before anything runs."""

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.planning import load
from flows.planning.model_folders import check_folders
from schemas.errors import RecipeError


def recipe(model: str, **more):
    steps = [
        {"source.scenes": {"n": 4}},
        {"make.sample": {"model": "m", "n": 2}},
        {"judge.rule": {}},
        {"pair.right_wrong": {}},
    ]
    return load.checked({"name": "r", "models": {"m": {"engine": "vllm", "model": model, **more}}, "steps": steps})


@pytest.mark.parametrize("model", ["data/models/none", "/models/big", "./big", "../big", "models/big/", "~/big"])
def test_a_path_that_is_no_folder_is_refused(model):
    with pytest.raises(
        RecipeError, match=rf"^models\.m: the folder {model} does not exist; correct the path; a model on the"
    ):
        check_folders(recipe(model))


@pytest.mark.parametrize("model", ["data/models/tiny", "gpt2", "Qwen/Qwen2.5-VL-3B-Instruct", "o_w-n/a.b_c"])
def test_folders_and_names_on_the_hub_are_taken(model):
    check_folders(recipe(model))


def test_the_model_of_a_server_is_its_own_matter():
    check_folders(recipe("/models/big", engine="openai", base_url="http://127.0.0.1:1/v1"))


@pytest.mark.parametrize("command", [("check",), ("build", "--out", "run")])
def test_the_command_names_the_folder_and_makes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [command[0], "real", *command[1:]])
    assert done.exit_code != 0
    said = " ".join(f"{done.output} {done.exception}".split())
    assert "models.policy: the folder data/models/real does not exist; `make real` sets it up" in said
    assert not list(tmp_path.iterdir())
