"""Restarts a process whose memory keeps growing, before the system kills it; between two shards, where nothing is lost.

vLLM's own memory has been observed to grow for hours without bound (its issues 15085 and 35191)."""

from collections.abc import Callable

from pipeline.engines.local.device import memory_in_use

SETTLED = 2  # shards after which caches are warm and the baseline is measured
SPARE = 4 << 30  # bytes; growth bound is max(this, the baseline), but at most half of the free memory


class RestartWorker(Exception):
    """Asks for this process to end and another one to continue from the cache; the message says why. It is not a failure."""


class Watchdog:
    """Measures the memory of this process between shards."""

    def __init__(self, measured: Callable[[], dict[str, tuple[int, int]]] = memory_in_use):
        """`measured` returns name -> (bytes held, bytes free), like `memory_in_use`."""
        self._measured = measured
        self.loaded()

    def loaded(self) -> None:
        """Call after loading a model: the baseline is measured again."""
        self._shards = 0
        self._first: dict[str, int] = {}
        self._most: dict[str, int] = {}

    def look(self) -> None:
        """Call after each shard. RestartWorker if memory has grown beyond its bound, which is set a few shards after a load."""
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
