"""Killed at any moment and started again, a run leaves the same dataset and asks at most what was in flight once more."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml

from flows.runs import executor
from flows.runs.shards import read_json
from pipeline.storage.answer_cache import BATCH
from schemas.arrow import from_batch
from tests.support.endpoint import Endpoint, served

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[3] / "data" / "models" / "tiny"
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
REAL = {
    "name": "real",
    "models": {"policy": {"engine": "vllm", "model": str(TINY), "max_model_len": 4096}},
    "steps": [
        {"source.scenes": {"n": 240, "seed": 5}},
        {"make.sample": {"model": "policy", "n": 4, "max_tokens": 48}},
        {"judge.claims": {"model": "policy"}},
        {"score.refuted_claims": {"malformed": -3}},
        "pair.best_worst",
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


def held(cache: Path) -> int:
    """The answers that a cache holds, whoever writes to it."""
    try:
        with closing(sqlite3.connect(f"file:{cache / 'answers.sqlite'}?mode=ro", uri=True)) as db:
            return db.execute("select count(*) from answers").fetchone()[0]
    except sqlite3.OperationalError:  # no file or no table yet
        return 0


def wait_for(count: int, cache: Path, process: subprocess.Popen, log: Path) -> None:
    while held(cache) < count:
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)


def verdicts(out: Path) -> dict[str, list]:
    """Of every row its id and what it says, but for probabilities: their last digit moves with the batch they came from."""
    said = {
        "candidates": lambda c: (c.id, c.text),
        "claims": lambda c: (c.id, c.candidate, c.question, c.wanted),
        "judgements": lambda j: (j.id, j.items, j.axis, j.outcome, j.value),
        "pairs": lambda p: (p.id, p.chosen, p.rejected, p.margin),
    }
    tables = executor.reopen(out).tables()
    return {t: [say(row) for b in tables.batches(t) for row in from_batch(t, b)] for t, say in said.items()}


def test_kills_of_a_real_engine_leave_the_same_answers_and_verdicts(tmp_path):
    recipe, log = tmp_path / "real.yaml", tmp_path / "log"
    recipe.write_text(yaml.safe_dump(REAL))
    run(recipe, tmp_path / "whole", tmp_path / "cache-whole", log=log)
    questions = held(tmp_path / "cache-whole")
    out, cache = tmp_path / "out", tmp_path / "cache"

    first = start(recipe, out, cache, log=log)
    wait_for(questions // 4, cache, first, log)
    kill(first, whole_group=True)

    second = start(recipe, out, cache, log=log)
    wait_for(questions // 2, cache, second, log)
    (orphan,) = psutil.Process(second.pid).children()
    orphan.suspend()  # so that it is still there when the run is started again
    kill(second, whole_group=False)
    third = start(recipe, out, cache, log=log)
    time.sleep(3)
    assert psutil.Process(third.pid).children() == []  # it waits for the folder
    orphan.resume()  # nobody listens to it any more: it ends, and with it its hold on the folder
    wait_for(questions * 3 // 4, cache, third, log)
    kill(third, whole_group=True)

    kept = held(cache)
    assert questions * 3 // 4 <= kept < questions
    run(recipe, out, cache, log=log)
    assert verdicts(out) == verdicts(tmp_path / "whole")
    assert read_json(out / "summary.json")["questions_asked"] == questions - kept
