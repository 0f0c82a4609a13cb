"""The layout is that of yuvalkirstain/pickapic_v1 and _v2 on the Hub, with pictures as bytes or, in the sets without, by URL."""

import pytest

from pipeline.source.formats import pick_a_pic
from pipeline.source.formats.draft import DraftPair
from schemas.records import Reason
from tests.support.dialects import BAD, EMPTY, asked, refused, texts, without

ROW = {
    "are_different": True, "best_image_uid": "b", "caption": "a red cat", "created_at": 0, "has_label": True, "image_0_uid": "a",
    "image_0_url": "https://x.y/a.png", "image_1_uid": "b", "image_1_url": "https://x.y/b.png", "jpg_0": b"one", "jpg_1": b"two",
    "label_0": 0.0, "label_1": 1.0, "model_0": "m", "model_1": "n", "ranking_id": 12, "user_id": 3, "num_example_per_prompt": 2,
}  # fmt: skip


def test_two_pictures_of_a_caption_are_a_pair_of_media():
    draft = pick_a_pic.read(ROW)
    assert draft.prompt == asked(("image", b"two"), "Write a caption for this picture.")
    assert texts(draft) == [("a red cat", "chosen"), ("a red cat", "rejected")]
    assert (draft.pairs, draft.id) == ((DraftPair(0, 1, (b"one",), {}),), "12")


def test_pictures_may_be_urls():
    draft = pick_a_pic.read(without(ROW, "jpg_0", "jpg_1") | {"label_0": 1.0, "label_1": 0.0})
    assert draft.prompt[0].pieces[0] == ("image", "https://x.y/a.png")
    assert draft.pairs[0].rejected_media == ("https://x.y/b.png",)


REFUSED = {
    "a tie": (ROW | {"label_0": 0.5, "label_1": 0.5}, Reason.NO_MARGIN, "neither image was preferred"),
    "no label": (ROW | {"has_label": False}, BAD, "no label"),
    "half a label": (without(ROW, "label_1"), BAD, "no label"),
    "a label in words": (ROW | {"label_0": "best"}, BAD, "label_0 is a str"),
    "no caption": (without(ROW, "caption"), BAD, "caption is missing"),
    "an empty caption": (ROW | {"caption": ""}, EMPTY, "chosen is empty"),
    "no picture": (without(ROW, "jpg_0", "image_0_url"), BAD, "jpg_0 and image_0_url are missing"),
    "a picture that is a number": (ROW | {"jpg_1": 5}, BAD, "jpg_1 is an int"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(pick_a_pic, *REFUSED[name])
