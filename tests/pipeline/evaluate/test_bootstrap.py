"""Paired bootstrap: what the two evaluations share cancels out."""

import numpy as np
import pytest

from pipeline.evaluate import _bootstrap
from pipeline.evaluate._bootstrap import differences, interval, keep, replicates

SHARE = lambda sums: sums[:, :1] / sums[:, 1:]


def kept(folder, right, prompts="p"):
    folder.mkdir()
    counts = np.column_stack([right, np.ones(len(right))]).astype(float)
    keep(folder, ["right"], replicates(counts, SHARE, 7), prompts)
    return folder


def test_the_difference_of_two_evaluations_is_paired(tmp_path):
    # 400 prompts, half of them hopeless for both; after is right on 40 more of the others, and wrong nowhere that before was right
    before = np.array([1] * 100 + [0] * 300)
    after = np.array([1] * 140 + [0] * 260)
    found = differences(kept(tmp_path / "after", after), kept(tmp_path / "before", before))["right"]
    assert found["value"] == pytest.approx(0.1)
    # by hand: the differences are 1 in 40 of 400 and 0 else: sd sqrt(.1 * .9 / 400) = .015, so .1 -+ 1.96 * .015 = .071 to .129;
    # unpaired sqrt(.25 * .75 / 400 + .35 * .65 / 400) = .032 would give .037 to .163
    assert (found["low"], found["high"]) == pytest.approx((0.071, 0.129), abs=0.006)


def test_evaluations_over_other_prompts_or_of_older_versions_have_no_difference(tmp_path):
    one, other = kept(tmp_path / "one", [1, 0]), kept(tmp_path / "other", [1, 0], "other prompts")
    (tmp_path / "old").mkdir()
    assert differences(one, other) == differences(one, tmp_path / "old") == differences(tmp_path / "old", one) == {}


def test_resampling_in_parts_is_the_same_as_at_once(monkeypatch):
    counts = np.arange(20.0).reshape(10, 2) + 1
    whole = replicates(counts, SHARE, 1)
    monkeypatch.setattr(_bootstrap, "CELLS", 70)  # seven resamples at a time
    assert np.array_equal(replicates(counts, SHARE, 1), whole)
    assert interval(np.array([0.5, *np.linspace(0, 1, 1001)])) == {"value": 0.5, "low": 0.025, "high": 0.975}
