import resource
import subprocess
import sys
import threading

import pytest

from pipeline.storage import memory_limit
from pipeline.storage.memory_limit import MOST, limit_memory


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch):
    """As in a process in which no engine was loaded, as tests of others may have done in this one."""
    monkeypatch.setattr(memory_limit, "_released", False)


def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


def test_more_than_the_bound_is_a_memory_error_and_afterwards_there_is_none():
    before = limit()
    with limit_memory():
        assert len(bytearray(MOST // 2)) == MOST // 2
        with pytest.raises(MemoryError):
            bytearray(MOST + (64 << 20))
    assert limit() == before
    with limit_memory(held=MOST), pytest.raises(MemoryError):
        bytearray(MOST // 2)
    assert limit() == before
    assert len(bytearray(MOST + (64 << 20))) > MOST


def test_threads_that_are_bounded_at_once_leave_no_bound_behind():
    before = limit()
    meet = threading.Barrier(4)

    def read() -> None:
        for _ in range(50):
            with limit_memory():
                meet.wait()
                assert limit() != resource.RLIM_INFINITY
            meet.wait()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limit() == before


RELEASED = """
import resource
from pipeline.storage import memory_limit

def refused(size):
    try:
        bytearray(size)
    except MemoryError:
        return True
    return False

free = resource.getrlimit(resource.RLIMIT_AS)
with memory_limit.limit_memory():
    print(refused(2 * memory_limit.MOST), refused(memory_limit.MOST // 8))
    memory_limit.lift_limit()
    print(refused(2 * memory_limit.MOST), resource.getrlimit(resource.RLIMIT_AS) == free)
with memory_limit.limit_memory():
    print(refused(2 * memory_limit.MOST))
print(resource.getrlimit(resource.RLIMIT_AS) == free)
"""


def test_a_step_is_bounded_until_an_engine_loads_in_the_process():
    before = resource.getrlimit(resource.RLIMIT_AS)
    found = subprocess.run([sys.executable, "-c", RELEASED], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n") == ["True False", "False True", "False", "True", ""]
    assert resource.getrlimit(resource.RLIMIT_AS) == before
