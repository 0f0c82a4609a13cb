"""The layouts are those of openbmb/UltraFeedback (completions) and HuggingFaceH4/ultrafeedback_binarized on the Hub (their cards)."""

import json

import pytest

from pipeline.source.formats import ultrafeedback
from pipeline.source.formats.draft import Answer, DraftJudgement
from pipeline.source.formats.fields import Cell
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, INF, NAN, asked, refused, texts, without


def talk(*turns: str) -> list[dict]:
    return [{"content": words, "role": ("user", "assistant")[i % 2]} for i, words in enumerate(turns)]


ROW = {
    "prompt": "Why?", "prompt_id": "abc", "chosen": talk("Why?", "Because."), "rejected": talk("Why?", "No."),
    "messages": talk("Why?", "Because."), "score_chosen": 8.5, "score_rejected": 4.0,
}  # fmt: skip
PLAIN = without(ROW, "score_chosen", "score_rejected")


@pytest.mark.parametrize("names", ultrafeedback.SCORES)
def test_scores_under_any_name(names):
    draft = ultrafeedback.read(PLAIN | dict(zip(names, (8.5, 4))))
    assert (draft.prompt, draft.id) == (asked("Why?"), "abc")
    assert texts(draft) == [("Because.", "chosen"), ("No.", "rejected")]
    assert draft.said == (
        DraftJudgement((0,), "score", 8.5, "ultrafeedback"),
        DraftJudgement((1,), "score", 4.0, "ultrafeedback"),
    )
    assert draft.pairs[0].known == {"margin": 4.5, "reward_chosen": 8.5, "reward_rejected": 4.0}


def test_scores_may_be_absent_or_equal_and_cells_of_csv_are_numbers():
    assert ultrafeedback.read(PLAIN).pairs[0].known == {}
    assert ultrafeedback.read(ROW | {"score_rejected": 8.5}).pairs[0].known["margin"] == 0
    assert ultrafeedback.read(ROW | {"score_chosen": Cell("5")}).pairs[0].known["margin"] == 1


def completion(words: str, model: str, **ratings) -> dict:
    return {
        "annotations": {
            "honesty": {"Rating": ratings["honesty"], "Rationale": "Sure."},
            "truthfulness": {"Type": ["1"], "Rationale": "A mistake.", "Rating": "3", "Rationale For Rating": "Partly wrong."},
        },
        "critique": "Fine.", "custom_system_prompt": "Be honest.", "fine-grained_score": 3.5, "model": model, "overall_score": 7.5,
        "principle": "honesty", "response": words,
    }  # fmt: skip


MANY = {
    "source": "evol_instruct", "instruction": "Why?", "models": ["a", "b"], "correct_answers": ["None"], "incorrect_answers": ["None"],
    "completions": [completion("Because.", "a", honesty="4"), completion("So.", "b", honesty="N/A")],
}  # fmt: skip


def test_completions_are_rated_on_their_aspects_and_not_paired():
    draft = ultrafeedback.read(MANY)
    assert (draft.prompt, draft.known, draft.pairs) == (asked("Why?"), {"source": "evol_instruct"}, ())
    assert draft.answers == (Answer("Because.", "a"), Answer("So.", "b"))
    truth = json.dumps({"Rating": "3", "Rationale": "Partly wrong."})
    assert draft.said[:3] == (
        DraftJudgement((0,), "honesty", 4.0, "ultrafeedback", json.dumps({"Rating": "4", "Rationale": "Sure."})),
        DraftJudgement((0,), "truthfulness", 3.0, "ultrafeedback", truth), DraftJudgement((0,), "overall_score", 7.5, "ultrafeedback"),
    )  # fmt: skip
    assert (draft.said[3].items, draft.said[3].value, draft.said[3].outcome) == ((1,), None, Outcome.UNPARSABLE)


REFUSED = {
    "a completion that is a text": (MANY | {"completions": ["x"]}, BAD, "completions are a list"),
    "no completions": (MANY | {"completions": []}, BAD, "completions are empty"),
    "aspects that are a list": (MANY | {"completions": [{"response": "x", "annotations": []}]}, BAD, "annotations are a list"),
    "an aspect that is a number": (MANY | {"completions": [{"response": "x", "annotations": {"honesty": 4}}]}, BAD, "honesty is an int"),
    "an overall score in words": (
        MANY | {"completions": [{"response": "x", "annotations": {}, "overall_score": "7"}]}, BAD, "overall_score is a str",
    ),
    "no instruction": (without(MANY, "instruction"), BAD, "instruction is missing"),
    "one score": (without(ROW, "score_rejected"), BAD, "score_rejected is missing, but score_chosen is given"),
    "the other score": (without(ROW, "score_chosen"), BAD, "score_chosen is missing, but score_rejected is given"),
    "a score that is a text": (ROW | {"score_chosen": "8.5"}, BAD, "score_chosen is a str"),
    "a score that is no number": (ROW | {"score_chosen": NAN}, BAD, "score_chosen is nan"),
    "an endless score": (ROW | {"score_rejected": INF}, BAD, "score_rejected is inf"),
    "a score of too many digits": (ROW | {"score_rejected": 10**400}, BAD, "score_rejected is inf"),
    "a score that is a list": (ROW | {"score_chosen": [8]}, BAD, "score_chosen is a list"),
    "a cell that is no number": (ROW | {"score_chosen": Cell("high")}, BAD, "score_chosen is the text 'high'"),
    "another prompt": (ROW | {"prompt": "How?"}, BAD, "not the beginning of chosen and rejected"),
    "another question": (ROW | {"rejected": talk("How?", "No.")}, BAD, "differ before"),
    "no chosen": (without(ROW, "chosen"), BAD, "chosen is missing"),
    "no answer": (ROW | {"chosen": talk("Why?"), "rejected": talk("How?")}, BAD, "is from 'user'"),
    "an empty answer": (ROW | {"rejected": talk("Why?", " ")}, EMPTY, "rejected is empty"),
    "equal answers": (ROW | {"rejected": ROW["chosen"]}, EQUAL, "same text"),
    "content that is a number": (ROW | {"chosen": [{"role": "user", "content": 1}]}, BAD, "chosen[0].content is an int"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(ultrafeedback, *REFUSED[name])
