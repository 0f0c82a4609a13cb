import pytest

from pipeline.source.formats import ms_swift
from pipeline.source.formats.draft import Draft, DraftPair
from tests.support.dialects import BAD, EMPTY, EQUAL, MEDIA, NAN, asked, refused, texts, without

ASKED = {"role": "user", "content": "<image>What?"}
TALK = [ASKED, {"role": "assistant", "content": "A cat."}]
OTHER = [ASKED, {"role": "assistant", "content": "A dog."}]
ROW = {"messages": TALK, "rejected_response": "A dog.", "images": ["a.jpg"]}
MIXED = {"messages": TALK, "rejected_messages": OTHER, "images": ["a.jpg"], "rejected_images": ["b.jpg"]}


@pytest.mark.parametrize(
    "other", [{"rejected_response": "A dog."}, {"rejected_response": OTHER[1:]}, {"rejected_messages": OTHER}]
)
def test_another_answer(other):
    draft = ms_swift.read({"messages": TALK, "images": ["a.jpg"], "margin": 0.5} | other)
    assert draft.prompt == asked(("image", "a.jpg"), "What?")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert draft.pairs == (DraftPair(0, 1, None, {"margin": 0.5}),)


def test_rejected_media_stand_in_one_for_one():
    assert ms_swift.read(MIXED).pairs == (DraftPair(0, 1, ("b.jpg",), {}),)
    same = ms_swift.read(MIXED | {"rejected_messages": TALK})  # only the picture differs
    assert texts(same) == [("A cat.", "chosen"), ("A cat.", "rejected")]
    talk = [{"role": "user", "content": "<image><audio><image>?"}, TALK[1]]
    row = {
        "messages": talk,
        "rejected_response": "x",
        "images": ["a", "b"],
        "audios": ["c"],
        "rejected_images": ["d", "e"],
    }
    assert ms_swift.read(row).pairs[0].rejected_media == ("d", "c", "e")


def test_a_label_a_reference_and_a_prompt():
    assert ms_swift.read({"messages": TALK, "images": ["a.jpg"], "label": False}).pairs == (
        DraftPair(0, None, None, {"label": False}),
    )
    reference = ms_swift.read({"messages": TALK, "images": ["a.jpg"]})
    assert reference == Draft(asked(("image", "a.jpg"), "What?"), known={"reference": "A cat."})
    prompt = ms_swift.read({"messages": [ASKED], "images": ["a.jpg"], "solution": "cat"})
    assert prompt == Draft(asked(("image", "a.jpg"), "What?"), known={"answer": "cat"})


def test_parts_as_openai_has_them():
    parts = [{"type": "image_url", "image_url": {"url": "a.jpg"}}, {"type": "text", "text": "What?"}]
    assert ms_swift.read({"messages": [{"role": "user", "content": parts}]}).prompt == asked(
        ("image", "a.jpg"), "What?"
    )


def test_a_tag_in_an_answer_is_text():
    talk = [ASKED, {"role": "assistant", "content": "I see <image>."}]
    assert texts(ms_swift.read(ROW | {"messages": talk}))[0][0] == "I see <image>."


REFUSED = {
    "no messages": (without(ROW, "messages"), BAD, "messages is missing"),
    "empty messages": (ROW | {"messages": []}, BAD, "messages are empty"),
    "a text as messages": (ROW | {"messages": "What?"}, BAD, "messages is a str"),
    "two images, one tag": (ROW | {"images": ["a.jpg", "b.jpg"]}, BAD, "1 places for image files, but the row has 2"),
    "no image": (without(ROW, "images"), BAD, "1 places for image files, but the row has 0"),
    "two rejected images": (MIXED | {"rejected_images": ["b", "c"]}, BAD, "has 1 image files, but the rejected side has 2"),
    "a rejected video": (MIXED | {"rejected_videos": ["b"]}, BAD, "has 0 video files, but the rejected side has 1"),
    "another conversation": (MIXED | {"rejected_messages": [TALK[1], OTHER[1]]}, BAD, "differ before"),
    "an empty conversation": (MIXED | {"rejected_messages": []}, BAD, "rejected has no messages"),
    "the same answer": (ROW | {"rejected_response": "A cat."}, EQUAL, "same text"),
    "an empty answer": (ROW | {"rejected_response": " "}, EMPTY, "rejected is empty"),
    "an answer that is a number": (ROW | {"rejected_response": 5}, BAD, "rejected_response is an int"),
    "ends with the user": (ROW | {"messages": [ASKED]}, BAD, "is from 'user'"),
    "a label that is a number": ({"messages": TALK, "images": ["a.jpg"], "label": 1}, BAD, "label is an int"),
    "a margin that is no number": (ROW | {"margin": NAN}, BAD, "margin is nan"),
    "a margin that is a text": (ROW | {"margin": "0.5"}, BAD, "margin is a str"),
    "a strange part": (ROW | {"messages": [{"role": "user", "content": [{"type": "box"}]}, TALK[1]]}, MEDIA, "box"),
    "a URL that is nothing": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}]}, BAD, "is an int",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(ms_swift, *REFUSED[name])
