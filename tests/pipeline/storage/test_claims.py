"""Questions in flight of several builds on one cache."""

import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

from pipeline.storage import claims
from pipeline.storage.claims import Claims
from schemas.errors import StoreError

KEY, OTHER = b"k" * 16, b"o" * 16


def have(one: Claims, key: bytes) -> bool:
    """Claims a question as the cache does; whether it is ours."""
    return one.claim(key) or one.is_mine(key)


@pytest.fixture
def pair(tmp_path):
    pair = Claims(tmp_path), Claims(tmp_path)
    yield pair
    for one in pair:
        one.close()


def test_a_build_alone_has_what_it_claims(tmp_path):
    alone = Claims(tmp_path / "asking")
    assert alone.claim(KEY)
    assert alone.claim(OTHER)
    alone.release([KEY, OTHER, b"never claimed..."])
    assert alone.claim(KEY)
    assert not alone.shared
    alone.close()
    assert list((tmp_path / "asking").iterdir()) == []


def test_nothing_is_written_before_the_first_claim(tmp_path):
    Claims(tmp_path / "asking").close()
    assert list(tmp_path.iterdir()) == []


def test_what_one_build_claimed_before_the_other_came_is_not_the_others(pair):
    first, second = pair
    assert have(first, KEY)
    assert not have(second, KEY)
    assert have(second, OTHER)
    assert not have(first, OTHER)
    first.release([KEY])
    assert have(second, KEY)
    assert not have(first, KEY)


def test_who_leaves_frees_what_he_had_and_who_stays_is_alone_again(pair):
    first, second = pair
    first.claim(KEY)
    assert not have(second, KEY)
    first.close()
    assert have(second, KEY)
    assert not second.shared
    assert second.claim(OTHER)  # without a look around


def test_what_a_killed_process_claimed_is_free_and_its_file_goes(tmp_path, pair):
    script = "import os, signal, sys; from pathlib import Path; from pipeline.storage.claims import Claims\nc = Claims(Path(sys.argv[1])); c.claim(b'k' * 16); os.kill(os.getpid(), signal.SIGKILL)"
    first, second = pair
    assert have(first, OTHER)
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == -signal.SIGKILL
    assert have(first, KEY)
    assert not have(second, KEY)
    assert len(list(tmp_path.iterdir())) == 2


def killed(folder, *before) -> None:
    """A process that claims KEY, then does what `before` says, and is killed."""
    script = (
        "import os, signal, sys; from pathlib import Path; from pipeline.storage.claims import Claims\n"
        "c = Claims(Path(sys.argv[1])); c.claim(b'k' * 16); print(flush=True); input(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        for each in before:
            each()
        process.communicate("\n")
        assert process.returncode == -signal.SIGKILL


def test_the_last_to_leave_removes_the_file_of_a_dead_one_whom_it_knew(tmp_path):
    claims = Claims(tmp_path)
    killed(tmp_path, lambda: claims.claim(OTHER))  # it sees the other, which dies afterwards
    assert len(list(tmp_path.iterdir())) == 2
    claims.close()
    assert list(tmp_path.iterdir()) == []


def test_one_who_claimed_nothing_removes_the_file_of_a_dead_one_too(tmp_path):
    killed(tmp_path)
    claims = Claims(tmp_path)
    claims.close()
    assert list(tmp_path.iterdir()) == []
    Claims(tmp_path / "nowhere").close()
    assert not (tmp_path / "nowhere").exists()


def test_a_stopped_process_keeps_what_it_claimed(tmp_path, pair):
    script = "import sys; from pathlib import Path; from pipeline.storage.claims import Claims\nc = Claims(Path(sys.argv[1])); c.claim(b'k' * 16); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        assert not have(pair[0], KEY)
    finally:
        process.kill()
        process.communicate()
    assert have(pair[0], KEY)


def test_more_than_there_are_places_for_is_asked_without_a_claim(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PLACES", 2)
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert [have(first, bytes([i]) * 16) for i in range(3)] == [True] * 3
    assert [have(second, bytes([i]) * 16) for i in range(3)] == [False, False, True]
    first.release([bytes(16)])
    assert have(first, b"x" * 16)
    for one in (first, second):
        one.close()


def test_a_folder_that_cannot_be_made_is_one_line_and_leaves_no_file(tmp_path, monkeypatch):
    (tmp_path / "asking").write_text("a file in the way")
    with pytest.raises(StoreError, match=r"cannot write to .*asking .*; check its disk and permissions"):
        Claims(tmp_path / "asking").claim(KEY)
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match=r"\(No space left on device\)"):
        Claims(tmp_path / "full").claim(KEY)
    assert list((tmp_path / "full").iterdir()) == []


def _asks(folder: Path, seed: int) -> list[int]:
    """Goes through the same questions in an order of its own until all are asked by somebody; those it asked itself."""
    mine, one, dice = [], Claims(folder / "asking"), random.Random(seed)
    todo = dice.sample(range(2000), 2000)
    while todo:
        number = todo.pop()
        key, answer = random.Random(number).randbytes(16), folder / str(number)
        if answer.exists():
            continue
        if not have(one, key):
            todo.insert(dice.randrange(len(todo) + 1), number)
        elif not answer.exists():
            mine.append(number)
            answer.touch()
        one.release([key])
    one.close()
    return mine


def test_four_processes_ask_two_thousand_questions_once(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        asked = chain.from_iterable(pool.map(_asks, [tmp_path] * 4, range(4)))
    assert sorted(asked) == list(range(2000))
    assert list((tmp_path / "asking").iterdir()) == []
