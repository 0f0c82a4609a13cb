"""Every figure of a judge or an evaluation is computed, and shown by console, report and card, from one table."""

import io
from contextlib import closing

import numpy as np
import pytest
from rich.console import Console

from annotators.measures.judge_quality import JudgeQuality
from flows.reports import judge_notes, terminal
from flows.reports.html import write_report
from pipeline.dataset.card import write_card
from pipeline.dataset.write import write
from pipeline.evaluate import scenes
from pipeline.storage.media_store import open_store
from schemas import records
from schemas.figures import EVALUATION, JUDGE, ROWS, with_values
from schemas.messages import user
from schemas.records import Finding, Outcome
from tests.support import small_run
from tests.support.small_run import ListTables

TABLES = ListTables({"samples": [records.sample((user("what ?"),))]})
SHARE = {"n": 400, "share": 0.7, "low": 0.65, "high": 0.75}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    with closing(open_store(tmp_path_factory.mktemp("media"))) as store:
        yield store


@pytest.fixture
def summary():
    """Of a run of one prompt whose one judge has every figure."""
    found = small_run.summarised(TABLES)
    worth = JudgeQuality()
    worth.add(
        "text", {}, [records.judgement("s", "judge", "candidate", ("a",), "score", Finding(Outcome.VERDICT, 1.0))]
    )
    found["judges"] = worth.report()
    assert {figure.name for figure in JUDGE} <= found["judges"]["judge"].keys()
    found["judges"]["judge"] |= {figure.name: SHARE for figure in JUDGE}
    return found


def shown(summary: dict, media, folder, by: str) -> str:
    if by == "report":
        return write_report(folder, summary, TABLES, media).read_text()
    if by == "card":
        write(TABLES, media, folder, {})
        return write_card(folder, summary, small_run.RECIPE).read_text()
    console = Console(file=io.StringIO(), width=200)
    terminal.print_judge_quality(summary["judges"], console)
    terminal.print_right_answers(summary, console)
    terminal.print_evaluations(summary, console)
    return console.file.getvalue()


@pytest.mark.parametrize("by", ["console", "report", "card"])
def test_every_figure_of_a_judge_is_shown(summary, media, tmp_path, by):
    page = shown(summary, media, tmp_path, by)
    head = {"console": "{}", "report": "<th>{}</th>", "card": "| {} |"}[by]
    assert [figure.name for figure in JUDGE if head.format(figure.title) not in page] == []


@pytest.mark.parametrize("by", ["console", "report", "card"])
def test_a_figure_that_no_judge_has_is_not_shown(summary, media, tmp_path, by):
    del summary["judges"]["judge"]["own"]  # a summary of an older version
    summary["judges"]["judge"]["consistency"] = None
    page = shown(summary, media, tmp_path, by)
    assert "self-preference" not in page
    assert "self-consistency" not in page


@pytest.mark.parametrize("by", ["console", "report"])
def test_every_figure_of_an_evaluation_is_shown(summary, media, tmp_path, by):
    page = shown(summary, media, tmp_path, by)
    assert [figure.name for figure in EVALUATION if figure.title not in page] == []


@pytest.mark.parametrize("by", ["console", "report"])
def test_an_evaluation_on_rows_has_a_table_of_its_own(summary, media, tmp_path, by):
    found = {name: {"value": 0.625, "low": 0.5, "high": 0.75} for name in ("right", "words", "rating_of_mine")}
    summary["evaluate"] |= {
        f"rows_{role}": {"all": found | {"rows": 64}, "text": found | {"rows": 64}} for role in ("before", "after")
    }
    page = shown(summary, media, tmp_path, by)
    for text in (*(figure.title for figure in ROWS), "rating of mine", "0.625", "64", "rows_after", "hallucination"):
        assert text in page


@pytest.mark.parametrize("by", ["console", "report"])
def test_what_to_know_of_evaluations_is_said_beside_them(summary, media, tmp_path, by):
    at = lambda value: {"value": value, "low": value - 0.02, "high": value + 0.02}
    summary["evaluate"]["before"]["mean"]["recall"], summary["evaluate"]["after"]["mean"]["recall"] = at(0.93), at(0.68)
    summary["evaluate"]["rows"] = {"all": {"right": at(0.5), "rows": 64, "cut_off": 1, "seen": 2}}
    page = shown(summary, media, tmp_path, by)
    for text in (
        "Training helped: hallucinated answers fell from 37.0% to 4.0%",
        "It learnt to say less: answers with a false claim fell by 33.0 points, but recall (0.93 to 0.68,",
        "rows: 1 answer cut off, and judged as they are; raise its max_tokens",
        "rows: 2 rows not held out: prompts of this run too",
    ):
        assert text in page


@pytest.mark.parametrize("by", ["console", "report"])
def test_the_share_of_right_answers_is_shown_with_its_interval(summary, media, tmp_path, by):
    shares = {
        "text": {"n": 300, "share": 0.625, "low": 0.5, "high": 0.75},
        "all": {"n": 400, "share": 0.25, "low": 0.2, "high": 0.3},
    }
    model = "a-model-with-a-very-long-identity@1234567890"
    summary["right"] = [
        {"judge": "truth", "rule": "rule.number", "axis": "truth", "step": "sample", "model": model, "shares": shares}
    ]
    page = shown(summary, media, tmp_path, by)
    numbers = ("0.250 (0.200-0.300)", "400") if by == "console" else ("25.0 %", "(20–30, 400)", "62.5 %")
    for text in ("truth (rule.number)", "sample", "a-model-with-a-very-long-id…", *numbers):
        assert text in page
    del summary["right"]  # of an older version
    assert "truth (rule.number)" not in shown(summary, media, tmp_path, by)


def test_an_evaluation_computes_every_figure():
    # one prompt, 13 sums: one answer with 1 false of 2 claims, recall 0.5, 9 words, not exact; of 4 questions 3 right, tp 1, fp 1, fn 0
    sums = np.array([[1, 1, 1, 2, 0.5, 9, 0, 3, 1, 1, 0, 4, 0]], float)
    computed = dict(zip((figure.name for figure in EVALUATION), scenes._figures(sums)[0], strict=True))
    assert computed == {
        "hallucination": 1, "chair": 0.5, "recall": 0.5, "accuracy": 0, "yes_no_accuracy": 0.75,
        "yes_no_f1": 2 / 3,  # 2 tp / (2 tp + fp + fn)
        "words": 9,
    }  # fmt: skip


def test_of_nothing_no_figure_is_known():
    assert with_values(JUDGE, []) == []
    assert with_values(JUDGE, [{}]) == []


def test_a_judge_whose_replies_cannot_be_parsed_is_named_with_the_command_that_shows_them(summary):
    def said(rate: float | None) -> str:
        summary["judges"]["judge"]["parse_rate"] = rate
        console = Console(file=io.StringIO(), width=200)
        terminal.print_judge_quality(summary["judges"], console)
        return console.file.getvalue()

    assert "only 62% of the replies of judge judge could be parsed" in said(0.62)
    assert "`pairwright read-replies` (docs/judge_quality.md)" in said(0.62)
    assert "read-replies" not in said(0.95)
    assert "read-replies" not in said(None)


def test_people_whose_results_cannot_be_parsed_are_no_replies_of_a_model(summary):
    summary["judges"]["judge"] |= {"parse_rate": 0.0, "annotator": "people"}
    console = Console(file=io.StringIO(), width=200)
    terminal.print_judge_quality(summary["judges"], console)
    assert "only 0% of the replies of people in judge could be parsed" in console.file.getvalue()
    assert "read-replies" not in console.file.getvalue()


def share(n: int, value: float, low: float, high: float) -> dict:
    return {"n": n, "share": value, "low": low, "high": high}


def test_a_bias_is_named_where_both_intervals_say_so_with_its_numbers():
    judge = {"longer": share(60, 0.8, 0.68, 0.88), "longer_truth": share(20, 0.65, 0.43, 0.82)}
    assert list(judge_notes.biases(judge)) == []  # the truth may be as high: its interval reaches .82
    judge["longer_truth"] = share(200, 0.5, 0.43, 0.57)
    assert list(judge_notes.biases(judge)) == [
        "chose the longer answer 80% of 60 times (68\u201388 %); it is better 50% of 200 times (43\u201357 %)"
    ]
    assert list(judge_notes.biases({"shown_first": share(9, 0.78, 0.45, 0.94)})) == []
    later = list(judge_notes.biases({"shown_first": share(39, 0.03, 0.0, 0.13)}))
    assert later == ["chose the answer shown later 97% of 39 times (87\u2013100 %; position bias)"]


def test_a_judge_whose_first_tokens_are_other_words_is_named():
    mass = {"n": 192, "median": 0.14, "lowest": 0.04, "taken": 0.03}
    (line,) = judge_notes.unsure({"pairwise": {"mass": mass}, "claims": {"mass": mass | {"taken": 1.0}}, "rule": {}})
    assert line.startswith(
        "judge pairwise: the words that it may say had 14% of the first token's probability (median of 192); only 3% of"
    )


def test_the_table_of_judges_fits_80_columns_and_has_those_without_figures(summary):
    full = summary["judges"]["judge"]
    bare = {
        "annotator": "m",
        "judgements": 28,
        "outcomes": {},
        "parse_rate": 0.107,
        "tie_rate": 0.0,
        "agreement_with_truth": {},
        "calibration": None,
    }
    console = Console(file=io.StringIO(), width=80)
    terminal.print_judge_quality({"claims": full, "segments": bare, "pairwise": full, "pointwise": full}, console)
    tables = console.file.getvalue().partition("  judge ")[0]
    assert max(map(len, tables.splitlines())) <= 80
    assert all(f"\u2503 {step}" in " ".join(tables.split()) for step in ("segments", "pairwise", "pointwise"))
    assert "10.7" in tables
    assert "\u2026" not in tables
