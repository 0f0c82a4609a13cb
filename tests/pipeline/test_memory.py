"""A bound on what one step of reading may take, and its end where an engine loads."""

import resource
import subprocess
import sys

SCRIPT = """
import resource
from pipeline import memory

def refused(size):
    try:
        bytearray(size)
    except MemoryError:
        return True
    return False

free = resource.getrlimit(resource.RLIMIT_AS)
with memory.bounded():
    print(refused(2 * memory.MOST), refused(memory.MOST // 8))
    memory.release()
    print(refused(2 * memory.MOST), resource.getrlimit(resource.RLIMIT_AS) == free)
with memory.bounded():
    print(refused(2 * memory.MOST))
print(resource.getrlimit(resource.RLIMIT_AS) == free)
"""


def test_a_step_is_bounded_until_an_engine_loads_in_the_process():
    before = resource.getrlimit(resource.RLIMIT_AS)
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n") == ["True False", "False True", "False", "True", ""]
    assert resource.getrlimit(resource.RLIMIT_AS) == before
