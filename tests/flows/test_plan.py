"""Which steps share a pass, and that no step runs before what it needs."""

import inspect
import re

import pytest

from flows import load, plug
from flows.plan import MOVE, plan
from pipeline.engines import device
from schemas.arrow import TABLES

A, B = ({"engine": "vllm", "model": f"data/models/{name}"} for name in ("tiny", "none-of-that-name"))
SOURCE = {"source.scenes": {"n": 4}}


def passes(steps: list, **models) -> list[list[str]]:
    recipe = load.checked({"name": "r", "models": models or {"a": A, "b": B}, "steps": [SOURCE, *steps]})
    return [[s.name for s in u.steps][(not place) :] for place, u in enumerate(plan(recipe)) if u.kind == "pass"]


def make(model: str, **more) -> dict:
    return {"make.sample": {"name": f"make_{model}", "model": model, **more}}


def judge(model: str, kind: str = "claims", **more) -> dict:
    return {f"judge.{kind}": {"name": f"judge_{model}", "model": model, **more}}


def test_models_that_fit_share_a_pass(monkeypatch):
    steps = [make("a"), make("b"), judge("a"), judge("b")]
    models = {"a": A, "b": A | {"slots": 9}}
    assert passes(steps, **models) == [["make_a", "make_b", "judge_a", "judge_b"]]
    monkeypatch.setattr(device, "MOST_OF_MACHINE", 0)
    assert len(passes(steps, **models)) == 3


def test_names_of_one_model_share_a_pass_whatever_its_size():
    assert passes([make("a"), judge("b")], a=B, b=B) == [["make_a", "judge_b"]]


def test_a_judge_waits_for_all_makers_and_then_for_none_but_its_model():
    assert passes([make("a"), make("b"), judge("a"), judge("b")]) == [["make_a"], ["make_b", "judge_b"], ["judge_a"]]


def test_a_judge_of_one_makers_answers_follows_it_at_once():
    steps = [make("a"), make("b"), judge("a", **{"from": "make_a"}), judge("b")]
    assert passes(steps) == [["make_a", "judge_a"], ["make_b", "judge_b"]]


def test_a_step_that_reads_judgements_waits_for_all_judges():
    steps = [make("a"), judge("b"), {"make.continue": {"model": "a", "where": "right"}}]
    assert passes(steps) == [["make_a"], ["judge_b"], ["continue"]]


def test_a_rule_that_looks_at_claims_waits_for_them():
    steps = [make("a"), judge("b"), {"judge.rule": {"name": "truth"}}, judge("a", "pointwise")]
    assert passes(steps) == [["make_a", "judge_a"], ["judge_b", "truth"]]


def test_from_hides_only_the_tables_in_which_those_steps_leave_rows():
    """The rule reads the answers of make_a alone, and the claims of all."""
    steps = [make("a"), judge("b"), {"judge.rule": {"name": "truth", "from": "make_a"}}]
    assert passes(steps) == [["make_a"], ["judge_b", "truth"]]


@pytest.mark.parametrize("between", ["score.refuted_claims", "pair.all_pairs", "filter.licence"])
def test_nothing_moves_over_a_step_that_may_drop_rows_or_weighs_them(between):
    _, _, name = between.rpartition(".")
    step = {between: {"allow": ["mit"]} if name == "licence" else {}}
    steps = [make("a"), judge("a"), judge("b"), step, judge("a", "pointwise", name="last")]
    assert passes(steps) == [["make_a", "judge_a"], ["judge_b", name], ["last"]]


def test_a_maker_does_not_come_before_a_step_that_would_see_its_answers():
    steps = [make("a"), judge("b"), make("a", name="more")]
    assert passes(steps) == [["make_a"], ["judge_b"], ["more"]]


MOVING = [(family, name) for family in MOVE for name in plug.names(f"{plug.HOME[family]}.{family}", plug.VERBS[family])]


@pytest.mark.parametrize(("family", "name"), MOVING)
def test_makers_and_judges_name_every_table_they_look_at(family, name):
    module = plug.operator(family, name)
    looked = set(re.findall(rf"\b(?:rows|seen)\.({'|'.join(TABLES)})\b", inspect.getsource(module)))
    assert looked - {*module.READS, *getattr(module, "SEES", ())} == set() or hasattr(module, "reads")
