"""A bound on the memory that reading a file may take, for readers that believe what the file says of its sizes."""

import resource
import threading
from collections.abc import Generator
from contextlib import contextmanager

MOST = 640 << 20  # bytes that one step of reading may take, with what the steps before it hold
_LEAST = 96 << 20  # bytes that it may take anyway
_PAGE = resource.getpagesize()
_lock = threading.Lock()
_inside = 0
_released = False
_before = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def release() -> None:
    """From now on nothing is bounded in this process, nor what is just being read: an engine that loads on another thread takes gigabytes."""
    global _released
    with _lock:
        _released = True
        if _inside:
            resource.setrlimit(resource.RLIMIT_AS, _before)


@contextmanager
def bounded(held: int = 0) -> Generator[None]:
    """What is done inside gets a MemoryError where it wants more than MOST bytes, of which `held` are taken already.

    The bound is one of the process's address space, for this is what the system offers: a step should be short, as a batch of rows is."""
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
