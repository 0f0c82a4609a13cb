"""What evaluations before and after training say, with numbers made by hand."""

import pytest

from flows.reports.evaluations import verdicts, warnings


def at(value: float, half: float = 0.02) -> dict:
    return {"value": value, "low": value - half, "high": value + half}


def scenes(hallucination: float, recall: float, words: float) -> dict:
    return {
        "mean": {
            "hallucination": at(hallucination),
            "chair": at(hallucination / 2),
            "recall": at(recall),
            "words": at(words, 0.5),
        }
    }


def rows(**metrics: float) -> dict:
    return {"all": {name: at(value) for name, value in metrics.items()} | {"rows": 100}}


BEFORE = scenes(0.25, 0.93, 14)


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (scenes(0.12, 0.68, 9), [
            "It learnt to say less: answers with a false claim fell by 13.0 points, but recall (0.93 to 0.68, 95 % interval of the difference "
            "-0.29 to -0.21) and words of an answer (14.00 to 9.00, 95 % interval of the difference -6.00 to -4.00) fell."]),
        (scenes(0.12, 0.93, 12.5), [
            "It learnt to say less: answers with a false claim fell by 13.0 points, but words of an answer (14.00 to 12.50, 95 % interval of the "
            "difference -2.50 to -0.50) fell."]),
        (scenes(0.12, 0.98, 12.5), [
            "Its answers became shorter: answers with a false claim fell by 13.0 points, and words of an answer (14.00 to 12.50, 95 % interval of the "
            "difference -2.50 to -0.50) fell; recall rose (0.93 to 0.98)."]),
        (scenes(0.12, 0.90, 13.5), []),  # recall .88 to .92 against .91 to .95, words 13 to 14 against 13.5 to 14.5: within the intervals
        (scenes(0.24, 0.68, 9), []),  # no fewer false claims
        (scenes(0.12, 0.99, 20), []),
    ],
)  # fmt: skip
def test_fewer_false_claims_by_saying_less_are_a_warning_with_numbers(after, said):
    assert warnings({"evaluate": {"before": BEFORE, "after": after}}) == said


def test_a_paired_difference_decides_where_the_run_has_one():
    evaluate = {"before": BEFORE, "after": scenes(0.12, 0.90, 13.5)}
    recall = {"value": -0.03, "low": -0.05, "high": -0.01}
    assert "recall (0.93 to 0.90, 95 % interval of the difference -0.05 to -0.01) fell" in warnings(
        {"evaluate": evaluate, "differences": {"after": {"recall": recall}}}
    )[0]  # fmt: skip
    even = {"value": -0.13, "low": -0.3, "high": 0.04}
    (told,) = verdicts({"evaluate": evaluate, "differences": {"after": {"hallucination": even}}})
    assert told == (
        "Training did not help measurably: hallucinated answers went from 25.0% to 12.0% (95 % interval of the difference -30.0 to +4.0 points)."
    )


def test_answers_that_rules_call_right_because_they_say_less_are_a_warning_too():
    evaluate = {"before": rows(right=0.6, recall=0.9, words=9), "after": rows(right=0.8, recall=0.7, words=5)}
    assert warnings({"evaluate": evaluate})[0].startswith(
        "It learnt to say less: right answers rose by 20.0 points, but recall (0.90 to 0.70,"
    )
    shorter = {
        "before": rows(right=0.6, words=9),
        "after": rows(right=0.8, words=5),
    }  # a short answer that is right says enough
    assert warnings({"evaluate": shorter}) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (rows(right=0.3), rows(right=0.5), "Training helped: right answers rose from 30.0% to 50.0% (95 % interval of the difference "
         "+16.0 to +24.0 points). The control (chosen and rejected shuffled): 31.0%."),
        (rows(right=0.5), rows(right=0.3), "Training HARMED: right answers fell from 50.0% to 30.0%"),
        (rows(rating=3.0), rows(rating=3.5), "Training helped: the mean rating rose from 3.00 to 3.50 (95 % interval of the difference "
         "+0.46 to +0.54)."),
        (scenes(0.3, 0.9, 9), scenes(0.1, 0.9, 9), "Training helped: hallucinated answers fell from 30.0% to 10.0%"),
        (scenes(0.1, 0.9, 9), scenes(0.3, 0.9, 9), "Training HARMED: hallucinated answers rose from 10.0% to 30.0%"),
    ],
)  # fmt: skip
def test_whether_training_helped_is_said_of_any_evaluation(before, after, words):
    assert verdicts({"evaluate": {"before": before, "after": after, "control": rows(right=0.31)}})[0].startswith(words)


def test_evaluations_are_compared_within_their_group():
    evaluate = {"before": BEFORE, "after": scenes(0.1, 0.93, 14), "rows_before": rows(right=0.3), "rows_after": rows(right=0.31),
                "round1-before": BEFORE, "round2-after": BEFORE, "other": BEFORE}  # fmt: skip
    first, second = verdicts({"evaluate": evaluate})
    assert first.startswith("Training helped: hallucinated")
    assert second.startswith("rows: Training did not help measurably: right answers went from 30.0% to 31.0%")
    assert verdicts({"evaluate": {"after": BEFORE}}) == warnings({"evaluate": {"after": BEFORE}}) == []
