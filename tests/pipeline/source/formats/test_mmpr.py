import pytest

from pipeline.source.formats import mmpr
from pipeline.source.formats.draft import Answer, Draft, DraftPair
from tests.support.dialects import BAD, EMPTY, EQUAL, HALF, asked, refused, without

ROW = {"image": "a.jpg", "question": "<image>\nHow many?", "chosen": "1", "rejected": "2", "answer_gt": "1"}


def test_the_answer_is_known():
    answers = (Answer("1", role="chosen"), Answer("2", role="rejected"))
    prompt = asked(("image", "a.jpg"), "How many?")
    assert mmpr.read(ROW) == Draft(prompt, answers, (), (DraftPair(0, 1, None, {}),), {"answer": "1"})
    assert mmpr.read(ROW | {"answer_gt": 1}).known == {"answer": "1"}


@pytest.mark.parametrize("image", [None, "", []])
def test_a_question_may_have_no_image(image):
    assert mmpr.read(ROW | {"image": image, "question": "How many?"}).prompt == asked("How many?")


REFUSED = {
    "no question": (without(ROW, "question"), BAD, "question is missing"),
    "a question of messages": (ROW | {"question": [{"role": "user", "content": "x"}]}, BAD, "question is a list"),
    "a tag and no image": (without(ROW, "image"), BAD, "1 place for image files, but the row has 0"),
    "a tag and two images": (ROW | {"image": ["a", "b"]}, BAD, "1 place for image files, but the row has 2"),
    "no chosen": (ROW | {"chosen": None}, BAD, "chosen is missing"),
    "a number as rejected": (ROW | {"rejected": 2}, BAD, "rejected is an int"),
    "equal answers": (ROW | {"rejected": "1"}, EQUAL, "same text"),
    "an empty answer": (ROW | {"rejected": ""}, EMPTY, "rejected is empty"),
    "an answer that is a list": (ROW | {"answer_gt": ["1"]}, BAD, "answer_gt is a list"),
    "an answer that is true": (ROW | {"answer_gt": True}, BAD, "answer_gt is a bool"),
    "half a character": (ROW | {"question": f"<image>{HALF}"}, BAD, "an unpaired surrogate"),
    "an image that is a number": (ROW | {"image": 4.5}, BAD, "image is a float"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(mmpr, *REFUSED[name])
