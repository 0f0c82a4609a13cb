"""The length-only baseline."""

from annotators.judge import length
from tests.support.rows import context, rows_of


def test_each_answer_has_its_words_and_its_tokens_where_they_are_known():
    rows = rows_of(["a red cup", ""])
    rows.candidates[0] = rows.candidates[0]._replace(tokens=5)
    found = length.judge(rows, length.Settings(), context("length"))
    assert [(s.axis, s.value, s.items[0]) for s in found] == [
        ("length", 3.0, rows.candidates[0].id), ("tokens", 5.0, rows.candidates[0].id), ("length", 0.0, rows.candidates[1].id),
    ]  # fmt: skip
    assert {s.annotator for s in found} == {"length"}
