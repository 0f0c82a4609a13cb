"""A model splits an answer in two steps, each of which has a second try."""

import asyncio
import re

import pytest

from annotators.split import model
from schemas.errors import NoVerdict
from schemas.finish import FIRST
from schemas.messages import text_of
from schemas.records import Outcome
from schemas.requests import Answer, Generated
from tests.support.rows import context

FACTS = "- There is a dog.\n- The dog is not red."
QUESTIONS = "- Is there a dog?\n- Is the dog not red?"


class Says:
    """Gives the replies one after the other, and keeps the requests."""

    identity, slots = "says@1", 4

    def __init__(self, *replies: str, can=("Generate", "Form")):
        self.replies, self.can, self.asked = list(replies), frozenset(can), []

    async def ask(self, request):
        self.asked.append(request)
        return Generated((Answer(self.replies.pop(0), 9, "stop"),), 9)


def split(engine: Says, **more) -> list[tuple[str, bool]]:
    settings = model.Settings(model="m")
    return asyncio.run(model.split("What is there?", "A dog.", settings, context("s", engines={"m": engine}), **more))


def test_a_list_that_cannot_be_read_is_asked_for_once_more():
    engine = Says("nothing to list", FACTS, "- Is there a dog?", QUESTIONS)  # the first list of questions lacks one
    assert split(engine) == [("Is there a dog?", True), ("Is the dog not red?", True)]
    assert [request.temperature for request in engine.asked] == [0.0, 0.7, 0.0, 0.7]
    assert len({request.seed for request in engine.asked[:2]}) == 2


def test_two_lists_that_cannot_be_read_are_no_verdict_and_both_are_kept():
    with pytest.raises(NoVerdict) as caught:
        split(Says(FACTS, "- Is there a dog?", "- Is there a cat?"))
    assert (caught.value.outcome, caught.value.raw) == (
        Outcome.UNPARSABLE,
        f"- There is a dog.\n- The dog is not red.\n- Is there a cat?{FIRST}- Is there a dog?",
    )


def test_an_engine_that_can_is_held_to_lists_with_a_question_for_each_fact():
    engine = Says(FACTS, QUESTIONS)
    split(engine)
    facts, questions = (request.form.regex for request in engine.asked)
    assert re.fullmatch(facts, FACTS)
    assert re.fullmatch(facts, "- none")
    for text in ("", "There is a dog.", "- a\n\n- b", "-  a", "- a\n", "Facts:\n- a"):
        assert not re.fullmatch(facts, text)
    assert re.fullmatch(questions, QUESTIONS)
    assert re.fullmatch(questions, "- 有狗吗？\n- 狗不是红的吗？")
    for text in ("- Is there a dog?", f"{QUESTIONS}\n- Is it red?", "- a\n- b?", "- a? b?\n- c?"):
        assert not re.fullmatch(questions, text)
    engine = Says(FACTS, QUESTIONS, can=("Generate",))
    split(engine)
    assert {request.form for request in engine.asked} == {None}


def test_an_answer_about_a_text_is_split_in_other_words():
    asked = {}
    for kind in ("image", "text"):
        engine = Says("- none")
        assert split(engine, kind=kind) == []
        asked[kind] = text_of(engine.asked[0].messages)
    assert "You take an answer to a question about a picture, a video or a sound and list the facts" in asked["image"]
    assert "You take an answer to a question and list the facts it states.\n" in asked["text"]
    assert "seen or heard" not in asked["text"]
