"""Prefect set up as docs/operations.md says, and its pages as a person sees them; no page needs more than this machine.

Screenshots go to the folder that PAIRWRIGHT_SCREENSHOTS names, by default the test's own."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from tests.support.prefect_server import OVER, ROOT, documented, log_of, shell, wait_for

DEPLOYMENTS = ["nightly", "pull-people", "after-people", "after-dataset"]


@pytest.fixture
def set_up(prefect_api, prefect_worker, prefect_environment):
    """Every documented step, the server's and the worker's among them; the deployments are gone afterwards."""
    shell(documented("deploy", prefect_environment), prefect_environment)
    shell(documented("automation create", prefect_environment), prefect_environment)
    yield
    for made in prefect_api.post("/deployments/filter", json={}).raise_for_status().json():
        prefect_api.delete(f"/deployments/{made['id']}").raise_for_status()


@pytest.fixture
def run(tmp_path, set_up, prefect_api, prefect_environment, endpoint) -> dict:
    """A finished run of the nightly deployment, with a recipe of a few answers, begun as the page says."""
    recipe = tmp_path / "my.yaml"
    steps = [{"source.scenes": {"n": 4, "seed": 1}}, {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}}]
    model = {"engine": "openai", "model": "scripted", "base_url": endpoint}
    recipe.write_text(yaml.safe_dump({"name": "few", "models": {"policy": model}, "steps": steps}))
    page = (ROOT / "docs" / "operations.md").read_text()
    command = re.search(r"`(\.venv/bin/prefect deployment run build/nightly [^`]*)`", page)[1]
    command = command.replace("my.yaml", str(recipe)).replace("data/runs/mine", str(tmp_path / "mine"))
    said = shell(shlex.join([*shlex.split(command), "-p", f"cache={tmp_path / 'cache'}"]), prefect_environment)
    name = re.search(r"UUID: ([0-9a-f-]{36})", said)[1]

    def finished() -> dict | None:
        found = prefect_api.get(f"/flow_runs/{name}").raise_for_status().json()
        return found if found["state"]["type"] in OVER else None

    found = wait_for(finished, 180)
    assert found["state"]["type"] == "COMPLETED", log_of(prefect_api, found)
    return found


@pytest.fixture
def pages(browser, prefect_api, tmp_path):
    """The server's pages in the browser. Whatever asks another machine, or breaks on a page, fails the test."""
    pages = Pages(browser, str(prefect_api.base_url).removesuffix("/api/"), tmp_path)
    yield pages
    pages.page.context.close()
    assert pages.wrong == []


class Pages:
    def __init__(self, browser, home: str, folder: Path):
        self.home, self.wrong = home, []
        self.folder = Path(os.environ.get("PAIRWRIGHT_SCREENSHOTS") or folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        self.page.on("request", self._requested)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _requested(self, request) -> None:
        if not request.url.startswith((self.home, "data:", "blob:")):
            self.wrong.append(request.url)

    def open(self, path: str, *texts: str) -> None:
        """Opens a page, waits until all of these stand on it, and keeps a picture of it."""
        self.page.goto(self.home + path)
        for text in texts:
            expect(self.page.get_by_text(text, exact=True).first).to_be_visible(timeout=30_000)
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=self.folder / f"prefect-{path.strip('/').split('/')[0]}.png")


def test_the_documented_set_up_ends_in_pages_that_show_the_deployments_and_their_run(run, pages, prefect_api):
    pages.open("/dashboard", "Flow Runs", "Active Work Pools", "local")
    pages.open("/deployments", "4 Deployments", *DEPLOYMENTS, "At 02:00 AM every day")
    pages.open("/automations", "no heartbeat means crashed")
    pages.open(f"/runs/flow-run/{run['id']}", run["name"], "Completed", "nightly", "pass0-sample: started")

    (made,) = [a for a in prefect_api.post("/automations/filter", json={}).json() if "heartbeat" in a["name"]]
    assert made["enabled"]
    assert made["trigger"]["posture"] == "Proactive"


def test_server_and_flows_have_the_same_version_of_prefect():
    files = ["environment/prefect.lock", "environment/cpu.lock", "environment/gpu.lock", "prefect.yaml"]
    found = {
        name: re.search(r"^prefect(?:==|-version: )(\S+)", (ROOT / name).read_text(), re.MULTILINE)[1] for name in files
    }
    assert len(set(found.values())) == 1, found
