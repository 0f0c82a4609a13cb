"""Locality-sensitive hashing: finds near rows by comparing only those that share a key."""

from collections.abc import Callable, Sequence

import numpy as np

Near = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (indices i, indices j) -> whether row i[k] is near row j[k]


def bands(hashes: np.ndarray, bits: int) -> list[np.ndarray]:
    """Keys of 64-bit hashes: hashes that differ in at most `bits` bits agree in at least one of `bits` + 1 pieces.

    `bits` is 1 to 63, so that a piece has at most 32 bits."""
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    pieces = zip(edges.tolist(), edges[1:].tolist())
    return [(hashes >> np.uint64(low) & np.uint64((1 << high - low) - 1)).astype(np.int64) for low, high in pieces]


def near_duplicates(keys: Sequence[np.ndarray], near: Near) -> np.ndarray:
    """For each row an earlier row that is near it and is kept; -1 for rows that are kept themselves.

    A row is kept if no earlier kept row is near it. Only rows with an equal key (below 2**32) are compared. Memory is a few numbers per
    row, however many rows are near each other."""
    twin = np.full(len(keys[0]), -1)
    undecided = np.arange(len(twin))
    while len(undecided):
        alone = near_earlier(keys, undecided, undecided, near) < 0
        stay, rest = undecided[alone], undecided[~alone]
        twin[rest] = near_earlier(keys, stay, rest, near)
        undecided = rest[twin[rest] < 0]
    return twin


def near_earlier(keys: Sequence[np.ndarray], among: np.ndarray, rows: np.ndarray, near: Near) -> np.ndarray:
    """For each of `rows`, an earlier row of `among` that shares a key and is near; -1 if there is none."""
    found = np.full(len(rows), -1)
    for key in keys:
        count = len(key)
        place = np.sort(key[among] * count + among)  # by key, then by number
        number = place % count
        open_ = np.flatnonzero(found < 0)
        row_key = key[rows[open_]] * count
        first = np.searchsorted(place, row_key)
        last = np.searchsorted(place, row_key + rows[open_])  # after the last one before it
        while len(open_ := open_[live := last > first]):
            first, last = first[live], last[live] - 1
            other = number[last]
            hit = near(other, rows[open_])
            found[open_[hit]] = other[hit]
            open_, first, last = open_[~hit], first[~hit], last[~hit]
    return found
