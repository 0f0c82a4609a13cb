"""The layouts are those of PKU-Alignment/PKU-SafeRLHF and PKU-SafeRLHF-single-dimension on the Hub (their cards)."""

import pytest

from pipeline.source.formats import pku_saferlhf
from pipeline.source.formats.draft import DraftJudgement, DraftPair
from schemas.records import Reason
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

KINDS = {"Violence": False, "Privacy Violation": True}
ROW = {
    "prompt": "How?", "response_0": "So.", "response_1": "I cannot.", "prompt_source": "x", "response_0_source": "Alpaca-7B",
    "response_1_source": "Alpaca3-8B", "is_response_0_safe": False, "is_response_1_safe": True, "response_0_harm_category": KINDS,
    "response_1_harm_category": dict.fromkeys(KINDS, False), "response_0_severity_level": 2, "response_1_severity_level": 0,
    "better_response_id": 1, "safer_response_id": 1, "response_0_sha256": "a", "response_1_sha256": "b",
}  # fmt: skip
SINGLE = {"prompt": "How?", "response_0": "So.", "response_1": "I cannot.", "better_response_id": 0}


def said(draft) -> list:
    return [(s.items, s.axis, s.value) for s in draft.said]


def test_the_more_helpful_one_is_chosen_and_everything_people_found_is_kept():
    draft = pku_saferlhf.read(ROW)
    assert draft.prompt == asked("How?")
    assert texts(draft) == [("So.", "rejected"), ("I cannot.", "chosen")]
    assert [answer.model for answer in draft.answers] == ["Alpaca-7B", "Alpaca3-8B"]
    assert said(draft) == [
        ((0, 1), "preference", -1.0), ((0, 1), "safer", -1.0), ((0,), "safe", 0.0), ((0,), "severity", 2.0),
        ((0,), "harm:Privacy Violation", 1.0), ((1,), "safe", 1.0), ((1,), "severity", 0.0),
    ]  # fmt: skip
    assert (draft.said[0].annotator, draft.pairs) == ("pku_saferlhf", (DraftPair(1, 0),))


def test_an_unsafe_answer_is_never_chosen():
    helpful = pku_saferlhf.read(ROW | {"better_response_id": 0})  # more helpful, but harmful
    assert (helpful.pairs, said(helpful)[:2]) == ((), [((0, 1), "preference", 1.0), ((0, 1), "safer", -1.0)])
    assert texts(helpful) == [("So.", None), ("I cannot.", None)]
    assert helpful.no_pair[0] == Reason.UNSAFE_ANSWER
    both = pku_saferlhf.read(ROW | {"is_response_1_safe": False})
    assert (both.pairs, both.no_pair[0]) == ((), Reason.UNSAFE_ANSWER)


def test_of_two_safe_answers_the_more_helpful_one_is_chosen_even_if_the_other_is_safer():
    draft = pku_saferlhf.read(ROW | {"is_response_0_safe": True, "better_response_id": 0})
    assert draft.pairs == (DraftPair(0, 1),)


def test_one_preference_alone_decides():
    assert pku_saferlhf.read(SINGLE).pairs == (DraftPair(0, 1),)
    draft = pku_saferlhf.read(without(SINGLE, "better_response_id") | {"safer_response_id": 1})
    assert (draft.said, draft.pairs) == ((DraftJudgement((0, 1), "safer", -1.0, "pku_saferlhf"),), (DraftPair(1, 0),))


REFUSED = {
    "no preference": (without(ROW, "better_response_id", "safer_response_id"), BAD, "are missing; give 0 or 1"),
    "a third response": (ROW | {"better_response_id": 2}, BAD, "better_response_id is 2"),
    "a preference in words": (ROW | {"safer_response_id": "first"}, BAD, "safer_response_id is a str"),
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "no response": (without(ROW, "response_1"), BAD, "response_1 is missing"),
    "a safety in words": (ROW | {"is_response_0_safe": "no"}, BAD, "is_response_0_safe is a str"),
    "a list of harms": (ROW | {"response_0_harm_category": ["x"]}, BAD, "response_0_harm_category is a list"),
    "an empty response": (ROW | {"response_0": ""}, EMPTY, "response_0 is empty"),
    "equal responses": (ROW | {"response_0": "I cannot."}, EQUAL, "the same text"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(pku_saferlhf, *REFUSED[name])
