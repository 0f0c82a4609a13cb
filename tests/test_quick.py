"""`--quick` leaves out what starts an engine, a server or a browser, a new test too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from annotators.label_studio.local import local_server
from flows import cli
from flows.runs import worker
from tests.support import prefect_server, quick, serving

ROOT = Path(__file__).parent.parent

STARTERS = {  # fixtures that are known to start something
    "vllm_engine": "engine",
    "served_tiny": "engine",
    "eyes": "engine",
    "label_studio": "server",
    "sign_in": "server",
    "prefect_api": "server",
    "prefect_worker": "server",
    "browser": "browser",
}


def marks(item) -> set[str]:
    return {mark for mark in quick.MARKS if item.get_closest_marker(mark)}


def test_whoever_uses_a_fixture_that_starts_something_is_marked(request):
    for item in request.session.items:
        assert {STARTERS[name] for name in item.fixturenames if name in STARTERS} <= marks(item), item.nodeid


def test_quick_has_nothing_that_is_marked(request):
    if not request.config.getoption("quick"):
        pytest.skip("only of --quick")
    assert [item.nodeid for item in request.session.items if marks(item)] == []


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("engine", f"python -m {worker.__name__}"),
        ("server", f"python -P {Path(local_server.__file__).with_name('guard.py')}"),
        ("server", f"python -m {serving.__name__}"),
        ("server", f"python -m {cli.__name__} serve"),
        ("server", prefect_server.SERVER),
        ("browser", "chromium --headless"),
    ],
)
def test_a_process_is_told_by_its_command(mark, command):
    assert quick.told(command) == {mark}


NEW = """
import subprocess, sys
import pytest
from tests.support import buckets

@pytest.fixture
def an_engine(runner):
    return runner.run(hf.connect(hf.Settings(model="m"), None))

@pytest.fixture
def through_another(an_engine):
    return an_engine

def store():
    return buckets.serving("b")

def test_by_a_fixture(through_another): ...
def test_by_a_fixtures_name(request): request.getfixturevalue("vllm_engine")
def test_by_a_helper(): store()
def test_by_itself():
    def inside():
        from playwright.sync_api import sync_playwright
        sync_playwright()
@pytest.mark.engine
def test_by_hand(): ...

def test_that_starts_nothing(): subprocess.run([sys.executable, "-c", ""])
def test_whose_source_does_not_show_it(): subprocess.run([sys.executable, "-c", "'prefect server start'"])
"""


def test_a_new_test_that_starts_something_is_left_out_or_fails(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_new.py").write_text(NEW)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "--quick",
        "-p",
        "tests.support.quick",
        "-c",
        "pytest.ini",
        "--rootdir",
        ".",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "tests"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "2 passed, 5 deselected, 1 error" in done.stdout
    assert "test_that_starts_nothing PASSED" in done.stdout
    assert "test_whose_source_does_not_show_it ERROR" in done.stdout
    assert "starts server: mark it so, see tests/support/quick.py" in done.stdout
