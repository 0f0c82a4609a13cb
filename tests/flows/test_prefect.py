"""The flows on a real Prefect server of their own, with a real worker that runs the deployments of prefect.yaml."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.endpoint import Endpoint, served

ROOT = Path(__file__).parents[2]
PREFECT = Path(sys.executable).with_name("prefect")
OVER = ["COMPLETED", "FAILED", "CRASHED"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """What every Prefect process of these tests sees: a sealed server on a free port, its database in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        **os.environ,
        "PWD": str(ROOT),  # prefect.yaml's working directory
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }


@pytest.fixture(scope="module")
def server(environment):
    """A client of the server's API."""
    with running(["server", "start"], environment), httpx.Client(base_url=environment["PREFECT_API_URL"]) as api:
        wait_for(lambda: healthy(api), 180)
        yield api


@pytest.fixture(scope="module")
def worker(server, environment):
    prefect(["work-pool", "create", "local", "--type", "process"], environment)
    with running(["worker", "start", "--pool", "local"], environment):
        yield


@pytest.fixture(scope="module")
def endpoint():
    with served(Endpoint()) as url:
        yield url


def small(url: str) -> dict:
    """A recipe whose answers and ratings come from the scripted endpoint."""
    return {
        "name": "small",
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url}},
        "steps": [
            {"source.scenes": {"n": 12, "seed": 1}},
            {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"pair.best_worst": {"axis": "rating"}},
        ],
    }


class running:
    """A Prefect process for the length of a `with`; its output goes to a file in PREFECT_HOME."""

    def __init__(self, command: list[str], environment: dict[str, str]):
        self.log = Path(environment["PREFECT_HOME"], f"{command[0]}.log").open("wb")  # noqa: SIM115 - open as long as the process
        self.process = subprocess.Popen(
            [PREFECT, *command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def prefect(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run([PREFECT, "--no-prompt", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


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


def finished_run(api: httpx.Client, deployment: str) -> dict | None:
    """The first run of a deployment that came to an end, but not by being cancelled."""
    asked = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": OVER}}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    return next(iter(api.post("/flow_runs/filter", json=asked).raise_for_status().json()), None)


def log_of(api: httpx.Client, run: dict) -> str:
    asked = {"logs": {"flow_run_id": {"any_": [run["id"]]}}, "sort": "TIMESTAMP_ASC"}
    return "\n".join(line["message"] for line in api.post("/logs/filter", json=asked).json())


def deployments(folder: Path, recipe: Path) -> Path:
    """prefect.yaml with its paths in `folder`, a small recipe, and the nightly schedule due every 20 seconds."""
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    nightly, training = document["deployments"]
    nightly["parameters"] = {"recipe": str(recipe), "out": str(folder / "nightly"), "cache": str(folder / "cache")}
    nightly["schedules"] = [{"interval": 20}]
    training["parameters"] = {"settings": ["train.epochs=1"]}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(document))
    return folder / "prefect.yaml"


def test_the_nightly_build_runs_on_schedule_and_its_dataset_starts_the_training(
    tmp_path, server, worker, environment, endpoint
):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(small(endpoint)))
    prefect(["deploy", "--all", "--prefect-file", str(deployments(tmp_path, recipe))], environment)

    built = wait_for(lambda: finished_run(server, "nightly"), 180)
    assert built["state"]["type"] == "COMPLETED", log_of(server, built)
    assert built["auto_scheduled"]
    wait_for(lambda: server.patch(f"/deployments/{built['deployment_id']}", json={"paused": True}).is_success, 60)

    trained = wait_for(lambda: finished_run(server, "after-dataset"), 180)
    assert trained["state"]["type"] == "COMPLETED", log_of(server, trained)
    assert trained["parameters"]["dataset"] == str(tmp_path / "nightly" / "dataset")

    artifacts = server.post("/artifacts/filter", json={}).json()
    assert {artifact["key"] for artifact in artifacts} == {"summary", "training"}


def test_a_unit_is_tried_again_after_a_failure_but_not_after_a_users_mistake(tmp_path, server, environment):
    with socket.socket() as closed:  # bound but not listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        gone = small(url)
        gone["models"]["policy"]["retries"] = 0
        assert attempts(tmp_path / "gone", gone, server, environment) == 3  # once and two retries
        locked = small(url)
        locked["models"]["policy"]["api_key_env"] = "A_VARIABLE_THAT_IS_NOT_SET"
        assert attempts(tmp_path / "locked", locked, server, environment) == 1


def attempts(folder: Path, recipe: dict, api: httpx.Client, environment: dict[str, str]) -> int:
    """How often the first unit of a build that fails was tried."""
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe | {"name": folder.name}))
    script = "import sys; from flows.build import build; build(*sys.argv[1:])"
    words = [str(path), str(folder / "out"), str(folder / "cache")]
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    runs = wait_for(lambda: failed_tasks(api, str(path)), 60)
    return runs[0]["run_count"]


def failed_tasks(api: httpx.Client, recipe: str) -> list[dict]:
    runs = api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC"}).raise_for_status().json()
    mine = [run["id"] for run in runs if run["parameters"].get("recipe") == recipe]
    asked = {"flow_runs": {"id": {"any_": mine}}, "task_runs": {"state": {"type": {"any_": ["FAILED"]}}}}
    return api.post("/task_runs/filter", json=asked).raise_for_status().json()


def test_the_automation_for_runs_without_heartbeat_is_taken(server, environment):
    prefect(["automation", "create", "--from-file", "docs/automations.yaml"], environment)
    (made,) = [a for a in server.post("/automations/filter", json={}).json() if "heartbeat" in a["name"]]
    assert made["enabled"]
    assert made["trigger"]["posture"] == "Proactive"
