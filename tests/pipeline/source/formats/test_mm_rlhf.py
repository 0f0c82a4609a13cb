import pytest

from pipeline.source.formats import mm_rlhf
from pipeline.source.formats.draft import DraftJudgement, DraftPair
from schemas.records import Outcome
from tests.support.dialects import BAD, EMPTY, EQUAL, NAN, asked, refused, texts, without

ROW = {
    "id": "1", "image": "a.jpg", "prompt": "What?", "chosen": "A cat.", "rejected": "A dog.", "chosen_reason": "It is.",
    "rejected_reason": "It is not.", "reference_chosen_logp": -3.5, "reference_rejected_logp": -4,
}  # fmt: skip


def test_people_prefer_with_reasons():
    draft = mm_rlhf.read(ROW)
    assert draft.prompt == asked(("image", "a.jpg"), "What?")
    assert draft.said == (DraftJudgement((0, 1), "preference", 1.0, "mm_rlhf"),)
    assert draft.pairs[0].known == {
        "critique_chosen": "It is.", "critique_rejected": "It is not.", "ref_logp_chosen": -3.5, "ref_logp_rejected": -4.0,
        "ref_stamp": "mm_rlhf",
    }  # fmt: skip


def test_a_tie_is_said_and_makes_no_pair():
    draft = mm_rlhf.read(ROW | {"is_tie": True})
    assert draft.said == (DraftJudgement((0, 1), "preference", 0.0, "mm_rlhf", None, Outcome.TIE),)
    assert (draft.pairs, texts(draft)) == ((), [("A cat.", None), ("A dog.", None)])


def test_a_video_several_images_and_a_mixed_up_one():
    assert mm_rlhf.read(without(ROW, "image") | {"video": "b.mp4"}).prompt == asked(("video", "b.mp4"), "What?")
    assert mm_rlhf.read(ROW | {"image": ["a", "b"]}).prompt == asked(("image", "a"), ("image", "b"), "What?")
    mixed = mm_rlhf.read(ROW | {"mixed_up_image": "b.jpg", "rejected": "A cat."})
    assert mixed.pairs[0].rejected_media == ("b.jpg",)


def test_a_mixed_up_image_is_a_pair_beside_the_true_one():
    """yfzhang114/MM-RLHF, llava/train/train_dpo.py and trl/trainer/dpo_trainer.py: the chosen answer with the mixed-up image is a loss of its
    own (mDPO), the pair of answers keeps its image."""
    draft = mm_rlhf.read(without(ROW, "reference_chosen_logp", "reference_rejected_logp") | {"mixed_up_image": "b.jpg"})
    reasons = {"critique_chosen": "It is.", "critique_rejected": "It is not."}
    assert draft.pairs == (DraftPair(0, 1, None, reasons), DraftPair(0, 0, ("b.jpg",)))
    tie = mm_rlhf.read(ROW | {"mixed_up_image": "b.jpg", "is_tie": True})
    assert tie.pairs == (DraftPair(0, 0, ("b.jpg",)),)


def test_an_image_tag_is_the_place_of_a_video():
    """yfzhang114/MM-RLHF, llava/train/train_dpo.py: <image> stands for whatever the row shows."""
    row = without(ROW, "image") | {"video": "video/1", "prompt": "<image>\nWhat happens?"}
    assert mm_rlhf.read(row).prompt == asked(("video", "video/1"), "What happens?")
    refused(mm_rlhf, row | {"prompt": "<image> <image>?"}, BAD, "2 places for video files, but the row has 1")
    refused(
        mm_rlhf,
        row | {"image": "a.jpg", "prompt": "<image> <image>?"},
        BAD,
        "2 places for image files, but the row has 1",
    )


def test_the_bench_counts_by_the_first_folder_of_the_picture_or_video():
    assert mm_rlhf.read(ROW | {"image": "long/1.jpg"}).known == {"split": "long"}
    assert mm_rlhf.read(without(ROW, "image") | {"video": "video/1.mp4"}).known == {"split": "video"}
    assert mm_rlhf.read(ROW).known == mm_rlhf.read(ROW | {"image": "longer/1.jpg"}).known == {}


REFUSED = {
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "a prompt of messages": (ROW | {"prompt": []}, BAD, "prompt is a list"),
    "no rejected": (without(ROW, "rejected"), BAD, "rejected is missing"),
    "equal answers": (ROW | {"rejected": "A cat."}, EQUAL, "same text"),
    "an empty answer": (ROW | {"chosen": ""}, EMPTY, "chosen is empty"),
    "a tie that is a text": (ROW | {"is_tie": "false"}, BAD, "is_tie is a str"),
    "a tie that is a number": (ROW | {"is_tie": 0}, BAD, "is_tie is an int"),
    "a reason that is a list": (ROW | {"chosen_reason": ["x"]}, BAD, "chosen_reason is a list"),
    "one log-probability": (without(ROW, "reference_chosen_logp"), BAD, "reference_chosen_logp is missing, but"),
    "a log-probability that is a text": (ROW | {"reference_chosen_logp": "-3"}, BAD, "reference_chosen_logp is a str"),
    "a log-probability that is none": (ROW | {"reference_rejected_logp": NAN}, BAD, "reference_rejected_logp is nan"),
    "a mixed-up image that is true": (ROW | {"mixed_up_image": True}, BAD, "mixed_up_image is true"),
    "a mixed-up image of two": (ROW | {"image": ["a", "b"], "mixed_up_image": "c"}, BAD, "has 2 image files, but the rejected side has 1"),
    "an image that is a list of lists": (ROW | {"image": [["a"]]}, BAD, "image has a list within a list"),
    "an id that is an object": (ROW | {"id": {}}, BAD, "id is a dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(mm_rlhf, *REFUSED[name])
