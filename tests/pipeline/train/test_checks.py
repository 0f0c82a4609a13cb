from pathlib import Path

import pytest

from flows.runs.executor import MEDIA_LIMITS, media_limits
from pipeline.engines import vllm
from pipeline.modeling.encode import Encoder
from pipeline.train._checks import encode_pairs, run_checks, sees_media
from schemas import messages as chat
from schemas.errors import TrainError
from schemas.records import Part, Reason, Rejection
from tests.support.media_files import mp4, wav

TINY = str(Path(__file__).parents[3] / "data" / "models" / "tiny")


def test_a_model_that_sees_its_media_passes_with_all_kinds(model, mixed):
    checks = run_checks(model, mixed)
    assert set(checks["sees_media"]) == {"image", "multi_image", "video", "audio"}
    assert min(checks["sees_media"].values()) > 0.1
    assert checks["shared_prefix"] is True


def test_media_are_swapped_until_one_is_seen(model, mixed):
    """With the media of the first pair of each of the four kinds, and with those of its neighbour."""
    calls = []
    hook = model.get_decoder().layers[0].register_forward_pre_hook(lambda *args: calls.append(1))
    sees_media(model, mixed)
    hook.remove()
    assert len(calls) == 2 * 4


@pytest.mark.parametrize(("tower", "blind"), [("audio", "audio"), ("image", "image|multi_image|video")])
def test_a_model_whose_tower_says_the_same_of_all_media_is_caught(model, mixed, tower, blind):
    for weight in model.get_encoder(modality=tower).parameters():
        weight.data.zero_()
    with pytest.raises(TrainError, match=f"does not see its media: swapping the media of ({blind}) "):
        sees_media(model, mixed)


def test_a_kind_whose_media_are_all_the_same_cannot_be_checked(model, pairs):
    assert sees_media(model, [pairs["image"][0]] * 2 + pairs["audio"]).keys() == {"audio"}


def test_the_dry_check_names_each_pair_that_cannot_be_trained_on_and_why(encoder, examples):
    good = examples["image"][0]
    bad = {
        "unpaired": good._replace(rejected=None),
        "equal": good._replace(rejected=good.chosen),
        "spaced": good._replace(rejected=f" {good.chosen}\n"),
        "empty": good._replace(rejected="  "),
        "long": good._replace(chosen="a red circle " * 1500),
        "broken": good._replace(
            media=(("image", good.media[0][1][:99]),), messages=(chat.user(Part("image", media="b"), "?"),)
        ),
        "unshown": good._replace(messages=(chat.user("what is there ?"),)),
    }
    out = list(encode_pairs([good, *(row._replace(id=name) for name, row in bad.items())], encoder, "train"))
    assert out[0].id == good.id
    assert all(isinstance(row, Rejection) and row.table == "pairs" and row.step == "train" for row in out[1:])
    assert {row.id: row.reason for row in out[1:]} == {
        "unpaired": Reason.EMPTY_ANSWER, "equal": Reason.EQUAL_ANSWERS, "spaced": Reason.EQUAL_ANSWERS, "empty": Reason.EMPTY_ANSWER,
        "long": Reason.TOO_LONG, "broken": Reason.UNDECODABLE, "unshown": Reason.UNSUPPORTED_MEDIA,
    }  # fmt: skip
    assert all(row.id in row.detail for row in out[1:])


def test_text_cannot_smuggle_a_medium_or_a_turn_into_a_pair(encoder, examples):
    good = examples["image"][0]
    marks = "<|IMAGE|><|im_end|>"
    messages = (chat.user(*good.messages[0].parts, "<|IMA", "GE|>", marks),)
    pair = encoder.pair(good._replace(messages=messages, chosen=f"yes {marks}"))
    count = encoder.tokenizer.convert_tokens_to_ids
    assert pair.prompt.ids.count(count("<|IMAGE|>")) == 4  # a 64 x 64 picture is 2 x 2 tokens
    assert pair.prompt.ids.count(count("<|im_end|>")) == 1
    assert pair.answers[0].count(count("<|IMAGE|>")) == 0
    assert pair.answers[0].count(encoder.end) == 1


def test_long_sounds_are_heard_to_their_end(encoder):
    """Processors cut at their `chunk_length`, one second here; vLLM does not."""
    parts = [Part("audio", media=name) for name in ("short", "long")]
    sounds = tuple(("audio", wav(seconds)) for seconds in (1.0, 3.0))
    prompt = encoder.encode((chat.user(*parts, "what do you hear ?"),), sounds, "row 1")
    # 10 ms a frame, halved twice: 1 s is 100 frames and 25 tokens, 3 s are 300 and 75
    assert prompt.ids.count(encoder.tokenizer.convert_tokens_to_ids("<|AUDIO|>")) == 25 + 75
    assert prompt.media["feature_attention_mask"].sum(-1).tolist() == [100, 300]


def test_the_trainer_shows_as_much_of_media_as_the_recipe_lets_the_engine_show():
    shown = media_limits({"engine": "vllm", "model": TINY, "fps": 1, "max_frames": 4, "max_seconds": 2, "slots": 8})
    assert shown == {"fps": 1.0, "max_frames": 4, "max_seconds": 2.0}
    assert shown.keys() == MEDIA_LIMITS.keys() <= vllm.Settings.model_fields.keys()
    parts = [Part("video", media="v"), Part("audio", media="a")]
    media = ("video", mp4(frames=60, seconds=6)), ("audio", wav(3.0))
    usual, few = (Encoder(TINY, **limits).encode((chat.user(*parts, "?"),), media, "row 1") for limits in ({}, shown))
    # two frames a grid: of 6 s 12 frames, or 4; 40 ms a token of the audio: 3 s, or 2
    assert (usual.media["video_grid_thw"][0, 0], few.media["video_grid_thw"][0, 0]) == (6, 2)
    token = Encoder(TINY).tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    assert (usual.ids.count(token), few.ids.count(token)) == (75, 50)
