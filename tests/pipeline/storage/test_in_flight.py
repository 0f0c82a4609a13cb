"""What was in flight when a process died, on a real engine that asks a server."""

import asyncio
import subprocess
import sys

import pytest

from pipeline.engines import openai
from pipeline.storage.in_flight import Journal, in_flight
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.records import Reason
from schemas.requests import Failure, Generate, Generated
from tests.support.endpoint import Endpoint, served

SLOTS = 3
KEYS = [bytes([n]) * 16 for n in range(1, 9)]


def asked(tmp_path, suspects=(), culprits=(), keys=KEYS):
    """The results of one request a key, all at once, the endpoint that answered, and every set of keys that the file held meanwhile."""
    endpoint = Endpoint(delay=0.05)

    async def ask(url):
        settings = openai.Settings(base_url=url, model="scripted", slots=SLOTS)
        engine = await openai.connect(settings, FolderStore(tmp_path / "media"))
        journal = Journal(tmp_path / "in_flight", suspects, culprits)
        journal.watch(engine)
        seen = []

        async def look():
            while True:
                seen.append(in_flight(tmp_path / "in_flight"))
                await asyncio.sleep(0.005)

        looking = asyncio.create_task(look())
        requests = [journal.ask(engine, key, Generate((messages.user(f"question {key[0]}"),))) for key in keys]
        results = await asyncio.gather(*requests)
        looking.cancel()
        await engine.close()
        return results, seen

    with served(endpoint) as url:
        results, seen = asyncio.run(ask(url))
    return results, endpoint, seen


def test_what_is_in_flight_is_in_the_file_and_no_more_than_the_slots(tmp_path):
    results, endpoint, seen = asked(tmp_path)
    assert all(isinstance(r, Generated) for r in results)
    assert endpoint.peak == max(map(len, seen)) == SLOTS
    assert set().union(*seen) == set(KEYS)
    assert in_flight(tmp_path / "in_flight") == set()


def test_a_suspect_is_asked_with_nothing_beside_it(tmp_path):
    suspects = {KEYS[2], KEYS[5]}
    results, _, seen = asked(tmp_path, suspects)
    assert all(isinstance(r, Generated) for r in results)
    assert {frozenset(keys) for keys in seen if keys & suspects} == {frozenset({KEYS[2]}), frozenset({KEYS[5]})}
    assert max(map(len, seen)) > 1  # the others go side by side


def test_a_culprit_is_not_asked(tmp_path):
    results, endpoint, _ = asked(tmp_path, culprits={KEYS[0]})
    assert isinstance(results[0], Failure)
    assert results[0].reason == Reason.ENGINE_CRASH
    assert sum(endpoint.questions.values()) == len(KEYS) - 1


def test_an_engine_that_is_not_watched_leaves_nothing(tmp_path):
    async def ask(url):
        engine = await openai.connect(openai.Settings(base_url=url, model="scripted"), FolderStore(tmp_path / "media"))
        await Journal(tmp_path / "in_flight").ask(engine, KEYS[0], Generate((messages.user("hello"),)))
        await engine.close()

    with served(Endpoint()) as url:
        asyncio.run(ask(url))
    assert (tmp_path / "in_flight").read_bytes() == b""


DYING = """
import asyncio, os, signal, sys
from pathlib import Path
from pipeline.storage.in_flight import Journal

class Engine:
    slots = 4
    async def ask(self, request):
        if request:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(60)

async def main():
    journal, engine = Journal(Path(sys.argv[1])), Engine()
    journal.watch(engine)
    await asyncio.gather(*(journal.ask(engine, bytes([n]) * 16, n == 3) for n in (1, 2, 3, 4)))

asyncio.run(main())
"""


def test_the_file_outlives_a_process_that_is_killed(tmp_path):
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", DYING, str(tmp_path / "in_flight")], check=True)
    assert in_flight(tmp_path / "in_flight") == {bytes([n]) * 16 for n in (1, 2, 3)}  # the fourth was not asked yet


def test_without_a_file_nothing_was_in_flight(tmp_path):
    assert in_flight(tmp_path / "in_flight") == set()
