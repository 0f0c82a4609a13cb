import random

import pytest
from scipy import stats

from annotators.measures.agreement import wilson_interval
from annotators.measures.streaming_stats import Calibration, Correlation, Quantiles, Share


def share_of(*samples: tuple[float, int]) -> dict:
    found = Share()
    for hits, n in samples:
        found.add(hits, n)
    return found.figure()


def test_a_share_of_single_looks_has_wilsons_interval():
    low, high = wilson_interval(8, 10)
    expected = {"n": 10, "share": 0.8, "low": round(low, 4), "high": round(high, 4)}
    assert share_of(*[(1, 1)] * 8, *[(0, 1)] * 2) == expected


def test_what_stands_or_falls_together_counts_as_one_look():
    # four samples of five things, each all right or all wrong: share .5, variance between samples sum (h - .5 n)^2 = 4 x 2.5^2 = 25,
    # of 20 independent looks 20 x .25 = 5. Design effect 5: as much as 4 looks
    found = share_of((5, 5), (5, 5), (0, 5), (0, 5))
    low, high = wilson_interval(2, 4)
    assert found == {"n": 20, "share": 0.5, "low": round(low, 4), "high": round(high, 4)}


def test_samples_that_are_all_alike_count_no_more_than_their_things():
    low, high = wilson_interval(10, 20)
    assert share_of(*[(2, 4)] * 5) == {"n": 20, "share": 0.5, "low": round(low, 4), "high": round(high, 4)}


def test_all_right_is_as_many_looks_as_samples_and_nothing_is_none():
    # six preferences about one prompt, all for the first: one prompt shows nothing
    assert share_of((6, 6))["low"] == pytest.approx(wilson_interval(1, 1)[0], abs=1e-4)
    assert share_of((3, 3), (2, 2))["low"] == pytest.approx(wilson_interval(2, 2)[0], abs=1e-4)
    assert share_of() is None


def test_the_interval_holds_the_truth_where_answers_to_a_prompt_are_alike():
    """200 runs over 40 prompts of ten answers each, whose share is drawn a prompt: 95 % of the intervals should hold the mean, .5.
    Wilson's plain one, which takes all 400 for independent, holds it far less often."""
    rng = random.Random(1)
    ours = plain = 0
    for _ in range(200):
        hits = [sum(rng.random() < p for _ in range(10)) for p in (rng.choice([0.1, 0.9]) for _ in range(40))]
        found = share_of(*[(h, 10) for h in hits])
        ours += found["low"] <= 0.5 <= found["high"]
        low, high = wilson_interval(sum(hits), 400)
        plain += low <= 0.5 <= high
    assert ours >= 180
    assert plain < 140


def test_a_calibration_curve_by_hand():
    found = Calibration()
    # .95 and .05 are as sure, .6 is unsure: one bin of two, of which one is right, one bin of one that is right
    for prob, right in ((0.95, True), (0.05, False), (0.6, True)):
        found.add(prob, right)
    figure = found.figure()
    assert figure["bins"] == [{"n": 1, "sure": 0.6, "right": 1.0}, {"n": 2, "sure": 0.95, "right": 0.5}]
    # (1 x |.6 - 1| + 2 x |.95 - .5|) / 3
    assert figure["error"] == pytest.approx((0.4 + 0.9) / 3, abs=1e-4)
    found.add(1.0, True)
    assert found.figure()["bins"][-1]["n"] == 3  # certainty is in the last bin
    assert Calibration().figure() is None


def test_a_judge_as_sure_as_it_is_right_has_no_error():
    rng = random.Random(2)
    found = Calibration()
    for _ in range(20_000):
        prob = rng.random()
        found.add(prob, (prob > 0.5) == (rng.random() < prob))
    assert found.figure()["error"] < 0.02


def test_the_correlation_is_scipys():
    rng = random.Random(3)
    pairs = [(x, 0.5 * x + rng.gauss(0, 1)) for x in (rng.gauss(5000, 1) for _ in range(50))]
    found = Correlation()
    for x, y in pairs:
        found.add(x, y)
    reference = stats.pearsonr(*zip(*pairs, strict=True))
    interval = reference.confidence_interval()
    expected = (reference.statistic, interval.low, interval.high)
    assert [found.figure()[name] for name in ("r", "low", "high")] == pytest.approx(list(expected), abs=1e-3)


def test_a_correlation_needs_four_things_that_change():
    found = Correlation()
    for x in range(3):
        found.add(x, x)
    assert found.figure() is None
    found.add(3, 3)
    assert found.figure() == {"n": 4, "r": 1.0, "low": 1.0, "high": 1.0}
    same = Correlation()
    for x in range(9):
        same.add(x, 7)
    assert same.figure() is None


def test_quantiles_are_those_of_the_numbers_to_a_hundredth():
    found = Quantiles()
    assert found.figure() is None
    for value in (0.041, *[0.14] * 18, 0.251):  # the 5 % quantile of 20 is the lowest, the median is the tenth
        found.add(value)
    assert found.figure() == {"n": 20, "median": 0.14, "lowest": 0.04}
    found.add(1.0)
    assert found.figure()["n"] == 21
