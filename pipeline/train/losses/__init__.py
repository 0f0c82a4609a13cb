"""Losses on pairs, one per file. The file's name is the value of a recipe's `loss:`; its function `loss` is called as

    loss(chosen: Side, rejected: Side, beta, label_smoothing) -> [pairs]

A pair's loss does not depend on the other pairs, since a batch may be computed in parts. A new loss is one new file; nothing else names it. Files that begin with `_` are shared by the losses.
Log-probabilities are natural logs, [pairs, tokens], 0 after an answer's end."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

NAMES = tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_")))
"""losses that a recipe may name; found without importing them"""


def loss_of(name: str) -> Callable[..., Any]:
    """The loss function with this name, one of NAMES."""
    return importlib.import_module(f"{__name__}.{name}").loss
