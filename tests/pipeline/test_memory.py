import resource
import threading

import pytest

from pipeline.memory import MOST, bounded


def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


def test_more_than_the_bound_is_a_memory_error_and_afterwards_there_is_none():
    before = limit()
    with bounded():
        assert len(bytearray(MOST // 2)) == MOST // 2
        with pytest.raises(MemoryError):
            bytearray(MOST + (64 << 20))
    assert limit() == before
    with bounded(held=MOST), pytest.raises(MemoryError):
        bytearray(MOST // 2)
    assert limit() == before
    assert len(bytearray(MOST + (64 << 20))) > MOST


def test_threads_that_are_bounded_at_once_leave_no_bound_behind():
    before = limit()
    meet = threading.Barrier(4)

    def read() -> None:
        for _ in range(50):
            with bounded():
                meet.wait()
                assert limit() != resource.RLIM_INFINITY
            meet.wait()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit() == before
