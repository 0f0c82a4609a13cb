import pytest

from pipeline.source.formats import trl
from pipeline.source.formats.draft import Answer, Draft, DraftPair, Turn
from schemas import records
from schemas.errors import RowError
from schemas.messages import user
from schemas.records import Part, Reason
from tests.support.dialects import BAD, EMPTY, EQUAL, INF, MEDIA, NAN, asked, refused, texts, without
from tests.support.preference_sets import part, says

ROW = {
    "prompt": says("user", part("image"), part("text", "What?")), "chosen": says("assistant", part("text", "A cat.")),
    "rejected": says("assistant", part("text", "A dog.")), "images": ["a.jpg"],
}  # fmt: skip
TALK = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]
OTHER = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A dog."}]


def test_a_conversation_has_its_images_in_their_places():
    answers = (Answer("A cat.", role="chosen"), Answer("A dog.", role="rejected"))
    assert trl.read(ROW) == Draft(asked(("image", "a.jpg"), "What?"), answers, (), (DraftPair(0, 1, None, {}),))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "What?", "chosen": "A cat.", "rejected": "A dog."},
        {"prompt": [{"role": "user", "content": "What?"}], "chosen": TALK[1:], "rejected": OTHER[1:]},
        {"chosen": TALK, "rejected": OTHER},
        {"prompt": "What?", "chosen": TALK, "rejected": OTHER},
        {"prompt": None, "chosen": TALK, "rejected": OTHER, "images": None},
        {"prompt": [], "chosen": TALK, "rejected": OTHER},
    ],
)
def test_all_shapes_say_the_same(row):
    draft = trl.read(row)
    assert draft.prompt == asked("What?")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]


def test_two_texts_without_a_prompt_share_their_beginning():
    draft = trl.read({"chosen": "The sky is blue.", "rejected": "The sky is green."})
    # they part at "b"/"g"; the space before belongs to the answers
    assert (draft.prompt, texts(draft)) == (asked("The sky is"), [(" blue.", "chosen"), (" green.", "rejected")])


def test_images_without_a_place_stand_before_the_text():
    draft = trl.read(without(ROW, "images") | {"prompt": "What?", "image": {"bytes": b"x", "path": None}})
    assert draft.prompt == asked(("image", {"bytes": b"x", "path": None}), "What?")


def test_a_tag_is_the_place_of_its_picture():
    row = {"prompt": "Is <image> like\n<image>?", "chosen": "a <image>", "rejected": "b", "images": ["a.jpg", "b.jpg"]}
    draft = trl.read(row)
    assert draft.prompt == asked("Is ", ("image", "a.jpg"), " like", ("image", "b.jpg"), "?")
    assert texts(draft)[0] == ("a <image>", "chosen")  # an answer is a text
    talk = [{"role": "user", "content": "<image>\nWhat?"}]
    whole = {side: [*talk, {"role": "assistant", "content": side}] for side in ("chosen", "rejected")}
    assert trl.read({"prompt": talk, "image": "a.jpg"} | whole).prompt == asked(("image", "a.jpg"), "What?")


@pytest.mark.parametrize("images", [[], ["a.jpg"], ["a.jpg", "b.jpg", "c.jpg"]])
def test_tags_and_pictures_of_different_numbers_are_refused(images):
    row = {"prompt": "<image><image>?", "chosen": "a", "rejected": "b", "images": images}
    refused(trl, row, BAD, f"2 places for image files, but the row has {len(images)}")


def test_numbered_tags_are_places_where_they_first_stand():
    row = {
        "prompt": "Unlike <image 2>, <image_1> is red. Why does <image 2> differ?",
        "chosen": "a",
        "rejected": "b",
        "images": ["a.jpg", "b.jpg"],
    }
    assert trl.read(row).prompt == asked(
        "Unlike ", ("image", "b.jpg"), ", ", ("image", "a.jpg"), " is red. Why does ", "<image 2>", " differ?"
    )
    refused(trl, row | {"images": ["a.jpg"]}, BAD, "names image 1, 2, but the row has 1")
    refused(trl, row | {"prompt": "<image_2>?"}, BAD, "names image 2, but the row has 2")
    refused(trl, row | {"prompt": "<image_1> <image>?"}, BAD, "names image 1 and others without a number")


def test_columns_may_repeat_the_files_that_the_parts_name_but_not_add_others():
    parts = [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "?"}]
    row = {"prompt": [{"role": "user", "content": parts}], "chosen": "a", "rejected": "b"}
    for same in (["a.jpg"], [{"bytes": b"x", "path": "a.jpg"}]):
        assert trl.read(row | {"images": same}).prompt == asked(("image", "a.jpg"), "?")
    refused(trl, row | {"images": ["b.jpg"]}, BAD, "names its own 1 image file, and the row has 1 others")
    refused(trl, row | {"images": ["a.jpg", "b.jpg"]}, BAD, "and the row has 2 others")


def test_roles():
    def row(role):
        return {
            "prompt": [{"role": role, "content": "Be short."}, {"role": "user", "content": "?"}],
            "chosen": "a",
            "rejected": "b",
        }

    assert [turn.role for turn in trl.read(row("developer")).prompt] == ["system", "user"]
    for role in ("tool", "function", "observation", "tool_call", "tool_response", "function_call"):
        refused(trl, row(role), Reason.NOT_READ, f"prompt[0].role is '{role}': calls of tools")
    refused(trl, row("narrator"), BAD, "prompt[0].role is 'narrator'")


def test_a_block_may_hold_its_image():
    prompt = [{"role": "user", "content": [{"type": "image", "image": "b.jpg"}, {"type": "text", "text": "?"}]}]
    assert trl.read(without(ROW, "images") | {"prompt": prompt}).prompt == asked(("image", "b.jpg"), "?")


def test_unpaired_and_prompt_only():
    draft = trl.read({"prompt": "What?", "completion": [{"role": "assistant", "content": "A cat."}], "label": False})
    assert (texts(draft), draft.pairs) == ([("A cat.", None)], (DraftPair(0, None, None, {"label": False}),))
    draft = trl.read({"prompt": "1 + 1?", "solution": "2", "id": 5})
    assert draft == Draft(asked("1 + 1?"), known={"answer": "2"}, id="5")


def test_what_is_written_is_read_back():
    prompt = (
        records.Message("system", (Part("text", "Be short."),)),
        user("Left", Part("image", media="aa"), "right", Part("image", media="bb"), Part("audio", media="cc")),
    )
    sample = records.sample(prompt)
    chosen, rejected = (records.candidate(sample.id, "s", text) for text in ("A cat.", "A dog."))
    pair = records.pair(sample.id, "s", chosen, rejected, margin=2.5)
    row = trl.write(sample, pair, lambda media: f"{media}.bin")
    assert row["images"] == ["aa.bin", "bb.bin"]
    draft = trl.read(row)
    assert draft.prompt == (
        Turn("system", (("text", "Be short."),)),
        *asked("Left", ("image", "aa.bin"), "right", ("image", "bb.bin"), ("audio", "cc.bin")),
    )
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert draft.pairs[0].known == {"margin": 2.5}
    unpaired = trl.write(sample, pair._replace(rejected=None, label=True, margin=None), str)
    assert trl.read(unpaired).pairs == (DraftPair(0, None, None, {"label": True}),)
    with pytest.raises(RowError, match="no rejected media"):
        trl.write(sample, pair._replace(rejected_media=("dd",)), str)


REFUSED = {
    "no chosen": (without(ROW, "chosen"), BAD, "chosen is missing"),
    "an empty answer": (ROW | {"rejected": says("assistant", part("text", " "))}, EMPTY, "rejected is empty"),
    "equal answers": (ROW | {"rejected": ROW["chosen"]}, EQUAL, "the same text"),
    "one place, two images": (ROW | {"images": ["a.jpg", "b.jpg"]}, BAD, "1 place for image files, but the row has 2"),
    "one place, no image": (ROW | {"images": []}, BAD, "1 place for image files, but the row has 0"),
    "an image that is a number": (ROW | {"images": [7]}, BAD, "images is an int"),
    "an image that is nothing": (ROW | {"images": [None]}, BAD, "images is missing"),
    "a margin that is a text": (ROW | {"margin": "2"}, BAD, "margin is a str"),
    "a margin that is no number": (ROW | {"margin": NAN}, BAD, "margin is nan"),
    "an endless margin": (ROW | {"margin": -INF}, BAD, "margin is -inf"),
    "a margin that is true": (ROW | {"margin": True}, BAD, "margin is a bool"),
    "a prompt that is a number": (ROW | {"prompt": 3}, BAD, "prompt is an int"),
    "a message without a role": (ROW | {"prompt": [{"content": "?"}]}, BAD, "prompt[0].role is missing"),
    "a message that is a text": (ROW | {"prompt": ["?"]}, BAD, "prompt[0] is a str"),
    "content that is nothing": (ROW | {"prompt": [{"role": "user", "content": None}]}, BAD, "prompt[0].content is missing"),
    "a part of no type": (ROW | {"prompt": [{"role": "user", "content": [{}]}]}, MEDIA, "without a type"),
    "a part of a strange type": (ROW | {"prompt": [{"role": "user", "content": [{"type": "smell"}]}]}, MEDIA, "smell"),
    "an answer that shows": (ROW | {"chosen": says("assistant", part("image"))}, MEDIA, "contains media"),
    "an answer of the user's": (ROW | {"chosen": says("user", part("text", "x"))}, BAD, "is from 'user'"),
    "answers that differ before": ({"chosen": [OTHER[1], *TALK], "rejected": [TALK[1], *OTHER]}, BAD, "differ before"),
    "a prompt of its own": ({"prompt": "Why?", "chosen": TALK, "rejected": OTHER}, BAD, "not the beginning of chosen and rejected"),
    "no messages": (ROW | {"chosen": []}, BAD, "chosen has no messages"),
    "a label that is a text": ({"prompt": "?", "completion": "x", "label": "true"}, BAD, "label is a str"),
    "no label": ({"prompt": "?", "completion": "x"}, BAD, "label is missing"),
    "no completion": ({"prompt": "?", "label": True}, BAD, "completion is missing"),
    "media and no user": (
        {"prompt": [{"role": "system", "content": "x"}], "image": "a.jpg"}, BAD, "no user message",
    ),
    "broken base64": (ROW | {"images": ["data:image/png;base64,%%"]}, BAD, "base64"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(trl, *REFUSED[name])


@pytest.mark.parametrize("name", ["question", "query", "problem", "User"])
def test_the_beginning_of_two_answers_is_no_prompt_beside_a_question(name):
    row = {"chosen": "The sky is blue.", "rejected": "The sky is green.", name: "Of what colour is the sky?"}
    refused(
        trl,
        row,
        Reason.NOT_READ,
        f"{name} seems to be the question, but is not read; name it in `columns`, as in {{prompt: {name}}}",
    )
    assert trl.read(row | {"prompt": "What?"}).prompt == asked("What?")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "chosen is a bool; use a text or"),
        (5, "chosen is an int; use a text or"),
        (None, "chosen is missing; add"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_words(value, word):
    refused(trl, {"prompt": "What?", "chosen": value, "rejected": "b"}, BAD, word)


def test_the_beginning_of_two_answers_is_no_prompt_beside_a_conversation():
    row = {
        "trajectory": [{"from": "user", "value": "Solve it."}],
        "chosen": "Step 1: add.",
        "rejected": "Step 1: divide.",
    }
    refused(trl, row, Reason.NOT_READ, "trajectory seems to be the question")  # openbmb/UltraInteract_pair


def test_a_path_in_a_tag_is_that_file():  # Qwen-VL: "Picture 1: <img>URL</img>"
    row = {
        "prompt": "Picture 1: <img>a b.jpg</img>\nAnd <audio>c.wav</audio>what?",
        "chosen": "<img>a.jpg</img>",
        "rejected": "b",
    }
    draft = trl.read(row)
    assert draft.prompt == asked("Picture 1: ", ("image", "a b.jpg"), "\nAnd ", ("audio", "c.wav"), "what?")
    assert texts(draft)[0] == ("<img>a.jpg</img>", "chosen")
    assert trl.read(row | {"prompt": "An empty <img></img>?"}).prompt == asked("An empty <img></img>?")
    long = "<img>a.jpg</img>" * 3000
    assert len(trl.read(row | {"prompt": long}).prompt[0].pieces) == 3000


@pytest.mark.parametrize("beside", [{"label": False}, {"label": "5"}, {"completion": "A cow."}])
def test_what_is_of_a_single_answer_is_refused_beside_two(beside):
    row = {"prompt": "What?", "chosen": "a", "rejected": "b"}
    refused(trl, row | beside, Reason.NOT_READ, f"{next(iter(beside))} is of a single answer")
    assert texts(trl.read(row | {"label": None, "completion": ""})) == texts(trl.read(row))
