"""Killed at any moment and started again, a run leaves the same dataset and asks at most what was in flight once more."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

from pipeline.cache import BATCH
from tests.endpoint import Endpoint, served

SLOTS = 16
RECIPE = {
    "name": "kills",
    "models": {"policy": {"engine": "openai", "model": "scripted", "slots": SLOTS}},
    "steps": [
        {"source.scenes": {"n": 600, "seed": 5, "shares": {"image": 3, "audio": 1}}},
        {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
        {"judge.pointwise": {"model": "policy", "media": False}},
        {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
    ],
}


def command(recipe: Path, out: Path, cache: Path) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "build", str(recipe), "--out", str(out), "--cache", str(cache)]


def start(*args, log: Path) -> subprocess.Popen:
    with log.open("ab") as sink:
        return subprocess.Popen(command(*args), stdout=sink, stderr=sink, start_new_session=True)


def run(*args, log: Path) -> None:
    with log.open("ab") as sink:
        done = subprocess.run(command(*args), stdout=sink, stderr=sink, timeout=300)
    assert done.returncode == 0, log.read_text()


def asked(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
        return json.load(answer)["asked"]


def contents(out: Path) -> dict[str, str]:
    """The digest of every file of the dataset and of every shard's rows."""
    files = [*(out / "dataset").rglob("*.parquet"), *(out / "passes").rglob("*.arrow")]
    assert files
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(files)}


def kill(process: subprocess.Popen, whole_group: bool) -> None:
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def test_twenty_kills_lose_nothing_double_nothing_and_ask_little_again(tmp_path):
    with served(Endpoint(delay=0.02)) as url:
        recipe = tmp_path / "kills.yaml"
        recipe.write_text(
            yaml.safe_dump({**RECIPE, "models": {"policy": {**RECIPE["models"]["policy"], "base_url": url}}})
        )
        log = tmp_path / "log"
        run(recipe, tmp_path / "whole", tmp_path / "cache-whole", log=log)
        undisturbed, expected = asked(url), contents(tmp_path / "whole")
        rng = random.Random(20)
        trials = [sorted(rng.sample(range(20, undisturbed - 20), 4)) for _ in range(5)]  # 5 runs, 4 kills each
        kills = 0
        for trial, points in enumerate(trials):
            out, cache, before = tmp_path / f"out{trial}", tmp_path / f"cache{trial}", asked(url)
            for point in points:
                process = start(recipe, out, cache, log=log)
                while asked(url) - before < point and process.poll() is None:
                    time.sleep(0.01)
                assert process.poll() is None, log.read_text()
                kill(process, whole_group=kills % 2 == 0)
                kills += 1
            run(recipe, out, cache, log=log)
            assert contents(out) == expected
            assert asked(url) - before <= undisturbed + len(points) * (SLOTS + BATCH)
        assert kills == 20
