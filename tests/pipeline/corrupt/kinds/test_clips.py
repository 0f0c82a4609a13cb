import numpy as np
import pytest

from pipeline.corrupt.kinds.clips import FRAMES, Drop, Freeze, Reverse, Shuffle


def done(kind, count: int = 10, seed: int = 0) -> list[int]:
    """The numbers of the frames that are left, in their new order."""
    frames = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    return FRAMES[type(kind)](frames, kind, np.random.default_rng(seed))[:, 0, 0, 0].tolist()


def test_half_of_the_frames_are_dropped_and_the_rest_keeps_its_order():
    left = done(Drop())
    assert (len(left), left) == (5, sorted(set(left)))
    assert done(Drop(), seed=1) != left


def test_a_stretch_is_dropped_as_one():
    for seed in range(10):
        left = done(Drop(portion=0.3, form="block"), seed=seed)
        gone = sorted(set(range(10)) - set(left))
        assert (len(gone), gone[-1] - gone[0]) == (3, 2)
        assert left == sorted(left)


def test_one_frame_is_always_left():
    assert len(done(Drop(portion=0.99), count=3)) == 1
    assert done(Drop(), count=1) == [0]


def test_a_stretch_freezes_at_its_first_frame():
    for seed in range(10):
        shown = done(Freeze(), seed=seed)
        start = next(i for i in range(9) if shown[i] == shown[i + 1])
        assert shown == [*range(start), *[start] * 5, *range(start + 5, 10)]
    assert len(set(done(Freeze(portion=1)))) == 1


def test_pieces_come_in_another_order_and_stay_whole():
    # ten frames in four pieces: 3, 3, 2, 2
    for seed in range(20):
        shown = done(Shuffle(pieces=4), seed=seed)
        assert sorted(shown) == list(range(10))
        assert shown != list(range(10))
        for piece in ([0, 1, 2], [3, 4, 5], [6, 7], [8, 9]):
            at = shown.index(piece[0])
            assert shown[at : at + len(piece)] == piece


@pytest.mark.parametrize("seed", range(4))
def test_two_pieces_are_always_exchanged(seed):
    assert done(Shuffle(pieces=2), count=4, seed=seed) == [2, 3, 0, 1]


def test_backwards_is_backwards():
    assert done(Reverse()) == list(range(9, -1, -1))
