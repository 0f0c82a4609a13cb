import random
from itertools import islice
from pathlib import Path

import pytest
import torch

from pipeline.dataset.read import Example
from pipeline.modeling.encode import Encoded, Encoder
from pipeline.modeling.load import freeze, load
from pipeline.scenes.world import SCENES, draw, encode, load_world
from schemas import messages
from schemas.records import MEDIA_KINDS, Part, digest

TINY = str(Path(__file__).parents[3] / "data" / "models" / "tiny")
WORLD = load_world()


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def model():
    """The tiny model, its towers frozen. A test may change it."""
    model = load(TINY)
    freeze(model, ("vision", "audio"))
    return model


@pytest.fixture(scope="package")
def encoder() -> Encoder:
    return Encoder(TINY)


@pytest.fixture(scope="package")
def examples() -> dict[str, list[Example]]:
    """kind -> 12 pairs: the true answer against that of another scene."""
    return {kind: list(islice(_examples(kind), 12)) for kind in sorted(SCENES)}


@pytest.fixture(scope="package")
def pairs(encoder, examples) -> dict[str, list[Encoded]]:
    return {kind: [encoder.pair(example) for example in rows] for kind, rows in examples.items()}


@pytest.fixture(scope="package")
def mixed(pairs) -> list[Encoded]:
    """All pairs, the kinds taking turns."""
    return [pair for row in zip(*pairs.values()) for pair in row]


def _examples(kind: str):
    rng = random.Random(kind)
    for seed in range(1000):
        scene = draw(WORLD, kind, seed)
        task, wrong = scene.tasks()[0], draw(WORLD, kind, rng.random()).tasks()[0]
        if task.answer == wrong.answer:
            continue
        shown = [(k, v if k == "text" else encode(k, v)[0]) for k, v in scene.parts()]
        parts = [Part(k, v) if k == "text" else Part(k, media=digest(v.hex())) for k, v in shown]
        media = tuple((k, v) for k, v in shown if k in MEDIA_KINDS)
        prompt = (messages.user(*parts, task.question),)
        yield Example(f"{kind}-{seed}", digest(prompt), prompt, media, kind, task.answer, wrong.answer, 1.0)
