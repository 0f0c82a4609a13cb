"""Folders that are refused, writes that were killed, builds one after another and two at once."""

import gc
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from PIL import Image

from flows.runs import executor
from pipeline.storage.answer_cache import BATCH
from schemas.errors import OutputError, PairwrightError
from tests.faults.fault import Fault
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

ROOT = Path(__file__).parents[2]


def recipe(url: str, n: int = 12) -> dict:
    return {
        "name": "small",
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url}},
        "steps": [
            {"source.scenes": {"n": n, "seed": 1}},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"pair.best_worst": {"axis": "rating"}},
        ],
    }


def build(raw: dict, out: Path, cache: Path) -> dict:
    """The whole of a build, in this process; its summary."""
    run = executor.open_document(raw, out=out, cache=cache)
    return completed(run)


def traces(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder, with when it was changed and its size."""
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size) for p in (folder, *folder.rglob("*"))}


# a folder that is refused ---------------------------------------------------------------------------------------------


def refused(dice: random.Random, folder: Path) -> None:
    out, raw = folder / "out", recipe("http://127.0.0.1:9/v1")
    out.mkdir()
    if dice.random() < 0.5:
        for name in dice.sample(["thesis.tex", ".hidden", "data.parquet", "run.yaml"], 2):
            (out / name).write_text("somebody's own")
        (out / "pictures").mkdir()
    else:
        executor.open_document(raw, out=out, cache=folder / "cache").close()
        if dice.random() < 0.5:
            (out / ".lock").unlink()  # as in a copy of it
        raw["name"] = f"other{dice.randint(3, 9)}"  # one of the same name may be corrected while nothing is made
    before = traces(out)
    with pytest.raises(OutputError, match=re.escape(str(out))):
        executor.open_document(raw, out=out, cache=folder / "cache").close()
    assert traces(out) == before, set(traces(out)) ^ set(before)


# writes that are killed -----------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import pytest

from flows.runs import executor
from tests.faults import small

real, left = os.fsync, int(sys.argv[4])
def fsync(file):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)
os.fsync = fsync
small.build(small.recipe(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
"""
KEPT = {".lock", ".manifest.json"}  # names with a dot that a run may leave


def half_written(*folders: Path) -> list[str]:
    """What looks as if somebody was in the middle of writing it."""
    found = (path for folder in folders for path in folder.rglob("*") if path.name not in KEPT)
    return [str(p) for p in found if p.name.startswith(".") or p.suffix in (".new", ".part", ".old", ".tmp")]


def killed_while_writing(dice: random.Random, folder: Path) -> None:
    out, cache = folder / "out", folder / "cache"
    with served(Endpoint()) as url:
        for _ in range(2):
            command = [sys.executable, "-c", KILLED, url, str(out), str(cache), str(dice.randint(1, 14))]
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
            )
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
        build(recipe(url), out, cache)
    assert not (left := half_written(out, cache)), left


# builds at once -------------------------------------------------------------------------------------------------------

BUILD = """
import sys
from pathlib import Path
from tests.faults import small
small.build(small.recipe(sys.argv[1], int(sys.argv[4])), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def at_once(dice: random.Random, folder: Path, url: str, builds: int = 2) -> list[subprocess.Popen]:
    """Builds of one recipe, with more or fewer samples each, on one cache."""
    return [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, url, str(folder / f"out{i}"), str(folder / "cache"), str(dice.randint(30, 60))],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        )
        for i in range(builds)
    ]  # fmt: skip


def two_at_once(dice: random.Random, folder: Path) -> None:
    server = Endpoint(delays=iter(lambda: dice.choice([0, 0.01, 0.1, 0.3]), None))
    with served(server) as url:
        for process in at_once(dice, folder, url, dice.choice([2, 2, 3])):
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said.decode()
    twice = [name for name, times in server.questions.items() if times > 1]
    assert not twice, f"{len(twice)} of {len(server.questions)} questions were asked twice"
    assert list((folder / "cache" / "asking").iterdir()) == []


def one_of_two_is_killed(dice: random.Random, folder: Path) -> None:
    server = Endpoint(delay=0.05)
    with served(server) as url:
        killed, other = dice.sample(at_once(dice, folder, url), 2)
        until = dice.randint(1, 60)
        while server.questions.total() < until and killed.poll() is None:
            time.sleep(0.01)
        killed.kill()
        in_flight = server.in_flight
        killed.communicate()
        _, said = other.communicate(timeout=300)
        assert other.returncode == 0, said.decode()
    twice = sum(times - 1 for times in server.questions.values())
    assert twice <= in_flight + BATCH, f"{twice} questions were asked again, {in_flight} were in flight"
    assert list((folder / "cache" / "asking").iterdir()) == []


# many builds in one process -------------------------------------------------------------------------------------------


def held() -> Counter[str]:
    """What this process holds: open files by name, mapped files, threads and child processes."""
    names = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    found = Counter(f"open: {re.sub(r'[0-9]+', 'N', Path(name).name)}" for name in names)
    maps = Path("/proc/self/maps").read_text().splitlines()
    found["mapped files"] = sum(len(words) == 6 and not words[5].endswith(".so") for words in map(str.split, maps))
    found["threads"] = threading.active_count()
    found["processes"] = len(psutil.Process().children(recursive=True))
    return found


def fifty_builds(dice: random.Random, folder: Path) -> None:
    """Of scenes and of rows with files and addresses, in new folders and old ones, on one cache and on others, some refused, some failing."""

    def one(number: int, kind: str) -> None:
        raw = recipe(url, n=4)
        out, cache = folder / f"out{number}", folder / "cache"
        if kind == "rows":
            picture = folder / f"{number}.png"
            Image.new("RGB", (64, 64), (number, 0, 0)).save(picture)
            rows = [{"prompt": "what ?", "image": str(picture)}, {"prompt": "who ?", "image": f"{url}/{number}.png"}]
            (folder / f"{number}.jsonl").write_text("\n".join(map(json.dumps, rows)))
            raw["steps"][0] = {"source.rows": {"path": str(folder / f"{number}.jsonl")}}
            raw["steps"] += ["filter.duplicates"]
        elif kind == "another cache":
            cache = folder / f"cache{number}"
        elif kind == "again":
            out = folder / "out0"
        elif kind == "refused":
            out, raw["name"] = folder / "out0", "another"
        elif kind == "no server":
            raw["models"]["policy"]["base_url"] = "http://127.0.0.1:9/v1"
            raw["steps"][0]["source.scenes"]["seed"] = 100 + number
        if kind in ("refused", "no server"):
            with pytest.raises(PairwrightError):
                build(raw, out, cache)
        else:
            build(raw, out, cache)

    kinds = ["scenes", "rows", "another cache", "again", "refused", "no server"]
    with served(Endpoint()) as url:
        for number, kind in enumerate(kinds):
            one(number, kind)
        gc.collect()
        before = held()
        for number in range(len(kinds), 50):
            one(number, dice.choice(kinds))
        gc.collect()
        more = held() - before
    assert not more, f"it holds more after 50 builds than after {len(kinds)}: {dict(more)}"


FAULTS = [
    Fault("folders", "an --out of another recipe", "one line, and nothing in it changes", refused, trials=100, sample=6),
    Fault("folders", "killed in the middle of a write", "the next build leaves nothing half written", killed_while_writing, trials=20),
    Fault("builds", "two or three concurrent builds on one cache", "each request is sent once", two_at_once, trials=15),
    Fault("builds", "one of two on one cache is killed", "the other takes over its requests and succeeds", one_of_two_is_killed, trials=15),
    Fault("builds", "fifty in one process", "no more files, mappings, threads or processes are held", fifty_builds, trials=3),
]  # fmt: skip
