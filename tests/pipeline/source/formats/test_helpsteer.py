"""The layouts are those of nvidia/HelpSteer2 (ratings; preference/preference.jsonl.gz) and nvidia/HelpSteer3 (preference) on the Hub."""

import json

import pytest

from pipeline.source.formats import helpsteer
from pipeline.source.formats.draft import DraftJudgement, DraftPair, Turn
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

RATED = {
    "prompt": "Why?",
    "response": "Because.",
    "helpfulness": 4,
    "correctness": 3,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 0,
}
TWO = {
    "split": "train", "prompt": "Why?", "response_1": "Because.", "response_2": "So.", "preference_strength": -2,
    "preference_statement": "Response 1 is better than Response 2.", "preference_elaboration": "It is clearer.",
}  # fmt: skip
VIEWS = [{"score": 1, "reasoning": "b", "feedback1": "f", "feedback2": "g"}]
THREE = {
    "domain": "stem", "language": "english", "context": [{"role": "user", "content": "Why?"}], "response1": "Because.", "response2": "So.",
    "overall_preference": 1, "individual_preference": VIEWS,
}  # fmt: skip


def test_ratings_are_judgements_on_their_axes():
    draft = helpsteer.read(RATED)
    assert (draft.prompt, texts(draft), draft.pairs) == (asked("Why?"), [("Because.", None)], ())
    values = {"helpfulness": 4.0, "correctness": 3.0, "coherence": 4.0, "complexity": 1.0, "verbosity": 0.0}
    assert draft.said == tuple(DraftJudgement((0,), axis, value, "helpsteer") for axis, value in values.items())


def test_a_negative_strength_prefers_the_first():
    draft = helpsteer.read(TWO)
    raw = json.dumps({name: TWO[name] for name in ("preference_statement", "preference_elaboration")})
    assert draft.said == (DraftJudgement((0, 1), "preference", 2.0, "helpsteer", raw),)
    assert draft.pairs == (DraftPair(0, 1, None, {"margin": 2.0}),)
    assert texts(draft) == [("Because.", "chosen"), ("So.", "rejected")]


def test_a_positive_one_prefers_the_second_after_a_context_of_messages():
    draft = helpsteer.read(THREE)
    raw = json.dumps({"individual_preference": VIEWS})
    assert (draft.prompt, draft.known) == (asked("Why?"), {"split": "stem"})
    assert draft.said == (DraftJudgement((0, 1), "preference", -1.0, "helpsteer", raw),)
    assert draft.pairs == (DraftPair(1, 0, None, {"margin": 1.0}),)


def test_0_is_a_tie_without_a_pair():
    draft = helpsteer.read(TWO | {"preference_strength": 0})
    assert ([(s.value, s.outcome) for s in draft.said], draft.pairs) == ([(0.0, Outcome.TIE)], ())


def test_further_turns_stand_in_the_text():
    asked_ = "Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nWhy?"
    expected = (
        Turn("user", (("text", "Hi"),)),
        Turn("assistant", (("text", "Hello."),)),
        Turn("user", (("text", "Why?"),)),
    )
    assert helpsteer.read(RATED | {"prompt": asked_}).prompt == expected
    assert helpsteer.read(RATED | {"prompt": f"{asked_}\n<extra_id_1>Assistant\n"}).prompt == expected


REFUSED = {
    "no ratings": (dict.fromkeys(RATED) | {"prompt": "?", "response": "x"}, BAD, "verbosity are missing"),
    "a rating in words": (RATED | {"helpfulness": "good"}, BAD, "helpfulness is a str"),
    "an empty response": (RATED | {"response": " "}, EMPTY, "response is empty"),
    "no strength": (TWO | {"preference_strength": None}, BAD, "preference_strength is missing"),
    "too strong": (TWO | {"preference_strength": -4}, BAD, "preference_strength is -4"),
    "no prompt": (without(TWO, "prompt"), BAD, "prompt is missing"),
    "no response": (TWO | {"response_2": None}, BAD, "response_2 is missing"),
    "an empty answer": (THREE | {"response2": ""}, EMPTY, "response2 is empty"),
    "equal answers": (THREE | {"response2": "Because."}, EQUAL, "the same text"),
    "no context": (without(THREE, "context"), BAD, "context is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(helpsteer, *REFUSED[name])
