"""What is done to the order of things in time: to the frames of a video, and to the samples of a sound.

A video's own sound is left as it is, but where `sound` says that it goes along."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.corrupt.kinds._kind import Kind, stretch


class Drop(Kind):
    """Frames that are missing: the clip is shorter by what was shown there."""

    kind: Literal["drop"] = "drop"
    portion: float = Field(0.5, gt=0, lt=1)
    """share of the frames"""
    form: Literal["random", "block"] = "random"
    """single frames anywhere, or one stretch"""


class Freeze(Kind):
    """A stretch that shows nothing but its first frame."""

    kind: Literal["freeze"] = "freeze"
    portion: float = Field(0.5, gt=0, le=1)
    """share of the frames; 1 is a still"""


class Shuffle(Kind):
    """Cut into pieces of one length, which come in another order."""

    kind: Literal["shuffle"] = "shuffle"
    pieces: int = Field(8, ge=2, le=10_000)
    """how many, at most as many as there are frames"""
    sound: bool = False
    """of a video: its own sound is shuffled too, in the same order where there are frames for all pieces; else it is left"""


class Reverse(Kind):
    """Backwards."""

    kind: Literal["reverse"] = "reverse"
    sound: bool = False
    """of a video: its own sound runs backwards too; else it is left"""


def drop(frames: np.ndarray, kind: Drop, rng: np.random.Generator) -> np.ndarray:
    """What is left, at least one frame."""
    left = np.ones(len(frames), bool)
    gone = min(len(frames) - 1, round(len(frames) * kind.portion))
    if kind.form == "random":
        left[rng.permutation(len(frames))[:gone]] = False
    elif gone:
        left[stretch(len(frames), gone / len(frames), rng)] = False
    return frames[left]


def freeze(frames: np.ndarray, kind: Freeze, rng: np.random.Generator) -> np.ndarray:
    where = stretch(len(frames), kind.portion, rng)
    out = frames.copy()
    out[where] = frames[where.start]
    return out


def shuffle(things: np.ndarray, kind: Shuffle, rng: np.random.Generator) -> np.ndarray:
    """Never in the order they came in, where there are two or more."""
    pieces = np.array_split(things, min(kind.pieces, len(things)))
    order = rng.permutation(len(pieces))
    if (order == np.arange(len(pieces))).all():
        order = np.roll(order, 1)
    return np.concatenate([pieces[i] for i in order])


def reverse(things: np.ndarray, kind: Reverse, rng: np.random.Generator) -> np.ndarray:
    return things[::-1]


FRAMES: dict[type[Kind], Callable[[np.ndarray, Any, np.random.Generator], np.ndarray]] = {
    Drop: drop, Freeze: freeze, Shuffle: shuffle, Reverse: reverse,
}  # fmt: skip
