"""The layout is that of berkeley-nest/Nectar on the Hub: prompt, answers of {answer, model, rank}, turns, num_responses, source, good_natured."""

import pytest

from pipeline.source.formats import nectar
from pipeline.source.formats.draft import Answer, DraftJudgement, Turn
from schemas.records import Outcome
from tests.support.dialects import BAD, asked, refused, without


def answer(words: str, rank, model: str = "gpt-4") -> dict:
    return {"answer": words, "model": model, "rank": rank}


ROW = {
    "prompt": "\n\nHuman: Why?\n\nAssistant: ", "answers": [answer(" So.", 2.0, "llama"), answer("Because.", 1.0)], "turns": 1,
    "num_responses": 2, "source": ["sharegpt"], "good_natured": True,
}  # fmt: skip


def test_answers_are_ranked_and_not_paired():
    draft = nectar.read(ROW)
    assert draft.prompt == asked("Why?")
    assert draft.answers == (Answer("So.", "llama"), Answer("Because.", "gpt-4"))
    # 0 is the best, so rank 2 is -1
    assert draft.said == (DraftJudgement((0,), "rank", -1.0, "nectar"), DraftJudgement((1,), "rank", 0.0, "nectar"))
    assert draft.pairs == ()


def test_an_object_of_lists_is_the_same():
    flat = {key: [one[key] for one in ROW["answers"]] for key in ("answer", "model", "rank")}
    assert nectar.read(ROW | {"answers": flat}) == nectar.read(ROW)
    assert nectar.fits(ROW | {"answers": flat}) == nectar.fits(ROW)


def test_a_transcript_becomes_its_turns():
    draft = nectar.read(
        ROW | {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nStill here.\n\nHuman: Why?\n\nAssistant:"}
    )
    assert draft.prompt == (
        Turn("user", (("text", "Hi"),)), Turn("assistant", (("text", "Hello.\n\nStill here."),)), Turn("user", (("text", "Why?"),)),
    )  # fmt: skip


def test_a_text_without_speakers_is_one_question():
    assert nectar.read(ROW | {"prompt": "Human: nature?"}).prompt == asked("nature?")
    assert nectar.read(ROW | {"prompt": "What is Human: nature?"}).prompt == asked("What is Human: nature?")


def test_a_rank_that_is_missing_has_no_value():
    (said, _) = nectar.read(ROW | {"answers": [answer("So.", None), answer("x", 1)]}).said
    assert (said.value, said.outcome) == (None, Outcome.UNPARSABLE)


REFUSED = {
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "a transcript that ends with an answer": (ROW | {"prompt": "\n\nHuman: a\n\nAssistant: b"}, BAD, "not a transcript"),
    "two questions in a row": (ROW | {"prompt": "\n\nHuman: a\n\nHuman: b\n\nAssistant:"}, BAD, "not a transcript"),
    "words before the first speaker": (ROW | {"prompt": "Hm\n\nHuman: a\n\nAssistant:"}, BAD, "not a transcript"),
    "no answers": (ROW | {"answers": []}, BAD, "answers are empty"),
    "an answer that is a text": (ROW | {"answers": ["x"]}, BAD, "answers are a list; use a list of objects"),
    "an answer without words": (ROW | {"answers": [{"rank": 1}]}, BAD, "answers[0].answer is missing"),
    "a rank in words": (ROW | {"answers": [answer("x", "best")]}, BAD, "answers[0].rank is a str"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(nectar, *REFUSED[name])


def test_answers_without_ranks_are_not_of_this_format():
    assert nectar.fits({"prompt": "?", "answers": ["a", "b"]}) is None
    assert nectar.fits({"prompt": "?", "answers": None}) is None
