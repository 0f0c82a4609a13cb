"""Schedules pulls: at the start, after a webhook, and at a fixed interval.

Label Studio sends a webhook once, waits one second and forgets it. So webhooks make pulls early, and the interval makes them reliable."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from schemas.errors import PairwrightError

GATHER = 1.0  # seconds from a hint to its pull; hints in between share the pull
log = logging.getLogger(__name__)


class Pulls:
    """Calls `pull(project)`, or `pull(None)` for all projects, on a thread, one call at a time.

    Hints during a pull lead to one more pull after it. A failed pull is logged in one line; the next hint, or the next round after
    `every` seconds, tries again."""

    def __init__(self, pull: Callable[[str | None], None], every: float):
        self._pull, self._every = pull, every
        self._wanted: set[str | None] = set()
        self._hinted, self._stopped = asyncio.Event(), asyncio.Event()
        self.done = self.failed = 0
        self.last_ok: str | None = None
        self.last_error: str | None = None

    def wake(self, project: str) -> None:
        """Requests a pull of this project."""
        self._wanted.add(project)
        self._hinted.set()

    def stop(self) -> None:
        """Makes `run` return after the current pull."""
        self._stopped.set()
        self._hinted.set()

    async def run(self) -> None:
        """Pulls until `stop` is called."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await _wait(self._hinted, due - clock())
            if self._hinted.is_set():
                await _wait(self._stopped, GATHER)
            self._hinted.clear()
            wanted, self._wanted = self._wanted, set()
            everything = clock() >= due
            for project in {None} if everything else wanted:
                if self._stopped.is_set():
                    return
                await self._call(project)
            if self._stopped.is_set():
                return
            if everything:
                due = clock() + self._every

    async def _call(self, project: str | None) -> None:
        try:
            await asyncio.to_thread(self._pull, project)
        except Exception as error:  # noqa: BLE001 - the pull is the caller's: whatever it raises, the server goes on
            self.failed += 1
            self.last_error = _now()
            log.error("a pull failed; the next webhook or round tries again: %s", _line(error))
        else:
            self.done += 1
            self.last_ok = _now()


def _line(error: Exception) -> str:
    """An error as one line: our own errors in full, of others only type and location, because their text may contain a token."""
    if isinstance(error, PairwrightError):
        return str(error)
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {last.name}, line {last.lineno} of {last.filename}"


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
