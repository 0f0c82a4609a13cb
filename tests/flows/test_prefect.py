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
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:  # a worker that a shell put into the background ignores SIGTERM
            self.process.kill()
            self.process.wait()
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
        gone = small(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        gone["models"]["policy"]["retries"] = 0
        build(tmp_path / "gone", gone, environment, code=1)
    mistaken = small("http://127.0.0.1:9/v1")
    mistaken["steps"][0] = {"source.rows": {"path": "no-such-file.jsonl"}}
    build(tmp_path / "mistaken", mistaken, environment, code=1)

    runs = {run["parameters"].get("recipe"): run["id"] for run in server.post("/flow_runs/filter", json={}).json()}

    def attempts(folder: str) -> list[int]:
        asked = {"flow_runs": {"id": {"any_": [runs[str(tmp_path / folder / "recipe.yaml")]]}}}
        tasks = server.post("/task_runs/filter", json=asked).raise_for_status().json()
        return [task["run_count"] for task in tasks if task["state_type"] == "FAILED"]

    wait_for(lambda: attempts("gone") and attempts("mistaken"), 60)
    assert attempts("gone") == [3]  # once and two retries
    assert attempts("mistaken") == [1]


def test_a_key_comes_from_a_secret_block_and_stays_out_of_what_the_run_leaves(tmp_path, server, environment):
    script = "from prefect.blocks.system import Secret; Secret(value='open sesame').save('a-servers-key')"
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    with served(Endpoint(key="open sesame")) as url:
        recipe = small(url)
        recipe["models"]["policy"]["api_key_env"] = "A_SERVERS_KEY"
        build(tmp_path / "locked", recipe, environment, code=0)
    left = [path for path in (tmp_path / "locked").rglob("*") if path.is_file()]
    assert left
    assert [path for path in left if b"open sesame" in path.read_bytes()] == []


def build(folder: Path, recipe: dict, environment: dict[str, str], code: int) -> None:
    """The flow in a process of its own, as a worker would start it."""
    folder.mkdir()
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    script = "import sys; from flows.build import build; build(*sys.argv[1:])"
    words = [sys.executable, "-c", script, str(path), str(folder / "out"), str(folder / "cache")]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr


def test_the_automation_for_runs_without_heartbeat_is_taken(server, environment):
    prefect(["automation", "create", "--from-file", "docs/automations.yaml"], environment)
    (made,) = [a for a in server.post("/automations/filter", json={}).json() if "heartbeat" in a["name"]]
    assert made["enabled"]
    assert made["trigger"]["posture"] == "Proactive"
