"""Corruptions of temporal order: of the frames of a video, or the samples of an audio clip.

A video's own audio is left unchanged unless `sound` is set."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field

from pipeline.corrupt.kinds._kind import Kind, random_slice


class Drop(Kind):
    """Missing frames; the clip is shorter by them."""

    kind: Literal["drop"] = "drop"
    portion: float = Field(0.5, gt=0, lt=1)
    """share of the frames that is dropped"""
    form: Literal["random", "block"] = "random"
    """scattered single frames, or one contiguous stretch"""


class Freeze(Kind):
    """A stretch that shows only its first frame."""

    kind: Literal["freeze"] = "freeze"
    portion: float = Field(0.5, gt=0, le=1)
    """share of the frames in the stretch; 1 is a still image"""


class Shuffle(Kind):
    """Cut into segments of equal length, in another order."""

    kind: Literal["shuffle"] = "shuffle"
    pieces: int = Field(8, ge=2, le=10_000)
    """number of segments, at most the number of frames"""
    sound: bool = False
    """for a video: shuffle its own audio too, in the same order if there is a frame for every segment"""


class Reverse(Kind):
    """Played backwards."""

    kind: Literal["reverse"] = "reverse"
    sound: bool = False
    """for a video: reverse its own audio too"""


def drop(frames: np.ndarray, kind: Drop, rng: np.random.Generator) -> np.ndarray:
    """The remaining frames, at least one."""
    kept = np.ones(len(frames), bool)
    dropped = min(len(frames) - 1, round(len(frames) * kind.portion))
    if kind.form == "random":
        kept[rng.permutation(len(frames))[:dropped]] = False
    elif dropped:
        kept[random_slice(len(frames), dropped / len(frames), rng)] = False
    return frames[kept]


def freeze(frames: np.ndarray, kind: Freeze, rng: np.random.Generator) -> np.ndarray:
    frozen = random_slice(len(frames), kind.portion, rng)
    out = frames.copy()
    out[frozen] = frames[frozen.start]
    return out


def shuffle(things: np.ndarray, kind: Shuffle, rng: np.random.Generator) -> np.ndarray:
    """`things` (frames or samples along axis 0) in segments, never in the original order if there are two or more."""
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
