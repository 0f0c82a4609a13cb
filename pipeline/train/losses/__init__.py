"""Losses on pairs, one a file: its name is what `loss:` of a recipe calls it, and its `loss` is called as

    loss(chosen: Side, rejected: Side, beta, label_smoothing) -> [pairs]

A new loss is one new file; nothing else names it. Files that begin with `_` hold what losses share.
Log-probabilities are natural, [pairs, tokens], 0 behind an answer's end."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

NAMES = tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")))
"""the losses that a recipe may name; none is imported to find out"""


def loss_of(name: str) -> Callable[..., Any]:
    """The loss of that name, one of NAMES."""
    return importlib.import_module(f"{__name__}.{name}").loss
