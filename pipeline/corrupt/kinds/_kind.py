"""What every kind of corruption is: settings with a name, and a function over decoded media."""

import numpy as np

from schemas.operator import OperatorSettings
from schemas.records import digest


class Kind(OperatorSettings):
    """Base of every kind's settings; a recipe names the kind by its `kind`."""

    seed: int = 0
    """another seed draws other places, orders and noise"""
    kind: str
    """its name"""


def seeded_rng(kind: Kind, *of: str) -> np.random.Generator:
    """Random numbers of their own for each of the things named by `of`, whatever came before."""
    return np.random.default_rng(int(digest(kind.seed, *of), 16))


def stretch(count: int, portion: float, rng: np.random.Generator) -> slice:
    """A run of `portion` of `count` things, at least one, at a random place."""
    long = min(count, max(1, round(count * portion)))
    start = int(rng.integers(count - long + 1))
    return slice(start, start + long)
