"""A reply that did not end by itself is no verdict, however much it looks like one."""

import asyncio
import json

import pytest

from annotators.judge import listwise, pairwise, pointwise, segments
from annotators.split import model as split_model
from schemas.errors import NoVerdict
from schemas.finish import FIRST
from schemas.records import Judgement, Outcome
from schemas.requests import Answer, Generated
from tests.support.rows import context, rows_of

# judge, its settings, and a reply in which a verdict stands before its end
REPLIES = {
    "pairwise": (pairwise, {"reason": True}, "[[1]]"),
    "strength": (pairwise, {"reason": True, "strength": True}, "[[1]]"),
    "pointwise": (pointwise, {}, '{"ratings": [5, 2]}'),
    "listwise": (listwise, {}, '{"ranking": [2, 1]}'),
    "segments": (segments, {}, '{"faults": []}'),
}
CUT = {
    "length": Outcome.UNPARSABLE,
    "tool_calls": Outcome.UNPARSABLE,
    "content_filter": Outcome.REFUSED,
    "abort": Outcome.UNPARSABLE,
}


class Says:
    """Gives one answer after the other, the last one again and again."""

    identity, slots, can = "says@1", 4, frozenset({"Generate"})

    def __init__(self, *answers: Answer):
        self.answers, self.asked = list(answers), []

    async def ask(self, request):
        self.asked.append(request)
        return Generated((self.answers[min(len(self.asked), len(self.answers)) - 1],), 9)


def judged(name: str, engine: Says, **more) -> list[Judgement]:
    module, settings, _ = REPLIES[name]
    settings = module.Settings(**{"model": "m", "max_tokens": 20} | settings | more)
    return asyncio.run(module.judge(rows_of(["a dog", "two dogs"]), settings, context("judge", engines={"m": engine})))


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("finish", CUT)
def test_a_reply_is_whole_or_it_is_none(name, finish):
    text = REPLIES[name][2]
    assert {row.outcome for row in judged(name, Says(Answer(text, 9, "stop")))} == {Outcome.VERDICT}
    found = judged(name, Says(Answer(text, 9, finish)))
    assert {(row.outcome, row.value, row.attempt) for row in found} == {(CUT[finish], None, 1)}
    for row in found:
        raw = json.loads(row.raw)["reply"] if name == "segments" else row.raw
        assert raw.endswith(text)
        assert ("raise max_tokens" in raw) == (finish == "length")


def test_the_second_reply_counts_if_the_first_one_was_cut_off():
    text = "[[2]]"
    engine = Says(Answer("[[1]] or", 20, "length"), Answer(text, 9, "stop"))
    (row,) = judged("pairwise", engine, order="fixed")
    assert (row.outcome, row.value, row.attempt) == (Outcome.VERDICT, -1.0, 1)
    second, first = row.raw.split(FIRST)
    assert (second, first) == (text, "truncated: max_tokens (20) cut it off; raise max_tokens: [[1]] or")


def test_a_judge_that_only_thought_says_which_setting_to_raise():
    for answer in (Answer("", 20, "length", thought="[[1]]?"), Answer("<think>\n[[1]] could be it", 20, "length")):
        (row,) = judged("pairwise", Says(answer), order="fixed")
        assert row.outcome == Outcome.UNPARSABLE
        assert "all 20 tokens of max_tokens went into thinking before an answer; raise max_tokens" in row.raw
        assert "[[1]]" in row.raw  # the thought is kept


def test_a_thought_in_a_field_of_its_own_is_kept_and_not_read():
    (row,) = judged("pairwise", Says(Answer("[[2]]", 9, "stop", thought="[[1]]?")), order="fixed")
    assert (row.value, row.raw) == (-1.0, "<think>\n[[1]]?\n</think>\n[[2]]")


@pytest.mark.parametrize("finish", CUT)
@pytest.mark.parametrize("broken", [0, 1])  # the list of facts, the list of questions
def test_a_list_of_claims_is_whole_or_none(finish, broken):
    lists = [Answer("- there is a dog", 9, "stop"), Answer("- is there a dog ?", 9, "stop")]
    settings = split_model.Settings(model="m", max_tokens=20)
    split = lambda answers: split_model.split("q", "a dog", settings, context("split", engines={"m": Says(*answers)}))
    assert asyncio.run(split(lists)) == [("is there a dog ?", True)]
    lists[broken] = lists[broken]._replace(finish=finish)
    with pytest.raises(NoVerdict) as caught:
        asyncio.run(split(lists[: broken + 1]))  # as it is said the second time, too
    assert caught.value.outcome == CUT[finish]
    assert lists[broken].text in caught.value.raw
