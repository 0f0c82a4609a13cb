"""Which rows are near to an earlier one, without comparing each with each: only rows that share a key are compared."""

from collections.abc import Callable, Sequence

import numpy as np

Near = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # whether the rows i and j are near each other, for arrays of both


def bands(hashes: np.ndarray, bits: int) -> list[np.ndarray]:
    """Keys of 64-bit hashes: of two hashes that differ in at most `bits` bits, at least one of `bits` + 1 pieces is equal.

    `bits` is 1 to 63, so that a piece has 32 bits at most."""
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    pieces = zip(edges.tolist(), edges[1:].tolist())
    return [(hashes >> np.uint64(low) & np.uint64((1 << high - low) - 1)).astype(np.int64) for low, high in pieces]


def twins(keys: Sequence[np.ndarray], near: Near) -> np.ndarray:
    """For each row an earlier row that is near it and stays itself; -1 for those that stay.

    A row stays when no earlier row that stays is near it. Only rows with an equal key (below 2**32) are compared. Memory
    is some numbers a row, however many rows are near each other."""
    twin = np.full(len(keys[0]), -1)
    undecided = np.arange(len(twin))
    while len(undecided):
        alone = earlier(keys, undecided, undecided, near) < 0
        stay, rest = undecided[alone], undecided[~alone]
        twin[rest] = earlier(keys, stay, rest, near)
        undecided = rest[twin[rest] < 0]
    return twin


def earlier(keys: Sequence[np.ndarray], among: np.ndarray, of: np.ndarray, near: Near) -> np.ndarray:
    """For each row of `of` a row of `among`, before it, that shares a key with it and is near it; -1 where there is none."""
    found = np.full(len(of), -1)
    for key in keys:
        rows = len(key)
        place = np.sort(key[among] * rows + among)  # by key, then by number
        number = place % rows
        open_ = np.flatnonzero(found < 0)
        of_key = key[of[open_]] * rows
        first = np.searchsorted(place, of_key)
        last = np.searchsorted(place, of_key + of[open_])  # behind the last one before it
        while len(open_ := open_[live := last > first]):
            first, last = first[live], last[live] - 1
            other = number[last]
            hit = near(other, of[open_])
            found[open_[hit]] = other[hit]
            open_, first, last = open_[~hit], first[~hit], last[~hit]
    return found
