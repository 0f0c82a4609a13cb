"""A memory limit for reading files, for readers that trust the sizes stated in a file."""

import resource
import threading
from collections.abc import Generator
from contextlib import contextmanager

MOST = 640 << 20  # bytes for one step of reading, including what earlier steps hold
_LEAST = 96 << 20  # bytes that a step may always use
_PAGE = resource.getpagesize()
_lock = threading.Lock()
_inside = 0
_released = False
_before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def lift_limit() -> None:
    """Lifts the limit in this process for good, also for reads in progress: an engine that loads on another thread needs gigabytes."""
    global _released
    with _lock:
        _released = True
        if _inside:
            resource.setrlimit(resource.RLIMIT_AS, _before)


@contextmanager
def limit_memory(held: int = 0) -> Generator[None]:
    """Within the context, allocating more than MOST bytes in total, of which `held` are already in use, raises MemoryError.

    The limit applies to the whole process's address space (RLIMIT_AS), so a step should be short, like one batch of rows."""
    global _inside, _before
    with _lock:
        if not _inside and not _released:
            _before = resource.getrlimit(resource.RLIMIT_AS)
        _inside += 1
        if not _released:
            _bound(_size() + max(MOST - held, _LEAST))
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and not _released:
                resource.setrlimit(resource.RLIMIT_AS, _before)


def _bound(size: int) -> None:
    soft, hard = _before
    if soft == resource.RLIM_INFINITY or size < soft:
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))


def _size() -> int:
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read().split()[0]) * _PAGE
