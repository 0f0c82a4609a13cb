"""Which requests crashed the engines of a run: what was in flight at two crashes is suspected and tried alone, and what
crashes an engine alone is to blame."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from flows.runs import shards
from schemas.errors import DamageError

SUSPECTED = 2  # crashes


class Crashes:
    """Kept in the folder of the run, so that a culprit is not asked again when the run goes on."""

    def __init__(self, folder: Path):
        self._path = folder / "crashes.json"
        try:
            known = shards.read_json(self._path)
        except DamageError:  # who crashes an engine is found out again
            known = None
        known = known or {"times": {}, "culprits": []}
        self._times = Counter(known["times"])
        self._culprits = set(known["culprits"])

    @property
    def suspects(self) -> list[bytes]:
        return [bytes.fromhex(key) for key, times in self._times.items() if times >= SUSPECTED]

    @property
    def culprits(self) -> list[bytes]:
        return [bytes.fromhex(key) for key in self._culprits]

    def note(self, in_flight: Iterable[bytes]) -> bool:
        """Notes a crash. True when it says who is to blame: a suspect was in flight, and nothing else."""
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
        """Where crashes do not end, the engine is to blame: all its requests are asked again when the run goes on."""
        self._times.clear()
        self._culprits.clear()
        self._path.unlink(missing_ok=True)
