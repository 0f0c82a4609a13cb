"""The layout is that of openbmb/RLHF-V-Dataset on the Hub (its card: ds_name, image, text, origin_dataset, origin_split, idx, image_path)."""

import json

import pytest

from pipeline.source.formats import rlhf_v
from tests.support.dialects import BAD, EMPTY, EQUAL, asked, refused, texts, without

SAID = {"question": "What is it?", "chosen": "A cat.", "rejected": "A dog."}
ROW = {
    "ds_name": "RLHF-V", "image": {"bytes": b"x", "path": "1.jpg"}, "text": json.dumps(SAID), "origin_dataset": "VQAv2",
    "origin_split": json.dumps({"model": "Muffin", "type": "question answering"}), "idx": 7, "image_path": "llava/1.jpg",
}  # fmt: skip


def said(**more) -> dict:
    return ROW | {"text": json.dumps(SAID | more)}


def test_question_and_answers_are_json_in_the_text():
    draft = rlhf_v.read(ROW)
    assert draft.prompt == asked(("image", {"bytes": b"x", "path": "1.jpg"}), "What is it?")
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert [answer.model for answer in draft.answers] == [None, "Muffin"]  # the chosen one is corrected by a person
    assert (draft.id, draft.known) == ("7", {"source": "VQAv2"})
    assert rlhf_v.read(ROW | {"origin_split": "train"}).answers[1].model is None


def test_a_row_may_have_its_path_alone_an_object_as_text_and_no_origin():
    draft = rlhf_v.read(without(ROW, "image", "origin_dataset", "idx") | {"text": SAID})
    assert draft.prompt == asked(("image", "llava/1.jpg"), "What is it?")
    assert (draft.id, draft.known) == (None, {"source": "RLHF-V"})


def test_a_text_that_is_not_such_json_is_not_of_this_format():
    assert rlhf_v.fits({"ds_name": "corpus", "text": "A text about chosen and rejected questions."}) is None
    assert rlhf_v.fits({"text": None}) is None
    assert rlhf_v.fits({"text": SAID}) == rlhf_v.fits(ROW)


def test_a_tag_places_the_picture():
    assert rlhf_v.read(said(question="Is <image> a cat?")).prompt[0].pieces[1][0] == "image"


REFUSED = {
    "no JSON": (ROW | {"text": "{"}, BAD, "text is not a JSON object"),
    "a list": (ROW | {"text": "[]"}, BAD, "text is not a JSON object"),
    "no text": (ROW | {"text": None}, BAD, "text is not a JSON object"),
    "an origin that is cut off": (ROW | {"origin_split": "{"}, BAD, "origin_split is not a JSON object"),
    "no question": (ROW | {"text": "{}"}, BAD, "text.question is missing"),
    "an empty answer": (said(chosen=" "), EMPTY, "chosen is empty"),
    "equal answers": (said(rejected="A cat."), EQUAL, "the same text"),
    "a place for a second picture": (said(question="<image> or <image>?"), BAD, "2 places for image files"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(rlhf_v, *REFUSED[name])
