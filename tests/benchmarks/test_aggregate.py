"""Judgements are put together in flat memory, and every pair gets its score."""

import json
import subprocess
import sys

import pytest

from benchmarks.aggregate import METHODS, SKILLS, timed, write

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("method", METHODS)
def test_memory_stays_flat_as_judgements_grow(tmp_path, method):
    memory = []
    for count in (5_000, 40_000):
        folder = tmp_path / str(count)
        write(folder, count)
        words = [sys.executable, "-m", "benchmarks.aggregate", "--aggregate", str(folder), method]
        found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert found["scores"] == count // len(SKILLS)
        memory.append(found["memory"])
    assert memory[1] - memory[0] < 15  # MB; the rows between are more than that


def test_both_decide_alike_on_the_same_votes():
    ((ours, theirs, alike),) = timed(5_000, 1)
    assert alike > 0.99
    assert ours > 0 < theirs
