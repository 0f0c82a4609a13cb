"""Prompts of every medium for the tests of engines and makers."""

import json
from itertools import islice
from typing import NamedTuple

import pytest

from pipeline.scenes.world import SCENES
from pipeline.source import scenes
from schemas import messages
from schemas.operator import Context
from schemas.records import Message, Sample

EACH = 4  # prompts of each kind


class Asked(NamedTuple):
    prompt: tuple[Message, ...]  # an open question
    true: tuple[Message, ...]  # a question whose answer is yes


@pytest.fixture(scope="session")
def asked(media_store) -> dict[str, list[Asked]]:
    """kind -> prompts of scenes that were drawn for it; `text` has no media."""
    context = Context("scenes", "1", media_store)
    out = {
        "text": [Asked((messages.user(text),), (messages.user(text),)) for text in ("describe the picture .", "hello")]
    }
    for kind in SCENES:
        rows = scenes.read(scenes.Settings(n=EACH, seed=7, split="eval", shares={kind: 1}), context)
        samples = islice((row for row in rows if isinstance(row, Sample)), EACH)
        out[kind] = [
            Asked(s.prompt, messages.media_with_question(s.prompt, json.loads(s.facts)["yes"][0])) for s in samples
        ]
    return out
