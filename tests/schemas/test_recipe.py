from pathlib import Path

import pytest
import yaml

from flows.planning import load, registry
from flows.runs import executor
from schemas.errors import RecipeError
from schemas.operator import VERBS
from schemas.recipe import STEP_KEYS, override, parse, without_prices

GOOD = """
name: good
models:
  policy: {engine: vllm, model: data/models/tiny}
steps:
  - source.scenes: {n: 4}
  - make.sample: {model: policy}
  - judge.claims: {model: policy}
  - score.refuted_claims
  - pair.best_worst
  - train: {model: policy, as: trained}
  - evaluate.scenes: {name: after, model: trained}
"""


def changed(old: str, new: str) -> dict:
    assert old in GOOD
    return yaml.safe_load(GOOD.replace(old, new))


@pytest.mark.parametrize("path", sorted(Path("flows/recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_bundled_recipe_passes_the_check_and_plans(path):
    recipe = load.checked(load.document(str(path)))
    assert recipe.about
    assert executor.plan(recipe)


def test_the_good_recipe_becomes_three_kinds_of_units():
    units = executor.plan(load.checked(yaml.safe_load(GOOD)))
    assert [(u.name, u.kind, u.child) for u in units] == [
        ("pass0-best_worst", "pass", True), ("dataset", "dataset", False), ("train", "table", True), ("after", "table", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: good", "nam: good", "unknown key 'nam' in the recipe; did you mean 'name'"),
        ("make.sample", "make.smaple", "unknown make operator 'smaple'; did you mean 'sample'"),
        ("make.sample", "mke.sample", "unknown operator family 'mke'; did you mean 'make'"),
        ("{n: 4}", "{m: 4}", "scenes: unknown setting 'm'"),
        ("{n: 4}", "{n: many}", "scenes: n: Input should be a valid integer"),
        ("  - make.sample: {model: policy}\n", "", "claims (judge.claims) needs candidates"),
        (
            "  - score.refuted_claims\n",
            "  - score.refuted_claims: {from: nobody}\n",
            "`from: nobody` is not an earlier step",
        ),
        (
            "  - score.refuted_claims\n",
            "  - score.refuted_claims: {where: rihgt}\n",
            "unknown predicate `where: rihgt`; did you mean 'right'",
        ),
        ("make.sample: {model: policy}", "make.sample: {model: polcy}", "unknown model 'polcy'; did you mean 'policy'"),
        ("make.sample: {model: policy}", "make.sample: {model: trained}", "only a later step trains it"),
        ("engine: vllm", "engine: vlm", "unknown engine 'vlm'; did you mean 'vllm'"),
        (
            "model: data/models/tiny}",
            "model: data/models/tiny, temprature: 1}",
            "models.policy: unknown setting 'temprature'",
        ),
        ("pair.best_worst", "score.refuted_claims", "two steps have the name 'refuted_claims'"),
        ("as: trained", "as: policy", "`as: policy` is already the name of another model"),
        ("source.scenes: {n: 4}", "source.scenes: {n: 4, as: x}", "only a `train` step can have `as: x`"),
        ("source.scenes: {n: 4}", "source.scenes: 4", "step 1 (source.scenes): its settings must be a mapping"),
        ("source.scenes: {n: 4}", "source.scenes: {name: ../x}", "step 1 (source.scenes): name: String should match"),
        ("make.sample: {model: policy}", "make.sample: {model: policy, share: 2}", "less than or equal to 1"),
        ("make.sample: {model: policy}", "make.sample: {model: policy, temperature: .inf}", "a finite number"),
        (
            "judge.claims: {model: policy}",
            "judge.claims: {model: policy, splitter: {}}",
            "claims.splitter: name one operator",
        ),
        (
            "judge.claims: {model: policy}",
            "judge.claims: {model: policy, splitter: {split.model: 4}}",
            "name one operator",
        ),
        (
            "name: good",
            "name: good\nrounds: {n: 2, policy: [trained]}",
            "rounds.policy: Input should be a valid string",
        ),
    ],
)
def test_a_wrong_recipe_is_answered_with_what_is_wrong_and_what_would_be_right(old, new, said):
    with pytest.raises(RecipeError) as error:
        load.checked(changed(old, new))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_are_overridden_by_step_and_by_model():
    raw = yaml.safe_load(GOOD)
    for assignment in ("sample.n=7", "models.policy.model=other", "train.lr=4e-4", "refuted_claims.malformed=-3"):
        load.override(raw, assignment)
    assert raw["steps"][1]["make.sample"]["n"] == 7
    assert raw["models"]["policy"]["model"] == "other"
    assert raw["steps"][5]["train"]["lr"] == 4e-4
    assert raw["steps"][3] == {"score.refuted_claims": {"malformed": -3}}


@pytest.mark.parametrize("assignment", ["sample", "smple.n=7", "models.nobody.model=x", "n=7", "scenes.n.x=7"])
def test_an_override_that_fits_nowhere_is_refused(assignment):
    with pytest.raises(RecipeError):
        load.override(yaml.safe_load(GOOD), assignment)


def test_a_second_model_in_process_begins_another_pass():
    raw = yaml.safe_load(GOOD)
    raw["models"]["judge"] = {"engine": "vllm", "model": "other"}
    raw["steps"][2] = {"judge.claims": {"model": "judge"}}
    kinds = [(u.kind, [s.name for s in u.steps]) for u in executor.plan(load.checked(raw))]
    assert kinds[0] == ("pass", ["scenes", "sample"])
    assert kinds[1] == ("pass", ["claims", "refuted_claims", "best_worst"])


def test_a_model_that_is_trained_twice_has_the_engine_it_began_with():
    raw = yaml.safe_load(GOOD)
    raw["steps"].insert(6, {"train": {"name": "again", "model": "trained", "as": "better"}})
    raw["steps"][7]["evaluate.scenes"]["model"] = "better"
    units = executor.plan(load.checked(raw))
    assert [u.name for u in units if u.child] == ["pass0-best_worst", "train", "again", "after"]


def test_rounds_repeat_the_steps_with_the_trained_policy():
    raw = yaml.safe_load(GOOD) | {"rounds": {"n": 2, "policy": "trained"}}
    names = [u.name for u in executor.plan(load.checked(raw))]
    assert names[:4] == ["round1-pass0-best_worst", "round1-dataset", "round1-train", "round1-after"]
    assert len(names) == 8
    with pytest.raises(RecipeError, match="rounds"):
        load.checked(yaml.safe_load(GOOD) | {"rounds": {"n": 2, "policy": "nobody"}})


@pytest.mark.parametrize("family", VERBS)
def test_no_setting_is_called_what_the_step_itself_understands(family):
    for name in registry.names(f"{registry.HOME[family]}.{family}"):
        assert not set(STEP_KEYS) & registry.operator(family, name).Settings.model_fields.keys()


def priced(price) -> dict:
    return {
        "name": "small",
        "models": {"policy": {"engine": "vllm", "model": "tiny", "price": price}},
        "steps": ["train"],
    }


def test_a_price_is_the_recipes_and_no_setting_of_the_engine():
    recipe = parse(priced({"prompt": 2.5, "answer": 10, "currency": "EUR"}))
    assert recipe.models == {"policy": {"engine": "vllm", "model": "tiny"}}
    assert recipe.prices["policy"].model_dump() == {"prompt": 2.5, "answer": 10, "request": 0, "currency": "EUR"}
    assert without_prices(priced({"prompt": 1})) == without_prices(priced({"answer": 9})) != priced({"prompt": 1})


@pytest.mark.parametrize("price", [{"promt": 1}, {"prompt": -1}, {"prompt": "dear"}, 3, {"prompt": float("nan")}])
def test_a_price_that_is_none_is_refused_in_a_line(price):
    with pytest.raises(RecipeError, match=r"^models.policy.price: .*write it like price: \{prompt: 2.5"):
        parse(priced(price))


def test_a_dataset_holds_portable_media_unless_the_recipe_says_original():
    raw = {"name": "x", "steps": ["make.sample"]}
    assert parse(raw).dataset.media == "portable"
    override(raw, "dataset.media=original", str)
    assert parse(raw).dataset.media == "original"
    with pytest.raises(RecipeError, match=r"dataset\.media: Input should be 'portable' or 'original'"):
        parse({**raw, "dataset": {"media": "small"}})
