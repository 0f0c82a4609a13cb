"""The layouts are those of verl-project/verl-omni: the offline DPO schema in examples/dpo_trainer/data_process/omni_preference_dpo_dataset.md,
read by verl_omni/utils/dataset/offline_mllm_dpo_dataset.py, and the pictures of prepare_offline_dpo.py."""

import pytest

from pipeline.source.formats import verl_omni
from pipeline.source.formats.draft import DraftJudgement, DraftPair, Turn
from tests.support.dialects import BAD, EMPTY, EQUAL, refused, texts, without


def part(kind: str, value: str | None = None) -> dict:
    """A part as its tools write it: with all keys, empty but for one."""
    return {"type": kind, "text": None, "image": "", "video": "", "audio": ""} | {kind: value}


ROW = {
    "data_source": "omni_preference/video", "chosen": "A cat.", "rejected": "A dog.", "win_score": 8.0, "lose_score": 6.0, "ability": "video_qa",
    "prompt": [
        {"role": "system", "content": [part("text", "Be helpful.")]}, {"role": "user", "content": [part("video", "v.mp4"), part("text", "What?")]},
    ],
    "reward_model": {"style": "preference"}, "extra_info": {"split": "train", "index": 3, "modality": "video"},
}  # fmt: skip
PICTURES = {
    "data_source": "offline_dpo", "prompt": [{"role": "system", "content": "You paint."}, {"role": "user", "content": "a red cat"}],
    "img_win": "a.png", "img_lose": "b.png", "win_score": 0.75, "lose_score": 0.25,
}  # fmt: skip


def test_two_scored_answers_are_a_pair():
    draft = verl_omni.read(ROW)
    assert draft.prompt == (
        Turn("system", (("text", "Be helpful."),)),
        Turn("user", (("video", "v.mp4"), ("text", "What?"))),
    )
    assert texts(draft) == [("A cat.", "chosen"), ("A dog.", "rejected")]
    assert draft.said == (
        DraftJudgement((0,), "score", 8.0, "verl_omni"),
        DraftJudgement((1,), "score", 6.0, "verl_omni"),
    )
    assert draft.pairs == (DraftPair(0, 1, None, {"margin": 2.0, "reward_chosen": 8.0, "reward_rejected": 6.0}),)
    assert draft.known == {"source": "omni_preference/video"}


def test_media_may_be_columns_with_tags_and_answers_messages():
    row = without(ROW, "win_score", "lose_score") | {
        "prompt": [{"role": "user", "content": "<audio>What?"}], "audios": ["a.wav"], "chosen": {"role": "assistant", "content": "A cat."},
        "rejected": [{"role": "assistant", "content": [part("text", "A dog.")]}],
    }  # fmt: skip
    draft = verl_omni.read(row)
    assert draft.prompt == (Turn("user", (("audio", "a.wav"), ("text", "What?"))),)
    assert (texts(draft), draft.said, draft.pairs[0].known) == ([("A cat.", "chosen"), ("A dog.", "rejected")], (), {})


def test_two_pictures_are_a_pair_of_media():
    draft = verl_omni.read(PICTURES)
    assert draft.prompt == (Turn("user", (("image", "a.png"), ("text", "Write a caption for this picture."))),)
    assert texts(draft) == [("a red cat", "chosen"), ("a red cat", "rejected")]
    assert draft.pairs == (
        DraftPair(0, 1, ("b.png",), {"margin": 0.5, "reward_chosen": 0.75, "reward_rejected": 0.25}),
    )


REFUSED = {
    "half a score": (without(ROW, "lose_score"), BAD, "lose_score is missing"),
    "a score in words": (ROW | {"win_score": "high"}, BAD, "win_score is a str"),
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "an empty answer": (ROW | {"rejected": ""}, EMPTY, "rejected is empty"),
    "equal answers": (ROW | {"rejected": "A cat."}, EQUAL, "the same text"),
    "a tag without a file": (ROW | {"prompt": "<image>What?"}, BAD, "1 place for image files"),
    "one picture": (without(PICTURES, "img_lose"), BAD, "img_lose is missing"),
    "a caption with a picture": (PICTURES | {"prompt": [{"role": "user", "content": [part("image", "c.png")]}]}, BAD, "not a caption"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(verl_omni, *REFUSED[name])
