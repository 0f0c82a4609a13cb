"""The layout is that of verl's data preparation (volcengine/verl, docs/preparation/prepare_data.rst; examples/data_preprocess/geo3k.py)."""

import pytest

from pipeline.source.formats import verl
from schemas.records import Reason
from tests.support.dialects import BAD, asked, refused, without

ROW = {
    "data_source": "geo3k", "prompt": [{"role": "user", "content": "<image>Find x."}], "images": [{"bytes": b"x", "path": None}],
    "ability": "math", "reward_model": {"style": "rule", "ground_truth": "3"}, "extra_info": {"split": "train", "index": 7, "answer": "3"},
}  # fmt: skip


def truth(value) -> dict:
    return ROW | {"reward_model": {"style": "rule", "ground_truth": value}}


def test_a_row_is_a_sample_with_its_answer():
    draft = verl.read(ROW)
    assert draft.prompt == asked(("image", {"bytes": b"x", "path": None}), "Find x.")
    assert (draft.known, draft.id) == ({"source": "geo3k", "answer": "3"}, "7")
    assert (draft.answers, draft.pairs) == ((), ())


@pytest.mark.parametrize(
    ("value", "answer"),
    [(3, "3"), (0.5, "0.5"), (True, "true"), (["a", "b"], '["a", "b"]'), ({"x": 1}, '{"x": 1}'), ("", None)],
)
def test_an_answer_that_is_not_a_text_is_json(value, answer):
    assert verl.read(truth(value)).known.get("answer") == answer


def test_media_may_be_wrapped_and_reward_and_extras_may_be_missing():
    row = ROW | {"images": [{"image": "a.jpg"}], "reward_model": {"style": "model"}, "extra_info": None}
    draft = verl.read(row)
    assert (draft.prompt[0].pieces[0], draft.known, draft.id) == (("image", "a.jpg"), {"source": "geo3k"}, None)
    assert verl.read(without(ROW, "data_source")).known == {"answer": "3"}
    film = ROW | {
        "prompt": [{"role": "user", "content": "<video>What?"}],
        "images": None,
        "videos": [{"video": "v.mp4", "fps": 2}],
    }
    assert verl.read(film).prompt == asked(("video", "v.mp4"), "What?")


REFUSED = {
    "no prompt": (without(ROW, "prompt"), BAD, "prompt is missing"),
    "a reward that is a text": (ROW | {"reward_model": "rule"}, BAD, "reward_model is a str"),
    "extras that are a list": (ROW | {"extra_info": []}, BAD, "extra_info is a list"),
    "tools": (ROW | {"extra_info": {"need_tools_kwargs": True}}, Reason.NOT_READ, "extra_info has tools"),
    "a picture too many": (ROW | {"images": [b"x", b"y"]}, BAD, "the row has 2"),
    "an answer beyond numbers": (truth(float("inf")), BAD, "reward_model.ground_truth contain"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_row_is_refused_in_words(name):
    refused(verl, *REFUSED[name])
