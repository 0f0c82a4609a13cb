import pytest

from pipeline.source.formats import llama_factory
from pipeline.source.formats.draft import DraftPair, Turn
from pipeline.source.formats.registry import detect
from schemas.records import Reason
from tests.support.dialects import BAD, EMPTY, EQUAL, HALF, MEDIA, asked, refused, texts, without

ROW = {
    "conversations": [{"from": "human", "value": "<image>Describe."}], "chosen": {"from": "gpt", "value": "A cat."},
    "rejected": {"from": "gpt", "value": "A dog."}, "images": ["a.jpg"],
}  # fmt: skip
ALPACA = {"instruction": "Add.", "input": "1 + 1", "chosen": "2", "rejected": "3"}
KTO = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "kto_tag": True}


def test_sharegpt_ranking():
    draft = llama_factory.read(ROW)
    assert draft.prompt == asked(("image", "a.jpg"), "Describe.")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]


def test_tags_are_places_in_order_and_line_breaks_beside_them_go():
    value = "First <image>\nthen\n<audio>and <image>!"
    row = ROW | {
        "conversations": [{"from": "human", "value": value}],
        "images": ["a.jpg", "b.jpg"],
        "audios": ["c.wav"],
    }
    assert llama_factory.read(row).prompt == asked(
        "First ", ("image", "a.jpg"), "then", ("audio", "c.wav"), "and ", ("image", "b.jpg"), "!"
    )


def test_media_without_a_tag_stand_before_the_text():
    row = ROW | {"conversations": [{"from": "human", "value": "Describe."}]}
    assert llama_factory.read(row).prompt == asked(("image", "a.jpg"), "Describe.")


def test_earlier_turns():
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}, {"from": "human", "value": "<image>?"}]
    draft = llama_factory.read(ROW | {"conversations": talk})
    assert [turn.role for turn in draft.prompt] == ["user", "assistant", "user"]


def test_alpaca():
    draft = llama_factory.read(ALPACA | {"history": [["Hi", "Ho"]]})
    assert draft.prompt == (*asked("Hi"), Turn("assistant", (("text", "Ho"),)), *asked("Add.\n1 + 1"))
    assert texts(draft) == [("2", "chosen"), ("3", "rejected")]


def test_kto():
    draft = llama_factory.read(KTO)
    assert (draft.prompt, texts(draft)) == (asked("Hi"), [("Ho", None)])
    assert draft.pairs == (DraftPair(0, None, None, {"label": True}),)
    draft = llama_factory.read({"instruction": "Add.", "output": "3", "kto_tag": False})
    assert draft.pairs[0].known == {"label": False}


V1 = {  # hiyouga/LLaMA-Factory, src/llamafactory/v1/plugins/data_plugins/converter.py: what its `pair` converter makes
    f"{side}_messages": [
        {"role": "user", "content": [{"type": "image_url", "value": "a.jpg"}, {"type": "text", "value": "What?"}], "loss_weight": 0.0},
        {"role": "assistant", "content": [{"type": "text", "value": words}], "loss_weight": 1.0},
    ]
    for side, words in (("chosen", "A cat."), ("rejected", "A dog."))
}  # fmt: skip


def test_the_v1_form():
    draft = llama_factory.read(V1)
    assert draft.prompt == asked(("image", "a.jpg"), "What?")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert detect(V1)[0] == "llama_factory"
    refused(llama_factory, V1 | {"rejected_messages": []}, BAD, "rejected has no messages")
    called = [V1["chosen_messages"][0], {"role": "assistant", "content": [{"type": "tool_call", "value": "{}"}]}]
    refused(llama_factory, V1 | {"chosen_messages": called}, Reason.NOT_READ, "is of type tool_call")


INFO = {  # hiyouga/LLaMA-Factory, data/README.md: a description of each file
    "sft": {"file_name": "dpo.json", "columns": {"prompt": "question"}},
    "mine": {"file_name": "dpo.json", "formatting": "sharegpt", "ranking": True,
             "columns": {"messages": "dialog", "chosen": "good", "rejected": "bad", "images": "pics", "system": "brief"},
             "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "U", "assistant_tag": "A"}},
    "kto": {"file_name": "kto.json", "columns": {"prompt": "question", "query": "more", "response": "reply", "kto_tag": "fine"}},
    "folder": {"file_name": "many/", "ranking": True, "columns": {"chosen": "good"}}, "hub": {"hf_hub_url": "x/y"}, "strange": 3,
}  # fmt: skip


def test_a_description_names_the_columns_and_the_tags():
    columns, tags = llama_factory.described(INFO, "dpo.json")
    assert columns == {
        "conversations": "dialog",
        "chosen": "good",
        "rejected": "bad",
        "images": "pics",
        "system": "brief",
    }
    assert tags == llama_factory.TAGS | {
        "role_tag": "who",
        "content_tag": "said",
        "user_tag": "U",
        "assistant_tag": "A",
    }
    assert llama_factory.described(INFO, "kto.json") == (
        {"instruction": "question", "input": "more", "output": "reply", "kto_tag": "fine"}, llama_factory.TAGS,
    )  # fmt: skip
    assert llama_factory.described(INFO, "many/part-1.json") == ({"chosen": "good"}, llama_factory.TAGS)
    for info in (INFO, None, [INFO], {"features": {}}, {"a": {"file_name": "sft.json"}}):
        assert llama_factory.described(info, "sft.json") is None


def test_tags_are_replaced_by_the_usual_ones():
    row = {
        "conversations": [
            {"who": "U", "said": "Hi", "n": 1},
            {"who": "other", "said": "x"},
            {"from": "human", "value": "y"},
            3,
        ]
    }
    _, tags = llama_factory.described(INFO, "dpo.json")
    assert llama_factory.with_usual_tags(row, tags) == {
        "conversations": [
            {"from": "human", "value": "Hi", "n": 1},
            {"from": "other", "value": "x"},
            {"from": "human", "value": "y"},
            3,
        ]
    }


REFUSED = {
    "two tags, one image": (
        ROW | {"conversations": [{"from": "human", "value": "<image><image>"}]}, BAD, "2 places for image files, but the row has 1",
    ),
    "a tag and no video": (
        ROW | {"conversations": [{"from": "human", "value": "<image><video>"}]}, BAD, "1 place for video files, but the row has 0",
    ),
    "no conversation": (without(ROW, "conversations"), BAD, "instruction is missing"),
    "a conversation that is an object": (ROW | {"conversations": {}}, BAD, "conversations is a dict"),
    "a value that is a number": (ROW | {"conversations": [{"from": "human", "value": 1}]}, BAD, "conversations[0].value is an int"),
    "no from": (ROW | {"conversations": [{"value": "x"}]}, BAD, "conversations[0].role is missing"),
    "a from that is nothing": (ROW | {"conversations": [{"from": None, "value": "x"}]}, BAD, "conversations[0].from is missing"),
    "no rejected": (without(ROW, "rejected"), BAD, "rejected is missing"),
    "an answer of the human": (ROW | {"chosen": {"from": "human", "value": "x"}}, BAD, "is from 'user'"),
    "an empty answer": (ROW | {"chosen": {"from": "gpt", "value": ""}}, EMPTY, "chosen is empty"),
    "equal answers": (ROW | {"chosen": ROW["rejected"]}, EQUAL, "same text"),
    "a tag that is a text": (KTO | {"kto_tag": "true"}, BAD, "kto_tag is a str"),
    "a tag that is a number": (KTO | {"kto_tag": 1}, BAD, "kto_tag is an int"),
    "an answer that shows": (
        KTO | {"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}, MEDIA, "contains media",
    ),
    "no messages": (KTO | {"messages": []}, BAD, "is from 'user'"),
    "history of one": (ALPACA | {"history": [["Hi"]]}, BAD, "history[0] is a list"),
    "history of numbers": (ALPACA | {"history": [[1, 2]]}, BAD, "history[0][0] is an int"),
    "an input that is a list": (ALPACA | {"input": ["1"]}, BAD, "input is a list"),
    "half a character": (ALPACA | {"chosen": f"2{HALF}"}, BAD, "an unpaired surrogate at offset 1"),
    "no output": ({"instruction": "Add.", "kto_tag": True}, BAD, "output is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(llama_factory, *REFUSED[name])
