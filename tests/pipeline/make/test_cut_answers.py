"""Answers that did not end by themselves, of a scripted engine behind the port."""

import asyncio
from importlib import import_module

import pytest

from pipeline.make import bad_prompt, rewrite, sample, tree
from schemas.records import REMEDIES, Candidate, Judgement, Reason, Rejection
from schemas.requests import Answer, Generated
from tests.support.rows import context, rows_of

ANSWERING = (sample, bad_prompt, import_module("pipeline.make.continue"))


class Says:
    """Gives each request the same answers."""

    identity, slots, can = "says@1", 4, frozenset({"Generate"})

    def __init__(self, *answers: Answer):
        self.answers = answers

    async def ask(self, request):
        return Generated(self.answers[: request.n], 9)


def made(module, *answers: Answer, **settings) -> tuple[list[Candidate], list[Rejection]]:
    """(the candidates, the rejections)."""
    more = {"n": len(answers)} if module is sample else {}
    settings = module.Settings(**{"model": "m", "max_tokens": 20} | more | settings)
    rows = rows_of(["It is red and it is round."])
    found = asyncio.run(module.make(rows, settings, context("made", engines={"m": Says(*answers)})))
    return [r for r in found if isinstance(r, Candidate)], [r for r in found if isinstance(r, Rejection)]


@pytest.mark.parametrize("module", ANSWERING, ids=lambda module: module.__name__)
def test_an_answer_that_was_cut_off_is_rejected_unless_it_is_to_be_kept(module):
    cut = Answer("a small", 20, "length")
    ((row,), (gone,)) = made(module, cut)
    assert (gone.id, gone.table, gone.reason) == (row.id, "candidates", Reason.TRUNCATED)
    assert gone.detail.endswith("max_tokens (20) cut it off; raise max_tokens")
    assert "max_tokens" in REMEDIES[Reason.TRUNCATED]
    ((kept,), none) = made(module, cut, on_cut="keep")
    assert (kept.finish, none) == ("length", [])
    assert kept == row  # the same answer has the same id


@pytest.mark.parametrize("module", ANSWERING, ids=lambda module: module.__name__)
@pytest.mark.parametrize("on_cut", ["reject", "keep"])
@pytest.mark.parametrize(
    ("finish", "reason"),
    [("tool_calls", Reason.TOOL_CALL), ("content_filter", Reason.FILTERED), ("abort", Reason.UNFINISHED)],
)
def test_what_is_no_answer_never_becomes_a_candidate(module, on_cut, finish, reason):
    rows, (gone,) = made(module, Answer("I will look closer.", 5, finish), on_cut=on_cut)
    assert rows == []
    assert (gone.table, gone.reason) == ("candidates", reason)


def test_each_answer_of_a_prompt_has_its_own_fate():
    rows, gone = made(
        sample,
        Answer("A dog.", 3, "stop"),
        Answer("A", 20, "length"),
        Answer("", 4, "tool_calls"),
        Answer("A cat.", 3, "stop"),
    )
    live = {row.id for row in rows} - {row.id for row in gone}
    assert [row.text for row in rows if row.id in live] == ["A dog.", "A cat."]
    assert [row.reason for row in gone] == ["truncated", "tool_call"]
    assert [row.index for row in rows] == [0, 1, 3]


@pytest.mark.parametrize("on_cut", ["reject", "keep"])
def test_a_budget_that_went_into_thinking_is_no_answer_and_says_so(on_cut):
    _, gone = made(sample, Answer("", 20, "length", thought="Let me see"), on_cut=on_cut)
    assert gone[-1].reason == Reason.TRUNCATED
    assert gone[-1].detail.endswith("all 20 tokens of max_tokens went into thinking before an answer; raise max_tokens")


@pytest.mark.parametrize(
    "answer",
    [
        Answer("", 9, "stop", thought="Let me see"),
        Answer("<think>Let me see", 9, "stop"),
        Answer("<think>Let me see</think>\n", 9, "stop"),
    ],
)
def test_a_thought_alone_is_no_answer(answer):
    (row,), (gone,) = made(sample, answer)
    assert (gone.id, gone.reason) == (row.id, Reason.EMPTY_ANSWER)
    assert gone.detail.endswith("the model thought, and gave no answer")
    (row,), none = made(sample, Answer("<think>Let me see</think>\nA dog.", 9, "stop"))
    assert (row.text, none) == ("<think>Let me see</think>\nA dog.", [])


@pytest.mark.parametrize("module", [*ANSWERING, tree], ids=lambda module: module.__name__)
def test_the_setting_is_in_digests_only_where_it_keeps_such_answers(module):
    given = {"model": "m", "scorer": "x"} if module is tree else {"model": "m"}
    assert "on_cut" not in module.Settings(**given).model_dump(mode="json")
    assert module.Settings(**given, on_cut="keep").model_dump(mode="json")["on_cut"] == "keep"


@pytest.mark.parametrize("finish", ["length", "tool_calls", "content_filter", "abort"])
def test_a_rewritten_text_is_whole_or_none(finish):
    whole = "<<<\nIt is blue.\n>>>"
    ((row,), none) = made(rewrite, Answer(whole, 9, "stop"), kind="inject")
    assert (row.text, none) == ("It is blue.", [])
    rows, (gone,) = made(rewrite, Answer(f"{whole} or", 9, finish), kind="inject")
    assert (rows, gone.reason) == ([], Reason.UNPARSABLE)
    assert gone.detail.startswith("the reply is not whole: ")


def grown(*answers: Answer, **settings) -> list:
    async def rate(sample, texts):
        return [1.0] * len(texts)

    settings = tree.Settings(model="m", scorer="x", **settings)
    step = context("tree", engines={"m": Says(*answers)}, built={"scorer": rate})
    return asyncio.run(tree.make(rows_of([]), settings, step))


def test_a_path_that_grew_too_long_is_cut_off():
    endless = Answer("One cup", 2, "length", -2.0, (-1.0, -1.0))
    (row, score, gone) = grown(endless, max_chars=10)
    assert (row.text, row.finish, score.items) == ("One cup One cup", "length", (row.id,))
    assert (gone.id, gone.reason) == (row.id, Reason.TRUNCATED)
    assert gone.detail.endswith("max_chars (10) cut it off; raise max_chars")
    kept = grown(endless, max_chars=10, on_cut="keep")
    assert [type(each) for each in kept] == [Candidate, Judgement]


def test_a_sentence_that_calls_a_tool_is_none():
    good = Answer("One cup.", 2, "stop", -2.0, (-1.0, -1.0))
    called = good._replace(text="I look", finish="tool_calls")
    row, _, gone = grown(good, called)
    assert (row.text, gone.reason) == ("One cup.", Reason.TOOL_CALL)
    (gone,) = grown(called)
    assert (gone.table, gone.reason) == ("samples", Reason.TOOL_CALL)
