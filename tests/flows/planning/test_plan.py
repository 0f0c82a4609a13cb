"""Which steps share a pass, and that no step runs before what it needs."""

import asyncio
import inspect
import re
from types import SimpleNamespace

import pytest

from flows.planning import load, registry
from flows.planning.bind import Bound
from flows.planning.plan import MOVE, plan
from flows.runs import executor, shards
from flows.runs.stream import Pass, Resources, from_tables
from pipeline.engines.local import device
from pipeline.storage.answer_cache import AnswerCache
from pipeline.storage.media_store import open_store
from schemas import messages, records
from schemas.arrow import TABLES
from schemas.operator import OperatorSettings
from schemas.recipe import Step
from schemas.records import SAMPLE_KINDS, Outcome

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


MOVING = [(family, name) for family in MOVE for name in registry.names(f"{registry.HOME[family]}.{family}")]


@pytest.mark.parametrize(("family", "name"), MOVING)
def test_makers_and_judges_name_every_table_they_look_at(family, name):
    module = registry.operator(family, name)
    looked = set(re.findall(rf"\b(?:rows|seen)\.({'|'.join(TABLES)})\b", inspect.getsource(module)))
    assert looked - {*module.READS, *getattr(module, "SEES", ())} == set() or hasattr(module, "reads")


# what was decided stays


def test_a_run_keeps_its_passes_on_another_machine_while_they_fit(tmp_path, monkeypatch):
    models = {"a": A, "b": A | {"slots": 9}}
    raw = {"name": "r", "models": models, "steps": [SOURCE, make("a"), make("b"), judge("a")]}

    def opened() -> list[str]:
        run = executor.open_document(raw, out=tmp_path / "out", cache=tmp_path / "cache")
        run.close()
        return [u.name for u in run.units]

    together, apart = ["pass0-judge_a"], ["pass0-make_a", "pass1-make_b", "pass2-judge_a"]
    assert opened() == together
    with monkeypatch.context() as little:
        little.setattr(device, "MOST_OF_MACHINE", 0)
        assert [u.name for u in executor.reopen(tmp_path / "out").units] == together  # looking at it needs no memory
        assert opened() == apart
    assert [u.name for u in executor.reopen(tmp_path / "out").units] == apart
    assert opened() == apart


# rows stand in the order of the recipe


ORDER = ["source", "early", "late", "last"]


def slip(sample: str, step: str):
    return records.judgement(sample, step, "candidate", ("c",), "truth", records.Finding(Outcome.VERDICT, 1.0))


@pytest.fixture
def passes_in_another_order(tmp_path):
    """Two samples and, behind them, a pass of the step `late`."""
    samples = [records.sample((messages.user(text),)) for text in ("one", "two")]
    shards.publish(tmp_path / "0", {"samples": samples}, {})
    shards.publish(tmp_path / "1", {"judgements": [slip(s.id, "late") for s in samples]}, {})
    return [s.id for s in samples], [[tmp_path / "0"], [tmp_path / "1"]]


def test_of_a_samples_rows_those_of_earlier_steps_stand_first(passes_in_another_order, tmp_path):
    (one, two), folders = passes_in_another_order
    shards.publish(tmp_path / "2", {"judgements": [slip(one, "early"), slip(two, "early")]}, {})
    tables = shards.RunTables([*folders, [tmp_path / "2"]], [], ORDER)
    found = [(row["sample"], row["step"]) for batch in tables.batches("judgements") for row in batch.to_pylist()]
    assert found == [(one, "early"), (one, "late"), (two, "early"), (two, "late")]


def test_a_step_sees_them_in_that_order_whatever_pass_ran_first(passes_in_another_order, tmp_path):
    _, folders = passes_in_another_order
    seen = []
    early = SimpleNamespace(MEDIA=SAMPLE_KINDS, judge=lambda rows, *_: [slip(rows.sample.id, "early")])
    last = SimpleNamespace(
        MEDIA=SAMPLE_KINDS, judge=lambda rows, *_: seen.append([j.step for j in rows.judgements]) or []
    )
    bound = [
        Bound(
            module, OperatorSettings(), step=Step(name=name, family="judge", operator="rule", settings={}), version="v"
        )
        for name, module in (("early", early), ("last", last))
    ]
    cache = AnswerCache(tmp_path / "answers.sqlite")
    resources = Resources(open_store(tmp_path / "media"), cache, "r", connect=None)
    work = Pass(tmp_path / "pass", bound, resources, lambda *_: None, beside=False, order=ORDER)
    asyncio.run(work.run(from_tables(shards.RunTables(folders, [], ORDER), "key"), None))
    cache.close()
    assert seen == [["early", "late"], ["early", "late"]]
