"""Models of two encoders in transformers: texts and media in one space."""

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.engines import hf
from pipeline.media.decode import decode_image, decode_video, portable
from schemas import messages
from schemas.records import Part, Reason
from schemas.requests import Embed, Generate
from tests.support.media_files import mp4, png
from tests.support.scorer_models import clap_model, clip_model


@pytest.fixture(scope="module")
def clip(runner, media_store, tmp_path_factory):
    engine = runner.run(hf.connect(hf.Settings(model=str(clip_model(tmp_path_factory.mktemp("clip")))), media_store))
    yield engine
    runner.run(engine.close())


@pytest.fixture
def vector(runner, clip):
    return lambda *parts: np.array(runner.run(clip.ask(Embed((messages.user(*parts),)))).vector)


@torch.no_grad()
def test_likeness_is_the_models_own(clip, vector, media_store):
    sha = media_store.add(png())
    text = "there is a red circle ."
    picture = decode_image(media_store.read(sha), "x")
    inputs = clip._tokenizer(text, return_tensors="pt") | clip._processor(images=[picture], return_tensors="pt")
    known = {n: v for n, v in inputs.items() if n in ("input_ids", "attention_mask", "pixel_values")}
    out = clip._model(**known)
    wanted = (out.logits_per_image / clip._model.logit_scale.exp()).item()  # the cosine
    assert vector(Part("image", media=sha)) @ vector(text) == pytest.approx(wanted, abs=1e-4)


def test_vectors_have_length_one_and_a_long_text_is_cut(vector):
    assert np.linalg.norm(vector("a red circle")) == pytest.approx(1, abs=1e-4)
    assert np.array_equal(vector("a red circle " * 50), vector("a red circle " * 60))
    assert not np.array_equal(vector("a red circle"), vector("a blue star"))


def test_a_video_is_the_mean_of_its_frames(vector, media_store):
    sha = media_store.add(mp4(frames=4))
    frames, _ = decode_video(media_store.read(sha), None, hf.FRAMES)
    each = []
    for frame in frames:
        file = media_store.add(_png(frame))
        each.append(vector(Part("image", media=file)))
    mean = np.mean(each, 0)
    assert vector(Part("video", media=sha)) == pytest.approx(mean / np.linalg.norm(mean), abs=1e-4)


def _png(frame: np.ndarray) -> bytes:
    import io

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    return file.getvalue()


def test_one_thing_at_a_time_and_nothing_else(runner, clip, media_store):
    part = Part("image", media=media_store.add(png()))
    ask = lambda request: runner.run(clip.ask(request)).reason
    assert clip.can == {"Embed"}
    assert clip.media == {"image", "video"}
    assert ask(Embed((messages.user(part, "a cup"),))) == Reason.ENGINE_REFUSED
    assert ask(Embed((messages.user(part, part),))) == Reason.ENGINE_REFUSED
    assert ask(Embed((messages.user(" "),))) == Reason.EMPTY_PROMPT
    assert ask(Embed((messages.user(Part("audio", media="ab" * 32)),))) == Reason.UNSUPPORTED_MEDIA
    assert ask(Generate((messages.user("a cup"),))) == Reason.ENGINE_REFUSED


def test_sounds_and_texts(runner, media_store, tmp_path):
    engine = runner.run(hf.connect(hf.Settings(model=str(clap_model(tmp_path))), media_store))
    assert engine.media == {"audio"}
    sound = media_store.add(portable(mp4(sound=True), "input_audio", "x"))
    found = [runner.run(engine.ask(Embed((messages.user(x),)))) for x in (Part("audio", media=sound), "a low tone")]
    assert all(np.linalg.norm(f.vector) == pytest.approx(1, abs=1e-4) for f in found)
    assert len(found[0].vector) == len(found[1].vector)
    runner.run(engine.close())
