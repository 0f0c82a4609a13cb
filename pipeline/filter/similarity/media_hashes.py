"""Perceptual hashes of media: each file is read and decoded once, a few at a time, and only the results are kept."""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pipeline.filter.similarity import lsh
from pipeline.media import phash
from schemas.errors import RowError, StoreError
from schemas.operator import Tables
from schemas.ports import MediaStore

FRAMES = {"image": 1, "video": 4}  # hashes per media item; a video's are of frames at even intervals
EDGE = 2 * phash.SIDE  # minimum pixels per side of an image decoded for its hash
_AHEAD = 256  # media submitted to the threads at a time


class Numbers:
    """Maps media ids to the order in which they were added, in eight bytes each."""

    def __init__(self):
        self._names = array("Q")

    def add(self, media: str) -> None:
        self._names.append(_short(media))

    def close(self) -> None:
        """Ends adding; `find` works from here on."""
        names = np.frombuffer(self._names, np.uint64)
        self._order = np.argsort(names, kind="stable")
        self._sorted = names[self._order]

    def find(self, media: str) -> int:
        """The index of a media item; -1 if it was not added."""
        wanted = np.uint64(_short(media))
        place = int(np.searchsorted(self._sorted, wanted))
        return int(self._order[place]) if place < len(self._sorted) and self._sorted[place] == wanted else -1


class MediaHashes:
    """Perceptual hashes of the images or videos among some media: eight bytes per hash, eight per id."""

    def __init__(self, kind: str):
        self.frames = FRAMES[kind]
        self.numbers = Numbers()
        self._hashes = array("Q")

    def add(self, media: str, hashes: np.ndarray) -> None:
        self.numbers.add(media)
        self._hashes.extend(hashes.tolist())

    def close(self) -> None:
        """Ends adding; `hashes` and `keys` work from here on."""
        self.numbers.close()
        self.hashes = np.frombuffer(self._hashes, np.uint64).reshape(-1, self.frames)

    def keys(self, bits: int) -> list[np.ndarray]:
        return lsh.bands(self.hashes[:, self.frames // 2], max(bits, 1))

    def apart(self, i, j) -> np.ndarray:
        """Number of differing bits between the media i and j; of videos, in the frame that differs most."""
        return phash.distance(self.hashes[i], self.hashes[j]).max(axis=-1)


def find_media_hashes(media: Iterable[tuple[str, str]], store: MediaStore) -> dict[str, MediaHashes]:
    """kind -> hashes of the images and videos among `media` (id, kind). Undecodable files have none."""
    found = {kind: MediaHashes(kind) for kind in FRAMES}
    for name, kind, seen in measured(media, store, hashes):
        if not isinstance(seen, RowError):
            found[kind].add(name, seen)
    for hashes_of_kind in found.values():
        hashes_of_kind.close()
    return found


def measured(
    media: Iterable[tuple[str, str]], store: MediaStore, measure: Callable[[bytes, str, str], Any]
) -> Iterator[tuple[str, str, Any]]:
    """Yields (id, kind, result of `measure(bytes, kind, name)` or its RowError) of each image and video among `media`, in order.

    StoreError if the store lacks one. Runs one thread per core, since decoders release the GIL."""

    def measure_one(medium: tuple[str, str]) -> Any:
        name, kind = medium
        try:
            return measure(store.read(name), kind, f"{kind} {name}")
        except RowError as error:
            return error
        except KeyError:
            raise StoreError(f"{kind} {name} is missing from the media store; run the source again") from None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in _batches(medium for medium in media if medium[1] in FRAMES):
            for medium, found in zip(batch, pool.map(measure_one, batch)):
                yield (*medium, found)


def media_of_run(tables: Tables) -> Iterator[tuple[str, str]]:
    """(id, kind) of the run's media, in table order."""
    for batch in tables.batches("media", ["id", "kind"]):
        yield from zip(batch.column("id").to_pylist(), batch.column("kind").to_pylist())


def _batches(media: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    waiting: list[tuple[str, str]] = []
    for medium in media:
        waiting.append(medium)
        if len(waiting) == _AHEAD:
            yield waiting
            waiting = []
    yield waiting


def hashes(data: bytes, kind: str, name: str) -> np.ndarray:
    """The hashes [FRAMES[kind]] uint64 of an image or video. RowError if it cannot be decoded."""
    pictures = phash.pictures(data, kind, FRAMES[kind], EDGE, name)
    return phash.phash(np.stack([phash.thumbnail(picture) for picture in pictures]))


def _short(media: str) -> int:
    """The first 64 bits of a SHA-256: a collision among a million media is expected once in 37 million runs."""
    return int(media[:16], 16)
