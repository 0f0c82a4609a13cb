"""Finds requests that crash the engines of a run: a request in flight at two crashes is a suspect and is tried alone; if the engine
crashes again, it is a culprit."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from flows.runs import shards
from schemas.errors import DamageError

SUSPECTED = 2  # crashes that make a request a suspect


class Crashes:
    """Stored in the folder of the run, so that a culprit is not requested again when the run continues."""

    def __init__(self, folder: Path):
        self._path = folder / "crashes.json"
        try:
            known = shards.read_json(self._path)
        except DamageError:  # culprits will be found again
            known = None
        known = known or {"times": {}, "culprits": []}
        self._times = Counter(known["times"])
        self._culprits = set(known["culprits"])

    @property
    def suspects(self) -> list[bytes]:
        """Keys of requests to be tried alone."""
        return [bytes.fromhex(key) for key, times in self._times.items() if times >= SUSPECTED]

    @property
    def culprits(self) -> list[bytes]:
        """Keys of requests that must not be sent again."""
        return [bytes.fromhex(key) for key in self._culprits]

    def note(self, in_flight: Iterable[bytes]) -> bool:
        """Notes a crash with these requests in flight. True if it identifies a culprit: a suspect was in flight alone."""
        keys = [key.hex() for key in in_flight]
        found = len(keys) == 1 and self._times[keys[0]] >= SUSPECTED
        if found:
            self._culprits.update(keys)
            del self._times[keys[0]]
        else:
            self._times.update(keys)
        shards.write_json(self._path, {"times": self._times, "culprits": sorted(self._culprits)})
        return found

    def forget(self) -> None:
        """Clears everything: if crashes do not stop, the engine is to blame, and all requests are tried again when the run continues."""
        self._times.clear()
        self._culprits.clear()
        self._path.unlink(missing_ok=True)
