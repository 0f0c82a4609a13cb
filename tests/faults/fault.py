"""What a fault is: something that goes wrong outside, and what must come of it.

A module of this folder that ends in a list `FAULTS` is found by itself: a new fault is one line there."""

import importlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    area: str  # heading of the table: servers, files, disks, ...
    name: str  # what goes wrong, in a few words
    expected: str  # what must come of it, in a few words
    trial: Callable[
        [random.Random, Path], None
    ]  # one try in an empty folder; AssertionError when something else came of it
    trials: int = 10  # tries of `make faults`
    sample: int = 1  # tries of `make test`; 0: too slow for it


def every() -> Iterator[Fault]:
    """All faults, module by module."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name.startswith(("test_", "__")) or path.stem == "fault":
            continue
        yield from importlib.import_module(f"tests.faults.{path.stem}").FAULTS


def dice(fault: Fault, number: int) -> random.Random:
    """The dice of a fault's try, the same in every run."""
    return random.Random(f"{fault.area}: {fault.name}: {number}")
