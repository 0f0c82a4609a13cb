"""Says what a unit waits for while none of its work is done: a model is loaded for minutes, and the first answers may take as long."""

import threading
import time
from collections.abc import Callable

EVERY = 5.0  # seconds


class Heartbeat:
    """A context in which a thread calls `say` with a few words every few seconds, until it is stopped."""

    def __init__(self, waiting: Callable[[], str], say: Callable[[str], object], every: float = EVERY):
        """`waiting`: what is waited for, in a few words; nothing is said while it is empty."""
        self._waiting, self._say, self._every = waiting, say, every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """From now on nothing is said."""
        self._stopped.set()

    def _beat(self) -> None:
        started = time.monotonic()
        while not self._stopped.wait(self._every):
            if (what := self._waiting()) and not self._stopped.is_set():
                self._say(f"({what}; nothing is done after {time.monotonic() - started:,.0f} s)")
