"""A loop whose clock is made up: whole milliseconds, timers that may fire one early, and no time is spent waiting.

uvloop's clock has whole milliseconds, and its timers fire by another reading of it than the callback's own."""

import asyncio
import random
import selectors
from collections.abc import Coroutine


class Stuck(AssertionError):
    """Everything waits, and no timer will ever wake it."""


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: "MadeUpLoop"):
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None):
        if timeout is None and len(self.get_map()) <= 1:  # the loop's own pipe alone
            raise Stuck(f"nothing is left to wait for at {self._loop.now} ms")
        self._loop.now += int(1000 * (timeout or 0))  # rounded down: a timer may be a millisecond early
        return super().select(0)


class MadeUpLoop(asyncio.SelectorEventLoop):
    """`asyncio`'s loop on that clock. Now and then the clock ticks between two readings, as real ones do."""

    def __init__(self, dice: random.Random):
        self.now, self._dice = 0, dice
        super().__init__(_Selector(self))
        self._clock_resolution = 0.001  # what may be early

    def time(self) -> float:
        self.now += self._dice.random() < 0.2
        return self.now / 1000


def run(main: Coroutine, dice: random.Random):
    """What `main` returns, and how many seconds passed on the made-up clock. Stuck when it would wait for ever."""
    with asyncio.Runner(loop_factory=lambda: MadeUpLoop(dice)) as runner:
        found = runner.run(main)
        return found, runner.get_loop().now / 1000
