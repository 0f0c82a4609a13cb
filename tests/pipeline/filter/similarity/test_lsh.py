"""Banding finds what comparing each with each finds."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.filter.similarity import lsh, shingles
from pipeline.media.phash import distance


def slowly(hashes: list[int], bits: int) -> list[int]:
    """Row by row: the smallest earlier row that stays and is near, or -1."""
    twin: list[int] = []
    for j, mine in enumerate(hashes):
        near_ = [i for i in range(j) if twin[i] < 0 and (mine ^ hashes[i]).bit_count() <= bits]
        twin.append(near_[0] if near_ else -1)
    return twin


def quickly(hashes: np.ndarray, bits: int) -> np.ndarray:
    return lsh.near_duplicates(lsh.bands(hashes, max(bits, 1)), lambda i, j: distance(hashes[i], hashes[j]) <= bits)


few_bits = st.lists(st.integers(0, 63), max_size=6).map(lambda places: sum({1 << p for p in places}))


@settings(deadline=None, max_examples=200)
@given(st.lists(few_bits, min_size=1, max_size=30), st.integers(0, 10))
def test_the_same_rows_go_as_when_each_is_compared_with_each(hashes, bits):
    wanted, found = slowly(hashes, bits), quickly(np.array(hashes, np.uint64), bits)
    assert [i < 0 for i in found] == [i < 0 for i in wanted]
    for j, i in enumerate(found):
        if i >= 0:  # it may be another one than the first, but one that stays, came before and is near
            assert i < j
            assert found[i] < 0
            assert (hashes[i] ^ hashes[j]).bit_count() <= bits


def test_a_row_near_to_one_that_went_stays():
    # 0, 3 bits, 6 bits set: the second is 3 from the first and goes; the third is 3 from the second but 6 from the first
    assert quickly(np.array([0, 0b111, 0b111111], np.uint64), 3).tolist() == [-1, 0, -1]


def test_earlier_looks_only_among_the_given_rows():
    hashes = np.zeros(4, np.uint64)
    found = lsh.near_earlier(
        lsh.bands(hashes, 3), np.array([1, 3]), np.array([0, 2]), lambda i, j: hashes[i] == hashes[j]
    )
    assert found.tolist() == [-1, 1]  # nothing given is before row 0; row 3 is not before row 2


@pytest.mark.parametrize("bits", range(1, 11))
def test_the_pieces_are_all_of_the_hash_once(bits):
    pieces = lsh.bands(np.array([2**64 - 1], np.uint64), bits)
    assert len(pieces) == bits + 1
    assert sum(int(p[0]).bit_count() for p in pieces) == 64


@pytest.mark.parametrize("bits", [3, 6])
def test_a_hundred_thousand_hashes_take_less_than_two_seconds(bits):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    first, second = rng.choice(50_000, 500, replace=False), 50_000 + rng.choice(50_000, 500, replace=False)
    hashes[second] = hashes[first] ^ np.array(
        [sum(1 << int(b) for b in rng.choice(64, bits, replace=False)) for _ in range(500)], np.uint64
    )
    started = time.process_time()
    twin = quickly(hashes, bits)
    assert time.process_time() - started < 2
    # two random hashes are this near once in 10**11 pairs (bits 6: sum of C(64, k <= 6) / 2**64 = 4.5e-12, of 5e9 pairs)
    assert np.flatnonzero(twin >= 0).tolist() == sorted(second.tolist())
    assert (twin[second] == first).all()


def test_signatures_estimate_how_many_runs_two_texts_share():
    one, two = "the quick brown fox jumps over the lazy dog", "the quick brown fox jumped over the lazy cat"
    runs = [{t[i : i + 5] for i in range(len(t) - 4)} for t in (one, two)]
    exact = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
    a, b = shingles.signatures([one, two])
    assert shingles.similarity(a, b) == pytest.approx(
        exact, abs=0.12
    )  # three standard deviations: sqrt(.6 * .4 / 128) = .043
    same, other = shingles.signatures(["What is  shown?", "what is shown"])
    assert shingles.similarity(same, other) == 1  # case, spaces and punctuation do not count
