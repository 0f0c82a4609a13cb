"""A judge that replies by the place of the answers is named, and no pair is made of its scores alone."""

import io
import json

import pytest
from rich.console import Console

from flows.commands import verify
from flows.planning import load
from flows.reports import terminal
from flows.reports.summary import finish
from flows.runs import executor
from flows.runs.same_replies import records, rejected_pairs
from schemas.errors import RecipeError
from schemas.records import Finding, Outcome, Provenance, judgement, pair
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed
from tests.support.rows import Held, rows_of

PROMPTS = 24


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`run(out, *after, **settings)`: a run in which answers are ranked by a judge that always replies 1 > 2 > 3; settings of its step, and
    the steps after it."""
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What is {i}?"}) + "\n" for i in range(PROMPTS))
    )
    monkeypatch.setattr("tests.support.endpoint.judged", lambda text, seed: "1 > 2 > 3")

    def build(out: str, *after: dict, **settings):
        with served(Endpoint()) as url:
            steps = [
                {"source.rows": {"path": str(tmp_path / "rows.jsonl")}},
                {"make.sample": {"model": "m", "n": 3, "max_tokens": 32}},
                {"judge.listwise": {"model": "m", **settings}},
                *(after or [{"pair.best_worst": {"axis": "rank"}}]),
            ]
            models = {"m": {"engine": "openai", "model": "scripted", "base_url": url}}
            made = executor.open_document(
                {"name": "r", "models": models, "steps": steps}, out=tmp_path / out, cache=tmp_path / "cache"
            )
            completed(made)
            return made, finish(made)

    return build


def test_pairs_of_a_judge_that_ranks_by_place_are_dropped_and_counted_and_it_is_named(run, tmp_path):
    made, summary = run("out")
    assert summary["judges"]["listwise"]["same_reply"] == {
        "n": PROMPTS, "share": 1.0, "reply": "ranks 1, 2, 3 in the order shown", "named": True, "by_place": True
    }  # fmt: skip
    assert summary["pairs"] == {}
    assert summary["rejections"]["best_worst"] == {"same_reply": PROMPTS}
    # every preference, three a prompt, is for the answer shown before the other; all alike, so that each prompt counts once
    assert summary["judges"]["listwise"]["shown_first"]["n"] == 3 * PROMPTS
    assert summary["judges"]["listwise"]["shown_first"]["low"] == pytest.approx(0.862, abs=1e-3)  # 24 / (24 + 1.96^2)
    console = Console(file=io.StringIO(), width=400)
    terminal.print_judge_quality(summary["judges"], console)
    said = "judge listwise: one and the same reply (ranks 1, 2, 3 in the order shown) to 100% of 24 questions; the place of the answers decided"
    assert said in console.file.getvalue()
    assert (
        "judge listwise chose the answer shown first 100% of 72 times (86\u2013100 %; position bias)"
        in console.file.getvalue()
    )
    console = Console(file=io.StringIO(), width=400)
    assert verify.show(tmp_path / "out", verify.verify(tmp_path / "out", lambda text: None), console)
    assert said in console.file.getvalue()
    assert "one and the same reply" in (tmp_path / "out" / "report.html").read_text()
    assert made.finished(next(unit for unit in made.units if unit.kind == "dataset"))


def test_they_stay_if_the_judges_step_says_so(run):
    _, summary = run("kept", same_reply="keep")
    assert summary["pairs"] == {"text": PROMPTS}
    assert "best_worst" not in summary["rejections"]


@pytest.mark.parametrize(
    ("settings", "voters"), [({}, {"pointwise"}), ({"same_reply": "keep"}, {"pointwise", "listwise"})]
)
def test_in_a_jury_it_has_no_vote_beside_another_judge(run, settings, voters):
    jury = {"score.consensus": {"method": "rank_mix", "axis": "rank", "also": ["rating"]}}
    made, _ = run(
        "jury", {"judge.pointwise": {"model": "m"}}, jury, {"pair.best_worst": {"min_margin": 0.5}}, **settings
    )
    judgements = list(records(made.tables(), "judgements"))
    steps = {row.id: row.step for row in judgements}
    assert {steps[name] for row in judgements for name in row.parents} == voters


def test_only_a_judge_that_asks_a_model_can_be_kept():
    source = {"source.pairs": {"path": "x"}}
    with pytest.raises(RecipeError, match="needs a judge that asks a model"):
        load.checked({"name": "r", "steps": [source, {"judge.length": {"same_reply": "keep"}}]})


def test_a_pair_on_which_another_judge_has_a_say_stays():
    rows = rows_of(["one", "two"])
    a, b = rows.candidates

    def said(step: str, *parents: str, axis: str = "rating"):
        return judgement(
            a.sample,
            step,
            "candidate",
            (a.id,),
            axis,
            Finding(Outcome.VERDICT, 1.0, raw="x"),
            Provenance(f"judge of {step}", "v"),
            parents,
        )

    deaf, good = said("deaf"), said("good")
    alone, both = said("jury", deaf.id, axis="score"), said("two", deaf.id, good.id, axis="score")
    pairs = [
        pair(a.sample, step, a, b, judgements=judgements)
        for step, judgements in (
            ("direct", (deaf.id,)),
            ("jury", (alone.id,)),
            ("two", (both.id,)),
            ("source", ()),
            ("lost", ("gone",)),
        )
    ]
    tables = Held(samples=[rows.sample], judgements=[deaf, good, alone, both], pairs=pairs)
    found = list(rejected_pairs(tables, {"deaf": "ranks 1, 2"}))
    assert [(row.step, row.reason, row.detail) for row in found] == [
        (step, "same_reply", "deaf nearly always replied: ranks 1, 2") for step in ("direct", "jury")
    ]
