import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prompt import llm_write
from pipeline.prompt.llm_write import parse
from schemas.records import Reason
from schemas.requests import Answer, Generated
from tests.support.rows import context, rows_of

ALL = ("question", "right", "wrong")
GOOD = {"question": "What is it?", "right": "a cup", "wrong": "a hat"}


@pytest.mark.parametrize(
    "said",
    [
        '{"question": "What is it?", "right": "a cup", "wrong": "a hat"}',
        'Sure! ```json\n{"question": " What is it? ", "right": "a cup", "wrong": "a hat", "why": 1}\n``` Done.',
        '{"note": {"a": 1}} then {"question": "What is it?", "right": "a cup", "wrong": "a hat"}',
        "Question: What is it?\nRight answer: a cup\nWrong answer: a hat",
        "**Question:** What is it?\n- **Right**: a cup\n- **Wrong answer**: a hat",
        "Q: What is it?\nRIGHT: a cup  \nwrong: a hat\n",
    ],
)
def test_a_reply_is_read_whatever_stands_around_it(said):
    assert parse(said, ALL) == GOOD


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I cannot help with that.",
        '{"question": "What is it?", "right": "a cup"}',
        '{"question": "", "right": "a cup", "wrong": "a hat"}',
        '{"question": 7, "right": "a cup", "wrong": "a hat"}',
        '{"question": "What is it?", "right": "a cup", "wro',
        "Question: What is it?\nRight answer: a cup",
    ],
)
def test_what_lacks_a_part_is_not_guessed(said):
    assert parse(said, ALL) is None


def test_only_what_is_asked_for_is_wanted():
    assert parse('{"question": "What is it?"}', ("question",)) == {"question": "What is it?"}


def test_a_contradiction_is_read_as_a_question_is():
    assert parse('```{"context": " A red hat lies there. "}```', ("context",)) == {"context": "A red hat lies there."}
    assert parse("Context: A red hat lies there.", ("context",)) == {"context": "A red hat lies there."}
    assert parse('{"question": "What is it?"}', ("context",)) is None


@given(st.text())
def test_any_text_is_read_or_not(said):
    found = parse(said, ALL)
    assert found is None or (found.keys() == set(ALL) and all(found.values()))


@pytest.mark.parametrize("finish", ["length", "tool_calls", "content_filter", "abort"])
def test_a_question_that_was_cut_off_is_none(finish):
    class Says:
        identity = "says@1"

        async def ask(self, request):
            return Generated((Answer('{"question": "What is it?"} or', 9, finish),), 9)

    step = context("write", engines={"m": Says()})
    (gone,) = asyncio.run(llm_write.write(rows_of([]), llm_write.Settings(model="m", max_tokens=20), step))
    assert (gone.table, gone.reason) == ("samples", Reason.UNPARSABLE)
    assert "the reply is not whole: " in gone.detail
    assert ("raise max_tokens" in gone.detail) == (finish == "length")
