"""A Prefect server of the tests' own, set up as docs/operations.md says; tests/flows/conftest.py starts it once."""

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
OVER = ["COMPLETED", "FAILED", "CRASHED"]
SET_UP = (ROOT / "docs" / "operations.md").read_text().split("\n## Set up once\n")[1].split("\n## ")[0]
SERVER, OTHERS = re.findall(r"^```sh\n(.*?)^```", SET_UP, re.DOTALL | re.MULTILINE)  # what is typed into two terminals


def documented(words: str, environment: dict[str, str]) -> str:
    """What docs/operations.md types into the second terminal for `prefect WORDS`, but for the server's port."""
    address, *commands = OTHERS.splitlines()
    (command,) = [c for c in commands if f"bin/prefect {words} " in c.replace("--no-prompt ", "")]
    return f"{address}\n{command}\n".replace(":4200/", f":{environment['PREFECT_SERVER_API_PORT']}/")


class running:
    """A script whose last command runs for the length of a `with`; its output goes to a file in PREFECT_HOME."""

    def __init__(self, name: str, script: str, environment: dict[str, str]):
        *first, last = script.splitlines()
        self.log = Path(environment["PREFECT_HOME"], f"{name}.log").open("wb")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            ["bash", "-ec", "\n".join([*first, f"exec {last}"])], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:  # a worker that a shell put into the background ignores SIGTERM
            self.process.kill()
            self.process.wait()
        self.log.close()


def shell(script: str, environment: dict[str, str]) -> str:
    """What a script says that must succeed."""
    done = subprocess.run(["bash", "-ec", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def prefect(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run([PREFECT, "--no-prompt", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Patient(httpx.HTTPTransport):
    """Asks again, as Prefect's own client does, where the server's database was locked (503)."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        end = time.monotonic() + 120
        while (response := super().handle_request(request)).status_code == 503 and time.monotonic() < end:
            response.close()
            time.sleep(1)
        return response


def healthy(api: httpx.Client) -> bool:
    try:
        return api.get("/health").is_success
    except httpx.TransportError:
        return False


def wait_for(answer, seconds: float):
    """What `answer()` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < end, f"nothing after {seconds} s"
        time.sleep(0.5)
    return found


def finished_runs(api: httpx.Client, deployment: str) -> list[dict]:
    """The runs of a deployment that came to an end, but not by being cancelled; the oldest first."""
    asked = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": OVER}}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    return api.post("/flow_runs/filter", json=asked).raise_for_status().json()


def finished_run(api: httpx.Client, deployment: str) -> dict | None:
    return next(iter(finished_runs(api, deployment)), None)


def log_of(api: httpx.Client, run: dict) -> str:
    asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"}
    return "\n".join(line["message"] for line in api.post("/logs/filter", json=asked).json())


@contextlib.contextmanager
def deployed(folder: Path, api: httpx.Client, environment: dict[str, str], changes: dict[str, dict]) -> Iterator[None]:
    """The deployments of prefect.yaml that `changes` names, changed so, for the length of a `with`."""
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    document["deployments"] = [d | changes[d["name"]] for d in document["deployments"] if d["name"] in changes]
    assert len(document["deployments"]) == len(changes)
    path = folder / "prefect.yaml"
    path.write_text(yaml.safe_dump(document))
    prefect(["deploy", "--all", "--prefect-file", str(path)], environment)
    try:
        yield
    finally:
        for made in api.post("/deployments/filter", json={}).raise_for_status().json():
            if made["name"] in changes:
                api.delete(f"/deployments/{made['id']}").raise_for_status()


def build(folder: Path, recipe: dict, environment: dict[str, str], code: int) -> str:
    """The flow in a process of its own, as a worker would start it; what it said."""
    folder.mkdir(exist_ok=True)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    script = "import sys; from flows.build import build; recipe, out, cache = sys.argv[1:]; build(out, recipe, cache)"
    words = [sys.executable, "-c", script, str(path), str(folder / "out"), str(folder / "cache")]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr
