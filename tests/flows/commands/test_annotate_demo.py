"""`pairwright annotate demo` as its user has it: started, stopped, killed and started again, labeled by the people whose logins it prints."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.endpoint import Endpoint, served

pytestmark = pytest.mark.server

STEPS = [
    {"source.scenes": {"n": 4, "seed": 3, "shares": {"image": 1}}},
    {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
    {"judge.people": {"overlap": 2, "repeat": 0}},
    "score.consensus",
    "pair.judged",
]


class Demo:
    """The running command; what it says goes to a file."""

    def __init__(self, command: list, log: Path):
        self.log = log
        with log.open("w") as sink:
            self.process = subprocess.Popen(
                command, stdout=sink, stderr=sink, env={**os.environ, "COLUMNS": "120"},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
            )  # fmt: skip

    def says(self, pattern: str) -> re.Match:
        """Waits until it has said so."""
        end = time.monotonic() + 90
        while time.monotonic() < end:
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        pytest.fail(f"not said: {pattern}\n{self.log.read_text()}")

    def logins(self) -> dict[str, str]:
        self.says("Ctrl-C stops the server")
        return dict(re.findall(r"(\w+@example\.org)\s+│\s+(\w+)", self.log.read_text()))


def label(url: str, email: str, password: str, count: int) -> int:
    """Logs in by the printed password and says "1 better" of at most `count` tasks that the label stream gives; returns of how many."""
    done = 0
    with httpx.Client(base_url=url, timeout=60) as page:
        page.get("/user/login/")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": page.cookies["csrftoken"]}
        assert page.post("/user/login/", data=form).status_code == 302
        key = page.get("/api/current-user/token").json()["token"]
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Token {key}"}) as api:
        (project,) = api.get("/api/projects").json()["results"]
        while done < count and (task := api.get(f"/api/projects/{project['id']}/next")).status_code == 200:
            choice = {"from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": ["L1"]}}
            body = {"result": [{"id": "x", **choice}], "lead_time": 5.0}
            api.post(f"/api/tasks/{task.json()['id']}/annotations/", json=body).raise_for_status()
            done += 1
    return done


def test_people_find_their_work_again_after_a_stop_and_a_kill_and_the_build_goes_to_its_end(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, recipe, out = f"http://127.0.0.1:{port}", tmp_path / "small.yaml", tmp_path / "run"
    folders = ["--out", out, "--cache", tmp_path / "cache", "--server", tmp_path / "server", "--port", port]
    with served(Endpoint()) as endpoint:
        models = {"policy": {"engine": "openai", "model": "scripted", "base_url": endpoint}}
        recipe.write_text(yaml.safe_dump({"name": "small", "models": models, "steps": STEPS}))
        command = [sys.executable, "-m", "flows.cli", "annotate", "demo", *map(str, [recipe, *folders])]

        first = Demo(command, tmp_path / "first")
        logins = first.logins()
        assert list(logins) == ["anna@example.org", "ben@example.org", "chris@example.org"]
        assert url in first.log.read_text()
        first.says("0 of 8 annotations")  # four pictures, two people each
        assert label(url, "anna@example.org", logins["anna@example.org"], 3) == 3
        first.says("3 of 8 annotations: anna@example.org 3")
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (second.returncode, len(second.stderr.splitlines())) == (2, 1)
        assert f"the demo is already running at {url}" in second.stderr
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(30) == 130
        assert "run the same command again to continue" in first.log.read_text()

        again = Demo(command, tmp_path / "again")
        assert again.logins() == logins
        again.says("3 of 8 annotations: anna@example.org 3")
        assert label(url, "ben@example.org", logins["ben@example.org"], 9) == 4
        again.process.kill()  # before it has read what ben said, or after: it makes no difference
        again.process.wait()

        last = Demo(command, tmp_path / "last")
        last.says("7 of 8 annotations: anna@example.org 3, ben@example.org 4")
        assert label(url, "chris@example.org", logins["chris@example.org"], 9) == 1
        last.says("everyone is done")
        assert last.process.wait(60) == 0
        ended = last.log.read_text()
        assert str(out / "report.html") in ended
        assert f"pairwright annotate status {out}" in ended
        assert "Traceback" not in "".join(of.log.read_text() for of in (first, again, last))
    # sides are the same for all, and everybody chose the left one: they agree on all four
    assert sum(pq.read_metadata(path).num_rows for path in (out / "dataset").glob("*/*.parquet")) == 4
