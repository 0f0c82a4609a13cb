"""Generates demo media with exactly known truth (pipeline/scenes/world.py): one or two images, a video or an audio clip, with a question and answer."""

import json
import random
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from pipeline.scenes.world import SCENES, SHARES, Kind, load_world, scenes, store_scene
from schemas.messages import user
from schemas.operator import Context
from schemas.operator import OperatorSettings as Base
from schemas.records import Media, Sample
from schemas.records import sample as make_sample

READS = ()
LEAVES = ("media", "samples")
MEDIA = tuple(SCENES)
SCOPE = "sample"
VERSION = 1
LICENCE = "CC0-1.0"  # drawn by this program


class Settings(Base):
    n: int = Field(800, ge=1, le=10_000_000)
    """number of scenes, one prompt each"""
    seed: int = 0
    """seed of the scenes drawn"""
    split: Literal["train", "eval"] = "train"
    """eval draws from all combinations; train never draws those reserved for evaluation"""
    shares: dict[Kind, int] = SHARES
    """relative number of scenes of each media type"""


def count(settings: Settings) -> int:
    """Number of samples that `read` yields."""
    return settings.n


def read(settings: Settings, context: Context) -> Iterator[Media | Sample]:
    """Yields the media of `n` scenes and a Sample each, with one of the scene's questions; `facts` holds the truth, `reference` the full answer."""
    world = load_world()
    for i, scene in enumerate(scenes(world, settings.n, settings.seed, settings.split, settings.shares)):
        task = random.Random(f"task {settings.seed}/{i}").choice(scene.tasks())
        parts, media = store_scene(scene, context.media)
        yield from media
        yield make_sample(
            (user(*parts, task.question),), facts=json.dumps(scene.facts(task), sort_keys=True), reference=task.answer,
            source=f"scenes {settings.split} {settings.seed}/{i}", licence=LICENCE, split=settings.split, step=context.step,
        )  # fmt: skip
