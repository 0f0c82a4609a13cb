import pytest

from pipeline.source.formats import mllm_judge
from pipeline.source.formats.draft import TIED, DraftJudgement, DraftPair
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

ASKED = {"id": 7, "instruction": "What is it?", "image_path": "image/7.jpg", "original_dataset": "coco"}
SCORE = ASKED | {"score_id": 1, "name": "llava", "answer": "A cat.", "human": 3}
PAIR = ASKED | {
    "pair_id": 5, "answer1": {"name": "gpt4", "answer": "A cat."}, "answer2": {"name": "gemini", "answer": "A dog."},
    "human_answer": "B",
}  # fmt: skip
BATCH = ASKED | {
    "answers": [{"name": name, "answer": f"It is {name}."} for name in ("llava", "cogvlm", "gpt4")],
    "human_answer": "CAB",
}


def test_a_score_is_a_rating():
    draft = mllm_judge.read(SCORE)
    assert draft.prompt == asked(("image", "image/7.jpg"), "What is it?")
    assert (texts(draft), draft.answers[0].model) == ([("A cat.", None)], "llava")
    assert draft.said == (DraftJudgement((0,), "rating", 3.0, "mllm_judge"),)
    assert (draft.known, draft.id, draft.pairs) == ({"split": "coco"}, "7", ())
    assert mllm_judge.read(SCORE | {"human": "4"}).said[0].value == 4.0  # some are texts


def test_the_hq_subset_calls_the_score_human_answer():
    """Dongping-Chen/MLLM-Judge, "Dataset/Hard & HQ/HQ/Score.jsonl"."""
    row = without(SCORE, "human") | {
        "Human_answer": 3,
        "evaluator": {"judge_human": 1},
        "result": {"name": "gpt4", "judge": "4"},
    }
    assert mllm_judge.read(row) == mllm_judge.read(SCORE)
    assert mllm_judge.fits(row)
    refused(mllm_judge, row | {"Human_answer": None}, BAD, "Human_answer is missing")


def test_a_choice_is_a_preference_with_its_pair_and_c_is_a_tie():
    draft = mllm_judge.read(PAIR)
    assert draft.said == (DraftJudgement((0, 1), "preference", -1.0, "mllm_judge"),)
    assert draft.pairs == (DraftPair(1, 0),)
    assert mllm_judge.read(PAIR | {"human_answer": "A"}).pairs == (DraftPair(0, 1),)
    tie = mllm_judge.read(PAIR | {"human_answer": "C"})
    assert (tie.said[0].outcome, tie.pairs, tie.no_pair) == (Outcome.TIE, (), TIED)


def test_a_ranking_names_the_best_first():
    draft = mllm_judge.read(BATCH)
    # C best, then A, then B
    assert [(said.items, said.value) for said in draft.said] == [((0,), -1.0), ((1,), -2.0), ((2,), -0.0)]
    assert draft.pairs == ()


REFUSED = {
    "no instruction": (without(SCORE, "instruction"), BAD, "instruction is missing"),
    "no picture": (without(SCORE, "image_path"), BAD, "image_path is missing"),
    "a score that is words": (SCORE | {"human": "good"}, BAD, "human is the text"),
    "no score": (SCORE | {"human": None}, BAD, "human is missing"),
    "an empty answer": (SCORE | {"answer": " "}, EMPTY, "the row is empty"),
    "a fourth letter": (PAIR | {"human_answer": "D"}, BAD, "human_answer is 'D'"),
    "equal answers": (PAIR | {"answer2": PAIR["answer1"]}, EQUAL, "same text"),
    "an answer that is a text": (PAIR | {"answer2": "x"}, BAD, "answer2 is a str"),
    "a letter too many": (BATCH | {"human_answer": "CABD"}, BAD, "human_answer is 'CABD'"),
    "a letter twice": (BATCH | {"human_answer": "AAB"}, BAD, "the letters of the 3 answers"),
    "one answer": (BATCH | {"answers": BATCH["answers"][:1]}, BAD, "a list of two or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(mllm_judge, *REFUSED[name])
