import numpy as np
import pytest

from pipeline.filter import length
from schemas import arrow, records
from tests.support.rows import context


class Pairs:
    """The table of pairs with these numbers of words."""

    def __init__(self, words):
        made = []
        for i, (chosen, rejected) in enumerate(words):
            one, two = (
                records.candidate("s", "m", " ".join(["w"] * n) + f"{i}" * (n > 0), index=k)
                for k, n in enumerate((chosen, rejected))
            )
            made.append(records.pair("s", "p", one, two))
        self.rows = made

    def batches(self, table, columns=None):
        yield arrow.to_batch(table, self.rows).select(columns)


def test_the_search_takes_the_bound_that_balances_the_means():
    # ratios (rejected - chosen) / rejected: (10,10) 0, (8,10) .2, (2,10) .8, (12,10) -.2
    # bound 0   keeps 10/10 and 12/10: |11-10|/10 = .1
    # bound .2  keeps also 8/10: |10-10|/10 = 0, the best; bound .8 keeps also 2/10: |8-10|/10 = .2
    chosen, rejected = np.array([10, 8, 2, 12.0]), np.array([10, 10, 10, 10.0])
    assert length.best_bound(chosen, rejected, (rejected - chosen) / rejected) == pytest.approx(0.2)


def test_pairs_beyond_the_bound_are_named():
    pairs = Pairs([(10, 10), (8, 10), (2, 10), (12, 10)])
    dropped = length.keep(pairs, length.Settings(search=True), context())
    assert [r.id for r in dropped] == [pairs.rows[2].id]
    assert dropped[0].reason == "length"
    assert "0.20" in dropped[0].detail
    fixed = length.keep(pairs, length.Settings(max_ratio=0.1), context())
    assert [r.id for r in fixed] == [pairs.rows[1].id, pairs.rows[2].id]


def test_no_pairs_drop_none():
    class Empty:
        def batches(self, table, columns=None):
            return iter(())

    assert length.keep(Empty(), length.Settings(search=True), context()) == []


@pytest.mark.parametrize("settings", [{}, {"search": True, "max_ratio": 0.5}])
def test_one_way_must_be_chosen(settings):
    with pytest.raises(ValueError, match="set either"):
        length.Settings(**settings)
