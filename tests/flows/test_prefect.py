"""The flows on a real Prefect server of their own, with a real worker that runs the deployments of prefect.yaml."""

import socket
import subprocess
import sys

import yaml

from tests.support.endpoint import Endpoint, served
from tests.support.prefect_server import build, deployed, finished_run, log_of, wait_for


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


def test_the_nightly_build_runs_on_schedule_and_its_dataset_starts_the_training(
    tmp_path, prefect_api, prefect_worker, prefect_environment, endpoint
):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump(small(endpoint)))
    changes = {
        "nightly": {
            "parameters": {"recipe": str(recipe), "out": str(tmp_path / "nightly"), "cache": str(tmp_path / "cache")},
            "schedules": [{"interval": 20}],
        },
        "after-dataset": {"parameters": {"settings": ["train.epochs=1"]}},
    }
    with deployed(tmp_path, prefect_api, prefect_environment, changes):
        built = wait_for(lambda: finished_run(prefect_api, "nightly"), 180)
        assert built["state"]["type"] == "COMPLETED", log_of(prefect_api, built)
        assert built["auto_scheduled"]
        paused = {"paused": True}
        wait_for(lambda: prefect_api.patch(f"/deployments/{built['deployment_id']}", json=paused).is_success, 60)

        trained = wait_for(lambda: finished_run(prefect_api, "after-dataset"), 180)
        assert trained["state"]["type"] == "COMPLETED", log_of(prefect_api, trained)
        assert trained["parameters"]["dataset"] == str(tmp_path / "nightly" / "dataset")

    asked = {"artifacts": {"flow_run_id": {"any_": [built["id"], trained["id"]]}}}
    artifacts = prefect_api.post("/artifacts/filter", json=asked).json()
    assert {artifact["key"] for artifact in artifacts} == {"summary", "training"}


def test_a_unit_is_tried_again_after_a_failure_but_not_after_a_users_mistake(
    tmp_path, prefect_api, prefect_environment
):
    with socket.socket() as closed:  # bound but not listening: whoever connects is refused
        closed.bind(("127.0.0.1", 0))
        gone = small(f"http://127.0.0.1:{closed.getsockname()[1]}/v1")
        gone["models"]["policy"]["retries"] = 0
        build(tmp_path / "gone", gone, prefect_environment, code=1)
    mistaken = small("http://127.0.0.1:9/v1")
    mistaken["steps"][0] = {"source.rows": {"path": "no-such-file.jsonl"}}
    build(tmp_path / "mistaken", mistaken, prefect_environment, code=1)

    runs = {run["parameters"].get("recipe"): run["id"] for run in prefect_api.post("/flow_runs/filter", json={}).json()}

    def attempts(folder: str) -> list[int]:
        asked = {"flow_runs": {"id": {"any_": [runs[str(tmp_path / folder / "recipe.yaml")]]}}}
        tasks = prefect_api.post("/task_runs/filter", json=asked).raise_for_status().json()
        return [task["run_count"] for task in tasks if task["state_type"] == "FAILED"]

    wait_for(lambda: attempts("gone") and attempts("mistaken"), 60)
    assert attempts("gone") == [3]  # once and two retries
    assert attempts("mistaken") == [1]


def test_a_key_comes_from_a_secret_block_and_stays_out_of_what_the_run_leaves(
    tmp_path, prefect_api, prefect_environment
):
    script = "from prefect.blocks.system import Secret; Secret(value='open sesame').save('a-servers-key')"
    subprocess.run([sys.executable, "-c", script], env=prefect_environment, check=True)
    with served(Endpoint(key="open sesame")) as url:
        recipe = small(url)
        recipe["models"]["policy"]["api_key_env"] = "A_SERVERS_KEY"
        build(tmp_path / "locked", recipe, prefect_environment, code=0)
    left = [path for path in (tmp_path / "locked").rglob("*") if path.is_file()]
    assert left
    assert [path for path in left if b"open sesame" in path.read_bytes()] == []
