"""How answers end, in one vocabulary."""

import re

import pytest

from schemas.finish import finish_name, only_thought, unfinished, with_thought
from schemas.records import Reason
from schemas.requests import Answer


@pytest.mark.parametrize(
    ("word", "name"),
    [("stop", "stop"), ("STOP", "stop"), ("eos_token", "stop"), ("end_turn", "stop"), ("COMPLETE", "stop"), ("length", "length"),
     ("MAX_TOKENS", "length"), ("model_length", "length"), ("function_call", "tool_calls"), ("tool_use", "tool_calls"),
     ("SAFETY", "content_filter"), ("content_filter", "content_filter"), ("content_filter: PROHIBITED_CONTENT", "content_filter"), ("FinishReason.STOP", "stop"), ("FINISH_REASON_MAX_TOKENS", "length"),
     ("abort", "abort"), ("Error", "Error"), ("", "")],
)  # fmt: skip
def test_words_of_servers(word, name):
    assert finish_name(word) == name


@pytest.mark.parametrize(
    ("finish", "reason", "words"),
    [("length", Reason.TRUNCATED, r"max_tokens \(20\) cut it off; raise max_tokens"), ("tool_calls", Reason.TOOL_CALL, "tool"),
     ("content_filter", Reason.FILTERED, "filter"), ("abort", Reason.UNFINISHED, "'abort'"), ("", Reason.UNFINISHED, "''")],
)  # fmt: skip
def test_only_an_answer_that_stopped_is_whole(finish, reason, words):

    assert unfinished(Answer("A dog.", 3, "stop"), 20) is None
    found = unfinished(Answer("A dog.", 3, finish), 20)
    assert found.reason == reason
    assert re.search(words, found.detail)


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (Answer("", 20, "length", thought="Let me see"), True),
        (Answer("", 20, "length", thought=""), True),  # the server only says that there was one
        (Answer("<think>\nPerhaps [[1]]", 20, "length"), True),
        (Answer("<think>a dog?</think>\n", 20, "length"), True),
        (Answer("A dog", 20, "length", thought="Let me see"), False),
        (Answer("A dog", 20, "length"), False),
        (Answer("", 20, "length"), False),
    ],
)
def test_a_budget_that_went_into_thinking_is_named(answer, thought):
    assert only_thought(answer) == thought
    assert ("went into thinking" in unfinished(answer, 20).detail) == thought
    assert unfinished(answer, 20).detail.endswith("raise max_tokens")


def test_a_thought_stands_before_the_text():
    assert with_thought(Answer("[[2]]", 9, "stop", thought="One?")) == "<think>\nOne?\n</think>\n[[2]]"
    assert with_thought(Answer("[[2]]", 9, "stop")) == "[[2]]"
