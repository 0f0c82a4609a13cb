"""`pairwright annotate push` as a process that is killed, repeated, and doubled: each question is on the server once."""

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from annotators.label_studio.client import connect
from annotators.people.ledger import Ledger
from tests.support.asked import environment_of, pairwright, write_recipe
from tests.support.endpoint import Endpoint, served

# the command line with small batches, so that a kill finds a push in the middle
SMALL = "from annotators.label_studio import sync; sync.BATCH = 20; from flows.cli import main; main()"


@pytest.fixture(scope="module")
def environment(label_studio):
    return environment_of(label_studio)


def planned(folder, environment, count: int):
    """The folder of a run whose questions could not be sent: its server was down."""
    folder.mkdir()
    down = environment | {"LABEL_STUDIO_URL": "http://127.0.0.1:9"}
    with served(Endpoint()) as url:
        build = ("build", write_recipe(folder, url, count), "--out", folder / "run", "--cache", folder / "cache")
        assert "cannot be reached" in pairwright(down, *build, code=1)
    return folder / "run"


def push(out, environment, log) -> subprocess.Popen:
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-c", SMALL, "annotate", "push", out], stdout=sink, stderr=sink, env=environment
        )


def sent(out) -> int:
    """Tasks that the ledger knows to be on the server."""
    with closing(sqlite3.connect(f"file:{out}/people/people/ledger.sqlite?mode=ro", uri=True)) as db:
        return db.execute("select count(*) from task").fetchone()[0]


def held(out, label_studio) -> Counter:
    """How often each question is on the server; all of them are in the ledger, under the server's ids."""
    ledger = Ledger(out / "people" / "people")
    with closing(ledger):
        (project,) = ledger.projects()
        client = connect(label_studio.url, label_studio.key)
        assert [p["description"] for p in client._projects()].count(f"pairwright:{project.name}") == 1
        there = client.ids(project.id)
        assert ledger.tasks(project.name) == there
        assert {q.uid for q in ledger.questions()} == set(there.values())
        assert not list(ledger.unsent())
    return Counter(there.values())


def test_a_push_that_is_killed_five_times_and_repeated_sends_each_question_once(tmp_path, label_studio, environment):
    out, log = planned(tmp_path / "killed", environment, 300), tmp_path / "log"
    rng = random.Random(5)
    for point in sorted(rng.sample(range(260), 5)):
        process = push(out, environment, log)
        while sent(out) < point and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        assert process.poll() is None, log.read_text()
        process.kill()
        process.wait()
    assert point <= sent(out) < 300
    assert push(out, environment, log).wait(120) == 0, log.read_text()
    assert set(held(out, label_studio).values()) == {1}
    assert "nothing new" in pairwright(environment, "annotate", "push", out)
    assert "Traceback" not in log.read_text()


def test_two_pushes_at_the_same_time_send_each_question_once(tmp_path, label_studio, environment):
    out, log = planned(tmp_path / "twice", environment, 100), tmp_path / "log"
    both = [push(out, environment, log) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0], log.read_text()
    assert set(held(out, label_studio).values()) == {1}
    assert sorted(line.split(": ")[1] for line in log.read_text().splitlines()) == ["100 sent", "nothing new"]
