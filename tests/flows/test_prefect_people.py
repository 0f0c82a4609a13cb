"""People in the middle of a run that Prefect looks after: nothing runs while they label; a scheduled pull sees that they are done
and the build goes on."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from annotators.people.ledger import Ledger
from flows.annotate import annotate
from flows.planning import load
from flows.runs import campaigns, executor
from tests.support.asked import environment_of, label, write_recipe
from tests.support.prefect_server import build, deployed, finished_runs, log_of, wait_for

EVERY = 10  # seconds between pulls
EVENT = "pairwright.people.done"


@pytest.fixture(scope="module")
def environment(prefect_environment, label_studio):
    """What flows see: everything but the key, which is in a Secret block."""
    environment = prefect_environment | environment_of(label_studio)
    del environment["LABEL_STUDIO_API_KEY"]
    script = (
        "import sys; from prefect.blocks.system import Secret; Secret(value=sys.argv[1]).save('label-studio-api-key')"
    )
    subprocess.run([sys.executable, "-c", script, label_studio.key], env=prefect_environment, check=True)
    return environment


def events(api, out: Path) -> int:
    """How often it was said that everybody is done."""
    asked = {"filter": {"event": {"name": [EVENT]}}, "limit": 50}
    found = api.post("/events/filter", json=asked).raise_for_status().json()["events"]
    return sum(event["payload"]["out"] == str(out) for event in found)


def states_of(api, flow_run: dict) -> list[str]:
    """How the tasks of a flow run ended."""
    asked = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    return [task["state_type"] for task in api.post("/task_runs/filter", json=asked).raise_for_status().json()]


def test_a_build_waits_for_people_and_goes_on_when_a_pull_finds_them_done(
    tmp_path, prefect_api, prefect_worker, environment, label_studio, sign_in, endpoint
):
    out, recipe = tmp_path / "out", write_recipe(tmp_path, endpoint, 6)
    build(tmp_path, yaml.safe_load(recipe.read_text()), environment, code=0)
    (waiting,) = [
        run for run in prefect_api.post("/flow_runs/filter", json={}).json() if run["parameters"].get("out") == str(out)
    ]
    assert (waiting["state"]["type"], waiting["state"]["name"]) == ("COMPLETED", "Waiting")
    assert "0 of 6 annotations" in waiting["state"]["message"]
    wait_for(lambda: states_of(prefect_api, waiting) == ["COMPLETED"] * 2, 30)  # answers, questions

    shown = {name: value for name, value in environment.items() if name.startswith("LABEL_STUDIO")}
    where = {"work_pool": {"name": "local", "job_variables": {"env": shown}}}
    pulls = where | {"parameters": {"out": str(out)}, "schedules": [{"interval": EVERY}]}
    with deployed(tmp_path, prefect_api, environment, {"pull-people": pulls, "after-people": where}):
        pulled, *_ = wait_for(lambda: finished_runs(prefect_api, "pull-people"), 60)
        assert (pulled["state"]["type"], pulled["state"]["name"]) == ("COMPLETED", "Waiting"), log_of(
            prefect_api, pulled
        )
        assert pulled["auto_scheduled"]
        assert events(prefect_api, out) == 0

        with closing(Ledger(out / "people" / "people")) as ledger:
            assert label(ledger, [sign_in("ann")], lambda question, who: 1) == 6
        built, *_ = wait_for(lambda: finished_runs(prefect_api, "after-people"), 120)
        assert built["state"]["name"] == "Completed", log_of(prefect_api, built)
        assert built["parameters"] == {"out": str(out)}
        assert executor.reopen(out).dataset(1).exists()

        # from now on pulls say no more that everybody is done
        taken = "all 6 annotations, used by a finished build"
        ends = lambda: [run["state"]["message"] for run in finished_runs(prefect_api, "pull-people")]
        wait_for(lambda: taken in ends(), 60)
        wait_for(lambda: events(prefect_api, out) == ends().count("all 6 annotations"), 30)
        assert {run["state"]["type"] for run in finished_runs(prefect_api, "pull-people")} == {"COMPLETED"}
    left = [path for path in out.rglob("*") if path.is_file() and label_studio.key.encode() in path.read_bytes()]
    assert left == []


def test_a_run_that_has_asked_nobody_yet_is_left_alone(tmp_path, endpoint):
    executor.open_run(str(write_recipe(tmp_path, endpoint, 6)), out=tmp_path / "out", cache=tmp_path / "cache").close()
    state = annotate.fn(str(tmp_path / "out"))
    assert (state.type, state.name, state.message) == ("COMPLETED", "Waiting", "no annotators have been asked yet")


@pytest.mark.parametrize(
    ("media", "more"),
    [
        ("local", set()),
        ("s3://bucket/place", {"PAIRWRIGHT_S3_KEY", "PAIRWRIGHT_S3_SECRET"}),
        ("https://media.example.org", {"PAIRWRIGHT_SERVE_SECRET"}),
    ],
)
def test_what_is_secret_about_media_may_be_in_blocks_too(tmp_path, endpoint, media, more):
    document = yaml.safe_load(write_recipe(tmp_path, endpoint, 6, media=media).read_text())
    assert campaigns.required_secrets(load.checked(document)) == {"LABEL_STUDIO_API_KEY"} | more
    document["steps"] = document["steps"][:2]
    assert campaigns.required_secrets(load.checked(document)) == set()
