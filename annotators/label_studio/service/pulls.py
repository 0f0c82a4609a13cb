"""When to pull: at the start, when a webhook hints at something new, and every so often whatever webhooks say.

Label Studio sends a webhook once, waits a second and forgets it, so hints make a pull early and the clock makes it sure."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from schemas.errors import PairwrightError

GATHER = 1.0  # seconds from a hint to its pull: hints that come meanwhile share it
log = logging.getLogger(__name__)


class Pulls:
    """Calls `pull(project)`, or `pull(None)` for all projects, on a thread beside the server, one call at a time.

    Hints during a pull make one more after it. A pull that raises is logged in a line; the next hint, or the next round
    after `every` seconds, tries again."""

    def __init__(self, pull: Callable[[str | None], None], every: float):
        self._pull, self._every = pull, every
        self._wanted: set[str | None] = set()
        self._hinted, self._stopped = asyncio.Event(), asyncio.Event()
        self.done = self.failed = 0
        self.last_ok: str | None = None
        self.last_error: str | None = None

    def wake(self, project: str) -> None:
        """Something is new in this project."""
        self._wanted.add(project)
        self._hinted.set()

    def stop(self) -> None:
        """Lets `run` end after the pull that is running."""
        self._stopped.set()
        self._hinted.set()

    async def run(self) -> None:
        """Pulls until `stop`."""
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
            log.error("a pull failed, the next hint or round tries again: %s", _line(error))
        else:
            self.done += 1
            self.last_ok = _now()


def _line(error: Exception) -> str:
    """Our own errors speak for themselves; of others only where they came from, for their text may hold a token."""
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
