"""Tiny models of several families: what they are told of a video's times, in the real vLLM and in the trainer."""

import asyncio
import io
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
import torch

from pipeline.engines import hf, vllm
from pipeline.media.decode import decode_clip
from pipeline.modeling import frame_times
from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded, Encoder
from pipeline.modeling.load import load
from pipeline.modeling.logps import token_logps
from pipeline.modeling.positions import numbered_by_transformers
from pipeline.modeling.sampling import sample
from pipeline.storage.media_store import FolderStore
from pipeline.train._checks import positions_behind_videos
from schemas import messages
from schemas.errors import RowError, TrainError
from schemas.records import Part, Reason
from schemas.requests import Failure, Generate, Likelihood
from tests.support.families import FAMILIES, build

TELLS_TIME = {"qwen2_5_vl", "qwen2_5_omni", "qwen3_vl"}  # the others read no times
ANSWERS = ("a red circle moves left .", "nothing")


def film(times: list[float]) -> bytes:
    """A lossless video of 64 x 64 pixels whose frame i, the same for any times, is shown at times[i] seconds."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, at in enumerate(times):
            small = np.random.default_rng(i).integers(0, 255, (4, 4, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(small.repeat(16, 0).repeat(16, 1), format="rgb24")
            frame.pts, frame.time_base = round(1000 * at), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


FILMS = {
    "two minutes": film([0.5 * i for i in range(240)]),
    "one minute": film([0.25 * i for i in range(240)]),  # the same frames, and 64 of them are shown, too
    "with pauses": film([0, 0.1, 0.2, 0.3, 4, 8, 8.1, 8.2]),
    "on the beat": film(
        [2.1 * i for i in range(9)]
    ),  # two frames last 4.2 s: 105 positions of 1/25 s, but float32(4.2) < 4.2
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("families")
    return {name: build(name, root / name) for name in FAMILIES}


# what is told, by the processors


def prompt_of(*videos: bytes):
    parts = [Part("video", media=str(i)) for i in range(len(videos))]
    return (messages.user(*parts, "what happens ?"),), tuple(("video", video) for video in videos)


def case_09() -> bytes:
    """10 s of 300 frames."""
    return film([i / 30 for i in range(300)])


def test_qwen3_vl_reads_the_time_of_each_frame_in_its_prompt(folders):
    encoder = Encoder(folders["qwen3_vl"])
    shown = encoder.tokenizer.decode(encoder.encode(*prompt_of(case_09()), "row 1").ids)
    told = [float(time) for time in re.findall(r"<(\d+\.\d) seconds>", shown)]
    # 20 frames, 2 to a grid, whose time is the mean of both. Frame k is that nearest to k * 9.9667 / 19 s
    times = [round(k * 299 / 19) / 30 for k in range(20)]
    assert told == pytest.approx([(a + b) / 2 for a, b in zip(times[::2], times[1::2])], abs=0.051)  # one decimal
    assert (told[0], told[-1]) == (0.3, 9.7)  # (0 + 16 / 30) / 2, (283 + 299) / 60


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen2_5_omni"])
def test_families_of_one_rate_are_told_that_of_the_frames_shown(folders, name):
    media = Encoder(folders[name]).encode(*prompt_of(case_09()), "row 1").media
    (seconds,) = media.get("second_per_grid_ts", media.get("video_second_per_grid")).tolist()
    # grid g begins with frame 2 g of 20, which is at 2 g * 9.9667 / 19 s, half a frame's distance (1 / 60 s) to either side
    assert seconds == pytest.approx(2 * 9.9667 / 19, abs=2e-4)
    true = [round(2 * g * 299 / 19) / 30 for g in range(10)]
    assert np.abs(seconds * np.arange(10) - true).max() < 0.02


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen2_5_omni"])
def test_each_video_of_a_prompt_has_a_rate_of_its_own(folders, name):
    encoder = Encoder(folders[name])
    alone = [encoder.encode(*prompt_of(FILMS[one]), "row 1") for one in ("two minutes", "one minute")]
    both = encoder.encode(*prompt_of(FILMS["two minutes"], FILMS["one minute"]), "row 1")
    (key,) = {"second_per_grid_ts", "video_second_per_grid"} & both.media.keys()
    assert both.media[key].tolist() == [prompt.media[key].item() for prompt in alone]
    # 64 frames over 119.5 and 59.75 s, two to a grid
    assert both.media[key].tolist() == pytest.approx([2 * 119.5 / 63, 2 * 59.75 / 63], rel=1e-5)


def test_a_still_frame_is_repeated_only_for_families_of_one_rate():
    clip = decode_clip(FILMS["with pauses"])
    # 8 moments, 8.2 / 7 s apart: 0, 1.17, 2.34, 3.51, 4.69, 5.86, 7.03, 8.2, when frames 0, 3, 3, 3, 4, 4, 4, 7 are on the screen
    frames, told = frame_times.with_times(clip, "qwen3_vl")
    assert (len(frames), told["frames_indices"]) == (4, [0, 300, 4000, 8200])
    frames, told = frame_times.with_times(clip, "qwen2_5_vl")
    assert (len(frames), told["frames_indices"][:2]) == (8, [0, 1171])
    assert frame_times.rate(told) == pytest.approx(7 / 8.2, rel=1e-4)
    assert [int(np.abs(clip.frames - frame).reshape(4, -1).max(1).argmin()) for frame in frames] == [
        0,
        1,
        1,
        1,
        2,
        2,
        2,
        3,
    ]


def test_a_single_frame_has_a_rate_too():
    frames, told = frame_times.with_times(decode_clip(film([0.0]), 2), "qwen2_5_omni")
    assert (len(frames), told["frames_indices"]) == (1, [0])
    assert frame_times.rate(told) > 0


def test_a_video_whose_frames_become_images_is_not_taken_for_a_dropped_one(folders):
    """InternVL's processor writes the tokens of images for each frame; a template that drops the video is refused as before."""
    encoder, (asked, media) = Encoder(folders["internvl"]), prompt_of(FILMS["on the beat"])
    ids = encoder.encode(asked, media, "row 1").ids
    assert ids.count(encoder.processor.image_token_id) == 9 * 4  # 4 a frame
    encoder.processor.chat_template = encoder.processor.chat_template.replace("<video>", "")
    with pytest.raises(RowError) as refused:
        encoder.encode(asked, media, "row 1")
    assert refused.value.reason == Reason.UNSUPPORTED_MEDIA


# the real engine, and transformers


class Measured(NamedTuple):
    """Of one family: log-probabilities by film, [tokens of both answers]; greedy answers by film; refusals."""

    engine: dict[str, list[float]]
    trainer: dict[str, list[float]]
    unchanged: dict[str, list[float]]  # the trainer's with the positions of transformers
    said: dict[str, tuple[str, str, str]]  # by vLLM, transformers' generate() and the sampler of GRPO
    positions: dict[str, str | None]  # as the trainer's check names them
    two_rates: object  # vLLM's answer to a prompt with two videos of different lengths


@pytest.fixture(scope="module")
def measured(folders, tmp_path_factory) -> dict[str, Measured]:
    """In a process of its own: closing an engine tears down what all engines of a process share."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, folders, str(tmp_path_factory.mktemp("media"))).result()


def measure(folders: dict[str, str], root: str) -> dict[str, Measured]:
    store = FolderStore(Path(root))
    names = {name: store.add(data) for name, data in FILMS.items()}
    store.sync()

    async def all_families():
        return {name: await _measure(folder, store, names) for name, folder in folders.items()}

    return asyncio.run(all_families())


_alive = []  # an engine that is garbage ends those beside it, too


async def _measure(folder: str, store, names: dict[str, str]) -> Measured:
    settings = vllm.Settings(model=folder, max_model_len=4096, limit_mm_per_prompt={"video": 2}, slots=8)
    engine, other = await vllm.connect(settings, store), await hf.connect(hf.Settings(model=folder), store)
    _alive.append(engine)
    encoder, model = Encoder(folder), load(folder)
    out = Measured({}, {}, {}, {}, {}, None)
    for film, media in names.items():
        asked = (messages.user(Part("video", media=media), "what happens ?"),)
        prompt = encoder.encode(asked, (("video", store.read(media)),), film)
        answers = [encoder.answer(text, film) for text in ANSWERS]
        batch = collate([prompt], [answers])  # with a prefix that both answers share, as in training
        likely = [await engine.ask(Likelihood((*asked, messages.assistant(text)))) for text in ANSWERS]
        out.engine[film] = [logp for each in likely for logp in each.logprobs]
        ends = [len(answer) - 1 for answer in answers]  # vLLM is not asked for the end of the turn
        with torch.no_grad():
            out.trainer[film] = _cut(token_logps(model, batch), ends)
            with numbered_by_transformers(model):
                out.unchanged[film] = _cut(token_logps(model, batch), ends)
        greedy = Generate(asked, temperature=0.0, max_tokens=16)
        texts = [(await each.ask(greedy)).answers[0].text for each in (engine, other)]
        ((drawn,),) = sample(model, [prompt], 1, 0.0, 16, encoder.stops, encoder.banned)
        out.said[film] = (*texts, encoder.tokenizer.decode(drawn, skip_special_tokens=True))
        out.positions[film] = positions_behind_videos(model, [Encoded(film, "video", prompt, tuple(answers))])
    both = (Part("video", media=names["two minutes"]), Part("video", media=names["one minute"]))
    return out._replace(two_rates=await engine.ask(Likelihood((messages.user(*both, "?"), messages.assistant("no")))))


def _cut(logps: torch.Tensor, ends: list[int]) -> list[float]:
    return [x for row, end in zip(logps.tolist(), ends) for x in row[:end]]


def difference(a: list[float], b: list[float]) -> float:
    return float(np.abs(np.subtract(a, b)).max())


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_trainer_and_engine_agree(measured, name, film):
    """Also of a video of two minutes, and of one whose frames stand still for seconds."""
    of = measured[name]
    assert len(of.engine[film]) == sum(map(len, ANSWERS))  # one token a byte
    assert difference(of.engine[film], of.trainer[film]) < 1e-3
    assert (
        len({text.rstrip("\N{REPLACEMENT CHARACTER}") for text in of.said[film]}) == 1
    )  # vLLM leaves out a last half character


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_frames_at_another_rate_are_another_video_where_times_are_read(measured, name):
    of = measured[name]
    for told in (of.engine, of.trainer):
        changed = difference(told["two minutes"], told["one minute"])
        assert changed > 0.1 if name in TELLS_TIME else changed < 1e-3


def test_the_trainer_says_where_transformers_numbers_positions_otherwise(measured):
    positions = {name: of.positions["two minutes"] for name, of in measured.items()}
    assert positions == {
        "qwen2_vl": "vLLM", "qwen2_5_vl": "vLLM", "qwen2_5_omni": "transformers and vLLM",
        "qwen3_vl": "transformers and vLLM", "llava_onevision": None, "internvl": None,
    }  # fmt: skip
    assert measured["qwen2_5_omni"].positions["on the beat"] == "vLLM"  # 105 in float32, 104.99 in float64
    for name, of in measured.items():  # and what it would train on otherwise
        for film, place in of.positions.items():
            differs = difference(of.unchanged[film], of.engine[film])
            assert differs > 0.01 if place == "vLLM" else differs < 1e-3, (name, film)


def test_two_rates_in_one_request_are_refused_where_vllm_tells_one(measured):
    refused = {name for name, of in measured.items() if isinstance(of.two_rates, Failure)}
    assert refused == {"qwen2_5_omni"}
    failure = measured["qwen2_5_omni"].two_rates
    assert failure.reason == Reason.ENGINE_REFUSED
    assert "one frame rate for all videos of a request, but these have 0.53 to 1.05 frames per second" in failure.detail


@pytest.mark.engine
def test_a_model_that_begins_text_inside_a_video_is_not_trained(folders, caplog):
    model, encoder = load(folders["qwen2_vl"]), Encoder(folders["qwen2_vl"])
    prompt = encoder.encode(*prompt_of(FILMS["two minutes"]), "row 1")
    pair = Encoded("row 1", "video", prompt, tuple(encoder.answer(text, "row 1") for text in ANSWERS))
    assert positions_behind_videos(model, [pair]) == "vLLM"
    (line,) = caplog.messages
    assert re.fullmatch(r"transformers \S+ numbers positions of prompts with videos otherwise than vLLM; .*", line)
    with numbered_by_transformers(model), pytest.raises(TrainError, match="the text after a video begins at position"):
        positions_behind_videos(model, [pair])
    assert positions_behind_videos(model, [pair._replace(prompt=prompt._replace(media={}))]) is None
