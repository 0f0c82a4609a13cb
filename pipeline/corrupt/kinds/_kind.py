"""The base of every kind of corruption: settings with a name, to which a function over decoded media belongs."""

import numpy as np

from schemas.operator import OperatorSettings
from schemas.records import digest


class Kind(OperatorSettings):
    """Base of every kind's settings; a recipe names the kind by its `kind`."""

    seed: int = 0
    """random seed of places, orders and noise"""
    kind: str
    """name of the kind"""


def seeded_rng(kind: Kind, *names: str) -> np.random.Generator:
    """A generator that depends only on the seed and the names (sample, file), not on what was drawn before."""
    return np.random.default_rng(int(digest(kind.seed, *names), 16))


def random_slice(count: int, portion: float, rng: np.random.Generator) -> slice:
    """A contiguous slice of the share `portion` (0..1) of `count` elements, at least one, at a random place."""
    length = min(count, max(1, round(count * portion)))
    start = int(rng.integers(count - length + 1))
    return slice(start, start + length)
