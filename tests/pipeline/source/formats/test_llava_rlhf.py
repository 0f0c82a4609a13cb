"""The layout is that of zhiqings/LLaVA-Human-Preference-10K, as RLHF/data_utils/data_utils_rm.py of llava-rlhf/LLaVA-RLHF reads it."""

import pytest

from pipeline.source.formats import llava_rlhf
from pipeline.source.formats.draft import DraftJudgement, DraftPair, Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

ROW = {
    "id": "000000033471", "image": "1.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": ""}],
    "output_1": {"from": "llava", "value": "A dog."}, "output_2": {"from": "gpt", "value": "A cat."}, "preference": 2, "hallucination": True,
}  # fmt: skip
EARLIER = [
    {"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A cat."}, {"from": "human", "value": "Its colour?"},
]  # fmt: skip


def test_the_output_of_that_number_is_chosen():
    draft = llava_rlhf.read(ROW)
    assert draft.prompt == asked(("image", "1.jpg"), "What is it?")
    assert texts(draft) == [("A dog.", "rejected"), ("A cat.", "chosen")]
    assert (draft.said, draft.pairs) == (
        (DraftJudgement((0, 1), "preference", -1.0, "llava_rlhf"),),
        (DraftPair(1, 0),),
    )
    assert draft.id == "000000033471"


def test_the_first_may_be_better():
    draft = llava_rlhf.read(ROW | {"preference": 1})
    assert (draft.said[0].value, draft.pairs) == (1.0, (DraftPair(0, 1),))


@pytest.mark.parametrize("talk", [EARLIER, [EARLIER], [*EARLIER, {"from": "gpt", "value": "a stub"}]])
def test_earlier_turns_are_the_prompt_and_the_stub_is_not(talk):
    prompt = llava_rlhf.read(ROW | {"conversations": talk}).prompt
    assert prompt == (
        Turn("user", (("text", "What is it?"), ("image", "1.jpg"))), Turn("assistant", (("text", "A cat."),)),
        Turn("user", (("text", "Its colour?"),)),
    )  # fmt: skip


REFUSED = {
    "no preference": (without(ROW, "preference"), BAD, "preference is missing"),
    "a third output": (ROW | {"preference": 3}, BAD, "preference is 3"),
    "a preference in words": (ROW | {"preference": "first"}, BAD, "preference is a str"),
    "no output": (ROW | {"output_1": None}, BAD, "output_1 is missing"),
    "an output without words": (ROW | {"output_1": {"from": "gpt"}}, BAD, "output_1.value is missing"),
    "an empty output": (ROW | {"output_1": {"from": "gpt", "value": ""}}, EMPTY, "output_1 is empty"),
    "equal outputs": (ROW | {"output_1": ROW["output_2"]}, EQUAL, "the same text"),
    "no picture": (without(ROW, "image"), BAD, "1 place for image files"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(llava_rlhf, *REFUSED[name])
