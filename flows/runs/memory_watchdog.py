"""A process whose memory keeps growing ends before the system ends it, between two shards, where nothing is lost.

vLLM's own memory was seen to grow for hours without an end (its issues 15085 and 35191)."""

from collections.abc import Callable

from pipeline.engines.local.device import memory_in_use

SETTLED = 2  # shards after which caches are warm
SPARE = 4 << 30  # bytes by which a process may grow from there, or to twice its size, or into half of what is free


class RestartWorker(Exception):
    """This process should end, and another go on from the cache; the message says why. Nothing has failed."""


class Watchdog:
    """Measures this process between shards."""

    def __init__(self, measured: Callable[[], dict[str, tuple[int, int]]] = memory_in_use):
        """`measured` says what is held and what is free, as `held` does."""
        self._measured = measured
        self.loaded()

    def loaded(self) -> None:
        """A model was loaded: what the process holds settles anew."""
        self._shards = 0
        self._first: dict[str, int] = {}
        self._most: dict[str, int] = {}

    def look(self) -> None:
        """After each shard. RestartWorker when the process holds more than its bound, which is set by the first shards after a load."""
        self._shards += 1
        if self._shards < SETTLED:
            return
        found = self._measured()
        if self._shards == SETTLED:
            for name, (bytes_held, free) in found.items():
                self._first[name] = bytes_held
                self._most[name] = bytes_held + min(max(bytes_held, SPARE), free // 2)
        for name, (bytes_held, _) in found.items():
            if bytes_held > self._most[name]:
                raise RestartWorker(f"its {name} grew from {self._first[name] >> 20:,} to {bytes_held >> 20:,} MiB")
