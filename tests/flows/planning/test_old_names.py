"""Operators that were given another name: recipes may go on using the old one, and what was made under it is kept."""

import copy
import logging

import pytest

from flows.planning import bind, load
from flows.runs import executor
from flows.runs.shards import write_json
from schemas.errors import OutputError

MODELS = {"policy": {"engine": "vllm", "model": "data/models/tiny"}}
DPO = {"model": "policy", "beta": 1, "epochs": 3, "as": "trained"}
GRPO = {"model": "policy", "rewards": ["judge.rule"], "steps": 5, "as": "trained"}
# what a recipe said when `train` was both trainers, and what it says now
SPELLINGS = {
    "dpo": ({"train": {**DPO, "loss": "dpo"}}, {"train.dpo": {"name": "train", **DPO}}),
    "dpo, not said": ({"train": DPO}, {"train.dpo": {"name": "train", **DPO}}),
    "grpo": ({"train": {**GRPO, "loss": "grpo"}}, {"train.grpo": {"name": "train", **GRPO}}),
}


def recipe(step: dict) -> dict:
    return {"name": "r", "models": MODELS, "steps": [{"source.scenes": {"n": 2}}, copy.deepcopy(step)]}


def version(step: dict) -> str:
    """The digest of everything that decides what the training leaves."""
    found = load.checked(recipe(step)).steps[1]
    return bind.version(found, {"policy": "tiny@1"})


@pytest.mark.parametrize("trainer", SPELLINGS)
def test_a_training_under_its_old_name_is_the_same_training(trainer):
    old, new = SPELLINGS[trainer]
    assert version(old) == version(new)


def test_trainings_that_differ_are_two():
    old, _ = SPELLINGS["dpo"]
    other = {"train.dpo": {"name": "train", **DPO, "beta": 2}}
    assert len({version(old), version(other), version(SPELLINGS["grpo"][0])}) == 3


@pytest.mark.parametrize("trainer", SPELLINGS)
def test_a_run_that_was_begun_under_the_old_name_goes_on_under_the_new_one(trainer, tmp_path):
    old, new = map(recipe, SPELLINGS[trainer])
    units = []
    for raw in (old, new, old):
        run = executor.open_document(raw, out=tmp_path / "out", cache=tmp_path / "cache")
        units.append([unit.name for unit in run.units])
        run.close()
    assert units[0] == units[1] == units[2]
    made = tmp_path / "out" / "steps" / "train"
    made.mkdir(parents=True)
    write_json(
        made / "done.json", {"key": "k", "seconds": 1.0, "result": {"steps": 1}}
    )  # a run that made nothing may be corrected
    with pytest.raises(OutputError, match="another recipe"):
        executor.open_document(
            recipe({"train.dpo": {"name": "train", **DPO, "beta": 2}}), out=tmp_path / "out", cache=tmp_path / "cache"
        )


def test_the_old_name_says_the_new_one_in_a_line_and_the_new_one_says_nothing(caplog):
    for old, new in SPELLINGS.values():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load.checked(recipe(old))
            (title,) = new
            assert [r.getMessage() for r in caplog.records] == [
                f"train is now called {title}; the old name still works"
            ]
            caplog.clear()
            load.checked(recipe(new))
            assert caplog.records == []


def test_under_the_old_name_settings_of_the_other_trainer_are_allowed_as_they_were():
    # `train` took what belongs to the other trainer and did nothing with it
    load.checked(recipe({"train": {**DPO, "n": 4}}))
