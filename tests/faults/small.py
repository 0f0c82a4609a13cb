"""Folders that are refused, writes that were killed, builds one after another and two at once."""

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import execute
from schemas.errors import OutputError
from tests.endpoint import Endpoint, served
from tests.faults.fault import Fault

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
    run = execute.open_document(raw, out=out, cache=cache)
    try:
        for _ in execute.everything(run):
            pass
        return run.finish()
    finally:
        run.close()


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
        execute.open_document(raw, out=out, cache=folder / "cache").close()
        if dice.random() < 0.5:
            (out / ".lock").unlink()  # as in a copy of it
        raw["steps"][1]["make.sample"]["n"] = dice.randint(3, 9)
    before = traces(out)
    with pytest.raises(OutputError, match=re.escape(str(out))):
        execute.open_document(raw, out=out, cache=folder / "cache").close()
    assert traces(out) == before, set(traces(out)) ^ set(before)


# writes that are killed -----------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import pytest

from flows import execute
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
KEPT = {".lock"}  # names with a dot that a run may leave


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


FAULTS = [
    Fault("folders", "an --out that is not this recipe's", "one line, and nothing in it changes", refused, trials=100, sample=6),
    Fault("folders", "killed in the middle of a write", "the next build leaves nothing half written", killed_while_writing, trials=20),
]  # fmt: skip
