"""A process that grows ends between shards."""

import pytest

from flows.runs.memory_watchdog import RestartWorker, Watchdog

GIB = 1 << 30


def watched(held: list[int], free: int = 100 * GIB, name: str = "memory"):
    """A watchdog to which these are what the process holds, shard by shard."""
    sizes = iter(held)
    return Watchdog(lambda: {name: (next(sizes), free)})


def looks(dog: Watchdog, times: int) -> None:
    for _ in range(times):
        dog.look()


def test_it_may_grow_by_the_spare_and_not_more():
    dog = watched([GIB, 5 * GIB, 5 * GIB + (1 << 20)])  # 1 GiB after the second shard, and 4 to spare: 5 is its bound
    looks(dog, 3)
    with pytest.raises(RestartWorker, match="its memory grew from 1,024 to 5,121 MiB"):
        dog.look()


def test_a_large_process_may_grow_to_twice_its_size():
    dog = watched([10 * GIB, 20 * GIB, 21 * GIB])
    looks(dog, 3)
    with pytest.raises(RestartWorker):
        dog.look()


def test_it_may_take_half_of_what_is_free():
    dog = watched([GIB, 2 * GIB, 2 * GIB + 1], free=2 * GIB)  # 1 + 2 / 2
    looks(dog, 3)
    with pytest.raises(RestartWorker):
        dog.look()


def test_a_model_that_is_loaded_later_is_no_growth():
    dog = watched([GIB, 30 * GIB, 30 * GIB])
    looks(dog, 2)
    dog.loaded()
    looks(dog, 3)


def test_every_kind_of_memory_has_its_bound():
    dog = watched([GIB, 6 * GIB], name="GPU memory")
    looks(dog, 2)
    with pytest.raises(RestartWorker, match="its GPU memory grew"):
        dog.look()
