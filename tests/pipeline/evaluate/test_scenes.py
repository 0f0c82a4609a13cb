"""The kinds of scenes that an evaluation asks about, with a scripted model."""

import asyncio
import math

import numpy as np
import pytest

from flows.planning.bind import bind, version
from pipeline.evaluate import scenes
from pipeline.evaluate._bootstrap import FILE
from pipeline.storage.media_store import open_store
from schemas.errors import EngineError
from schemas.operator import Context
from schemas.recipe import parse
from schemas.records import Reason, media_parts
from schemas.requests import Answer, Failure, Generate, Generated, Scored


class Silent:
    """A model that takes pictures, answers with two words and says yes."""

    identity, slots, can = "silent@1", 8, frozenset({"Generate", "Score"})

    def __init__(self, media=frozenset({"image"})):
        self.media, self.shown = media, set()

    async def ask(self, request):
        self.shown.add(tuple(part.type for part in media_parts(request.messages)))
        if isinstance(request, Generate):
            return Generated((Answer("not sure", 2, "stop"),), 1)
        return Scored((math.log(0.9), math.log(0.1)), 1)

    async def close(self):
        pass


def evaluated(folder, engine, **settings):
    store = open_store(folder / "media")
    try:
        context = Context("before", "v", store, engines={"m": engine}, folder=folder)
        return asyncio.run(scenes.evaluate(None, scenes.Settings(model="m", n=6, questions=2, **settings), context))
    finally:
        store.close()


def test_only_the_kinds_that_are_named_are_asked(tmp_path):
    engine = Silent()
    found = evaluated(tmp_path, engine, media=("multi_image", "image"))
    assert list(found) == ["image", "multi_image", "mean"]
    assert {kind for shown in engine.shown for kind in shown} == {"image"}
    assert found["mean"]["words"]["value"] == 2
    assert found["mean"]["recall"]["value"] == 0
    # questions are half yes, half no; the model always says yes
    assert found["mean"]["yes_no_accuracy"]["value"] == 0.5
    with np.load(tmp_path / FILE) as stored:
        assert stored["values"].shape == (1001, 7)


def test_a_model_that_does_not_take_a_kind_is_refused_with_those_it_takes(tmp_path):
    with pytest.raises(
        EngineError, match=r"cannot evaluate m: it takes no video or audio; set `media: \[image, multi_image\]`"
    ):
        evaluated(tmp_path, Silent())
    with pytest.raises(EngineError, match="it takes no audio; evaluate it on rows of yours"):
        evaluated(tmp_path, Silent(frozenset()), media=("audio",))


def test_a_model_that_shows_only_once_loaded_what_it_does_not_take_is_told_the_setting_too(tmp_path):
    class Late(Silent):
        async def ask(self, request):
            return Failure(
                Reason.UNSUPPORTED_MEDIA, "late@1 does not accept audio; use another model or remove the row"
            )

    with pytest.raises(
        EngineError, match=r"late@1 does not accept audio; set `media:` to the kinds of scenes that it takes"
    ):
        evaluated(tmp_path, Late(frozenset({"image", "video", "audio"})), media=("audio",))


def test_the_kinds_enter_the_key_only_if_they_are_not_all():
    def key(**settings):
        raw = {
            "name": "x",
            "models": {"m": {"engine": "vllm", "model": "data/models/tiny"}},
            "steps": [{"evaluate.scenes": {"model": "m", **settings}}],
        }
        return version(bind(parse(raw)).steps[0], {"m": "one"})

    every = ["audio", "image", "video", "multi_image"]
    assert key() == key(media=every) != key(media=every[:3])
    with pytest.raises(ValueError, match="names a kind twice"):
        scenes.Settings(model="m", media=("image", "image"))
