import pytest

from flows.runs.rejections import count_rows, in_tables, lines, sum_counts
from schemas.records import Reason, Rejection
from tests.support.small_run import ListTables

ROWS = [
    ("make", Reason.TOO_LONG),
    ("pair", Reason.NO_MARGIN),
    ("make", Reason.ENGINE_FAILED),
    ("make", Reason.TOO_LONG),
]
FOUND = {"make": {"too_long": 2, "engine_failed": 1}, "pair": {"no_margin": 1}}


def test_rows_of_a_table_are_counted_by_step_and_reason():
    rows = [Rejection(str(i), "candidates", step, reason) for i, (step, reason) in enumerate(ROWS)]
    assert in_tables(ListTables({"rejections": rows})) == count_rows(rows) == FOUND
    assert in_tables(ListTables({"rejections": []})) == {}


def test_counts_of_several_parts_are_added():
    assert sum_counts([FOUND, {}, {"pair": {"no_margin": 4}}]) == FOUND | {"pair": {"no_margin": 5}}
    assert sum_counts([]) == {}


def test_they_are_said_a_line_a_step_in_the_order_in_which_they_came():
    assert lines(FOUND) == ["make: 2 too_long, 1 engine_failed", "pair: 1 no_margin"]
    assert lines({}) == []


def test_a_reason_that_an_operator_made_up_is_refused_and_one_of_an_older_version_is_counted():
    with pytest.raises(ValueError, match="too_boring"):
        count_rows([Rejection("1", "pairs", "make", "too_boring")])
    assert sum_counts([{"make": {"too_boring": 2}}]) == {"make": {"too_boring": 2}}
