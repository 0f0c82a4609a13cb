import pytest

from pipeline.source.formats import llava
from pipeline.source.formats.draft import Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without


def talk(*turns: str) -> list[dict]:
    return [{"from": ("human", "gpt")[i % 2], "value": words} for i, words in enumerate(turns)]


ROW = {
    "id": "1", "image": "a.jpg", "conversations": talk("<image>\nDescribe.", "A cat."),
    "rejected_conversations": talk("<image>\nDescribe.", "A dog."),
}  # fmt: skip


def test_conversations_part_at_their_end():
    draft = llava.read(ROW)
    assert (draft.prompt, draft.id) == (asked(("image", "a.jpg"), "Describe."), "1")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]


def test_earlier_turns_belong_to_the_prompt():
    row = ROW | {
        "conversations": talk("<image>?", "A.", "B?", "C."),
        "rejected_conversations": talk("<image>?", "A.", "B?", "D."),
    }
    draft = llava.read(row)
    assert draft.prompt == (*asked(("image", "a.jpg"), "?"), Turn("assistant", (("text", "A."),)), *asked("B?"))
    assert texts(draft) == [("C.", "chosen"), ("D.", "rejected")]


REFUSED = {
    "no conversations": (without(ROW, "conversations"), BAD, "conversations is missing"),
    "no rejected ones": (without(ROW, "rejected_conversations"), BAD, "rejected_conversations is missing"),
    "empty ones": (ROW | {"conversations": []}, BAD, "chosen has no messages"),
    "a text": (ROW | {"conversations": "<image>"}, BAD, "conversations is a str"),
    "another question": (ROW | {"rejected_conversations": talk("<image>\nWhat?", "A dog.")}, BAD, "differ before"),
    "an earlier answer differs": (
        ROW | {"conversations": talk("<image>", "A", "B", "C"), "rejected_conversations": talk("<image>", "X", "B", "D")},
        BAD, "differ before",
    ),
    "ends with the human": (ROW | {"conversations": talk("<image>\nDescribe.", "A.", "B?"), "rejected_conversations":
                                   talk("<image>\nDescribe.", "A.", "C?")}, BAD, "is from 'user'"),
    "equal answers": (ROW | {"rejected_conversations": ROW["conversations"]}, EQUAL, "same text"),
    "an empty answer": (ROW | {"rejected_conversations": talk("<image>\nDescribe.", "")}, EMPTY, "rejected is empty"),
    "a tag too many": (
        ROW | {name: talk("<image><image>", end) for name, end in zip(llava.NAMES, "ab")}, BAD, "2 places for image files, but the row has 1",
    ),
    "no image": (without(ROW, "image"), BAD, "1 place for image files, but the row has 0"),
    "a value that is a number": (ROW | {"conversations": [{"from": "human", "value": 1}, *talk("x")]}, BAD, "value is an int"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(llava, *REFUSED[name])
