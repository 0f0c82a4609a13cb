import pytest

from annotators.measures.judge_quality import Answer
from annotators.measures.right_answers import RightAnswers
from schemas.records import Finding, Outcome, Provenance, judgement


def judged(
    item: str,
    value: float | None,
    rule: str = "rule.number",
    axis: str = "truth",
    outcome=Outcome.VERDICT,
    target="candidate",
):
    return judgement("s", "truth", target, (item,), axis, Finding(outcome, value), Provenance(rule))


def test_right_answers_are_counted_by_rule_step_model_and_media_kind():
    answers = {
        "a": Answer("4", "m", "one"),
        "b": Answer("5", "m", "one"),
        "c": Answer("4", "k", "two"),
        "d": Answer("4", "m", "one"),
    }
    found = RightAnswers()
    found.add("text", answers, [
        judged("a", 0), judged("b", -1), judged("c", 0), judged("a", 0, "rule.regex", "format"),
        judged("d", None, outcome=Outcome.ABSTAIN), judged("d", 0.5, axis="recall"), judged("d", 0, target="claim"), judged("gone", 0),
    ])  # fmt: skip
    found.add("image", answers, [judged("a", -2)])
    groups = {(g["rule"], g["axis"], g["step"], g["model"]): g["shares"] for g in found.report()}
    shares = {key: {kind: (f["n"], f["share"]) for kind, f in of.items()} for key, of in groups.items()}
    assert shares == {
        # of step one, model m: right 1 of 2 on text, 0 of 1 on image
        ("rule.number", "truth", "one", "m"): {"text": (2, 0.5), "image": (1, 0.0), "all": (3, 0.3333)},
        ("rule.number", "truth", "two", "k"): {"text": (1, 1.0), "all": (1, 1.0)},
        ("rule.regex", "format", "one", "m"): {"text": (1, 1.0), "all": (1, 1.0)},
    }
    # Wilson for 1 of 1: low = 1 / (1 + 1.96^2) = 0.2065
    assert groups["rule.regex", "format", "one", "m"]["all"]["low"] == pytest.approx(0.2065, abs=1e-4)
    assert RightAnswers().report() == []


def test_an_answer_that_the_rule_cannot_read_is_not_right_and_one_on_which_it_failed_is_not_counted():
    found = RightAnswers()
    found.add("text", dict.fromkeys("abc", Answer("4 or 5", "m", "one")), [
        judged("a", 0), judged("b", None, outcome=Outcome.UNPARSABLE), judged("c", None, outcome=Outcome.FAILED),
    ])  # fmt: skip
    (group,) = found.report()
    assert (group["shares"]["all"]["n"], group["shares"]["all"]["share"]) == (2, 0.5)
