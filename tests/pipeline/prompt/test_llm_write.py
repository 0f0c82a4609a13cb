import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prompt.llm_write import parse

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
