import pytest

from pipeline.source.formats import ms_swift
from pipeline.source.formats.draft import Draft, DraftPair, Turn
from pipeline.source.formats.registry import detect
from schemas.records import Reason
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


def test_rejected_media_alone_make_a_pair():
    """modelscope/ms-swift, docs/source_en/Customization/Custom-dataset.md: "If only the images differ"."""
    for kind, tag in (("images", "<image>"), ("videos", "<video>"), ("audios", "<audio>")):
        talk = [{"role": "user", "content": f"{tag}What?"}, TALK[1]]
        row = {"messages": talk, kind: ["a"], f"rejected_{kind}": ["b"]}
        draft = ms_swift.read(row)
        assert texts(draft) == [("A cat.", "chosen"), ("A cat.", "rejected")]
        assert draft.pairs == (DraftPair(0, 1, ("b",), {}),)
        assert ms_swift.fits(row)
    assert ms_swift.read(ROW | {"rejected_images": []}).pairs == (DraftPair(0, 1, None, {}),)
    refused(
        ms_swift,
        {"messages": TALK, "images": ["a"], "rejected_images": ["a", "b"]},
        BAD,
        "has 1 image file, but the rejected side has 2",
    )


TALKED = (*asked("Hi?"), Turn("assistant", (("text", "Ho."),)), *asked(("image", "a.jpg"), "What?"))
BEFORE = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]
FORMS = {  # modelscope/ms-swift, docs/source_en/Customization/Custom-dataset.md: the four forms that its AutoPreprocessor reads
    "messages": {"messages": [*BEFORE, *TALK]},
    "conversations, from and value": {"conversations": [{"from": ("human", "gpt")[i % 2], "value": m["content"]} for i, m in enumerate([*BEFORE, *TALK])]},
    "conversation of questions and answers": {
        "conversation": [{"human": "Hi?", "assistant": "Ho."}, {"human": "<image>What?", "assistant": "A cat."}]
    },
    "query and response": {"query": "<image>What?", "response": "A cat.", "history": [["Hi?", "Ho."]]},
    "alpaca": {"instruction": "<image>What?", "output": "A cat.", "history": [["Hi?", "Ho."]]},
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_its_four_forms_are_one_conversation(name):
    row = FORMS[name] | {"images": ["a.jpg"], "rejected_response": "A dog."}
    draft = ms_swift.read(row)
    assert draft.prompt == TALKED
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert detect(row)[0] == "ms_swift"
    assert ms_swift.read(without(row, "rejected_response")).known == {"reference": "A cat."}


def test_a_query_alone_is_a_prompt_and_the_input_follows_the_instruction():
    assert ms_swift.read({"query": "What?", "solution": "cat"}) == Draft(asked("What?"), known={"answer": "cat"})
    row = {"instruction": "Add.", "input": "1 + 1", "output": "2", "rejected_response": "3"}
    assert ms_swift.read(row).prompt == asked("Add.\n1 + 1")


GROUNDED = {  # modelscope/ms-swift, the same page: "SWIFT's grounding data format"
    "messages": [{"role": "user", "content": "<image>Where is <ref-object>?"}, {"role": "assistant", "content": "Left of <ref-object>."}],
    "images": ["a.jpg"], "rejected_response": "Nowhere.", "objects": {"ref": ["the sheep", "the dog"], "bbox": []},
}  # fmt: skip


def test_the_names_of_objects_stand_in_the_texts():
    draft = ms_swift.read(GROUNDED)
    assert draft.prompt == asked(("image", "a.jpg"), "Where is the sheep?")
    assert texts(draft) == [("Left of the dog.", "chosen"), ("Nowhere.", "rejected")]
    other = ms_swift.read(
        GROUNDED | {"rejected_response": "Right of <ref-object>."}
    )  # each side goes on behind the prompt
    assert texts(other)[1] == ("Right of the dog.", "rejected")
    assert ms_swift.read(ROW | {"objects": {"ref": [], "bbox": [[1, 2, 3, 4]]}}) == ms_swift.read(
        ROW
    )  # no place for it


@pytest.mark.parametrize(
    ("row", "reason", "word"),
    [
        (
            {"rejected_response": "At <bbox>.", "objects": {"ref": ["a", "b"], "bbox": [[1, 2, 3, 4]]}},
            Reason.NOT_READ,
            "<bbox> in a text",
        ),
        ({"objects": {"ref": ["the sheep"]}}, BAD, "2 <ref-object>, but objects.ref has 1"),
        ({"objects": None}, BAD, "1 <ref-object>, but objects.ref has 0"),
        ({"objects": ["sheep"]}, BAD, "objects are a list"),
        (
            {"objects": {"ref": ["a", "b"]}, "label": True},
            BAD,
            "label is of a single answer, but the row rejects another one",
        ),
        ({"objects": {"ref": [3]}}, BAD, "objects.ref is an int"),
    ],
)
def test_boxes_and_names_that_are_missing_are_refused(row, reason, word):
    refused(ms_swift, GROUNDED | row, reason, word)


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
    "two images, one tag": (ROW | {"images": ["a.jpg", "b.jpg"]}, BAD, "1 place for image files, but the row has 2"),
    "no image": (without(ROW, "images"), BAD, "1 place for image files, but the row has 0"),
    "two rejected images": (MIXED | {"rejected_images": ["b", "c"]}, BAD, "has 1 image file, but the rejected side has 2"),
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
