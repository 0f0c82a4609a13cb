"""The child of a run, on the real engine: what it loads, and what becomes of a run when it dies, grows or is left alone."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows.reports.summary import finish
from flows.runs import executor, shards
from flows.runs.supervisor import RESTARTS
from pipeline.engines.local import device
from schemas.errors import EngineError
from schemas.records import Reason
from tests.flows.runs.test_kills import verdicts
from tests.support.prefect_server import wait_for

pytestmark = pytest.mark.engine

TINY = Path(__file__).parents[3] / "data" / "models" / "tiny"
CRASHING = Path(__file__).parent / "crashing"
POISON = "xylophone"


def model(folder: Path = TINY, **settings) -> dict:
    return {"engine": "vllm", "model": str(folder), "max_model_len": 4096, **settings}


def opened(folder: Path, raw: dict, cache: str = "cache") -> tuple[executor.Run, list[str]]:
    """A run, and the texts of its reports."""
    said: list[str] = []
    return executor.open_document(
        raw, out=folder / "out", cache=folder / cache, report=lambda *a: said.append(a[3])
    ), said


def built(folder: Path, raw: dict) -> tuple[executor.Run, list[str]]:
    run, said = opened(folder, raw)
    try:
        assert all(executor.run_all(run))
    finally:
        run.close()
    return run, said


def loads(run: executor.Run) -> dict[str, dict[str, int]]:
    return {u.name: n for u in run.units if (n := shards.read_json(run.unit_folder(u) / "done.json")["loads"])}


@pytest.fixture
def hooked(monkeypatch):
    """`hooked(CRASH_ON="word")`: what goes wrong in children from now on, see crashing/sitecustomize.py."""

    def hooked(**what):
        monkeypatch.setenv("PYTHONPATH", str(CRASHING))
        for name, value in what.items():
            monkeypatch.setenv(name, value)

    return hooked


def texts(folder: Path, count: int, poisoned: int | None = None) -> dict:
    """A source of plain questions, one of them with the poison."""
    folder.mkdir(exist_ok=True)
    rows = [{"prompt": f"question {n} {POISON if n == poisoned else 'piano'}"} for n in range(count)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"source.rows": {"path": str(folder / "rows.jsonl")}}


# residency


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A recipe whose makers and judges take turns between two models."""
    other = shutil.copytree(TINY, tmp_path_factory.mktemp("models") / "other")
    return {
        "name": "two",
        "models": {"a": model(), "same": model(), "b": model(other)},
        "steps": [
            {"source.scenes": {"n": 12, "seed": 5}},
            {"make.sample": {"name": "of_a", "model": "a", "n": 2, "max_tokens": 32}},
            {"make.sample": {"name": "of_b", "model": "b", "n": 2, "max_tokens": 32}},
            {"judge.claims": {"name": "by_a", "model": "same"}},
            {"judge.claims": {"name": "by_b", "model": "b"}},
            {"score.refuted_claims": {"malformed": -3}},
            "pair.all_pairs",
            {"evaluate.scenes": {"name": "evaluate", "model": "a", "n": 4, "questions": 1}},
        ],
    }


def test_each_model_is_loaded_once_and_units_may_come_from_any_thread(tmp_path, two):
    run, _ = opened(tmp_path, two)
    for unit in run.units:
        with ThreadPoolExecutor(1) as pool:  # Prefect may run each task on another thread
            pool.submit(run.complete, unit).result()
    assert [u.name for u in run.units] == ["pass0-all_pairs", "evaluate", "dataset"]
    assert loads(run) == {"pass0-all_pairs": {"a": 1, "b": 1}}
    assert finish(run)["loads"] == {"a": 1, "b": 1}
    run.close()
    again = executor.open_document(two, out=tmp_path / "again", cache=tmp_path / "cache")
    assert all(executor.run_all(again))
    again.close()
    assert loads(again) == {}  # every answer is cached
    assert verdicts(again.folder) == verdicts(run.folder)
    assert again.done(again.units[0])["engines"] == run.done(run.units[0])["engines"]


def test_models_that_do_not_fit_follow_each_other_and_leave_the_same_rows(tmp_path, two, hooked, monkeypatch):
    together, _ = built(tmp_path / "together", two)
    hooked(LITTLE="1")
    monkeypatch.setattr(device, "MOST_OF_MACHINE", 1e-9)
    apart, said = built(tmp_path / "apart", two)
    assert [u.name for u in apart.units] == ["pass0-of_a", "pass1-by_b", "pass2-all_pairs", "evaluate", "dataset"]
    assert loads(apart) == {"pass0-of_a": {"a": 1}, "pass1-by_b": {"b": 1}, "pass2-all_pairs": {"same": 1}}
    assert sum("does not fit into memory" in text for text in said) == 2
    assert verdicts(apart.folder) == verdicts(together.folder)


# crashes


def test_a_request_that_crashes_the_engine_is_one_rejection(tmp_path, hooked):
    hooked(CRASH_ON=POISON)
    raw = {
        "name": "crash",
        "models": {"policy": model(slots=4)},
        "steps": [
            texts(tmp_path, 24, poisoned=11),
            {"make.sample": {"model": "policy", "n": 1, "max_tokens": 8}},
        ],
    }
    run, said = built(tmp_path, raw)
    assert sum("restarting it" in text for text in said) == 3  # twice among others, once alone
    (left,) = [row for b in run.tables().batches("rejections") for row in b.to_pylist()]
    assert (left["table"], left["step"], left["reason"]) == ("samples", "sample", Reason.ENGINE_CRASH)
    prompts = [row["prompt"] for b in run.tables().batches("samples") for row in b.to_pylist()]
    assert len(prompts) == 23
    assert POISON not in str(prompts)
    assert sum(b.num_rows for b in run.tables().batches("candidates")) == 23

    shutil.rmtree(run.unit_folder(run.units[0]))  # as if its rows were to be made again: the culprit is known
    again, said = built(tmp_path, raw)
    assert not any("restarting it" in text for text in said)
    assert [row["reason"] for b in again.tables().batches("rejections") for row in b.to_pylist()] == [
        Reason.ENGINE_CRASH
    ]


def test_an_engine_that_always_crashes_is_an_error_after_some_restarts(tmp_path, hooked):
    hooked(CRASH_AT_LOAD="1")
    raw = {
        "name": "crash",
        "models": {"policy": model()},
        "steps": [texts(tmp_path, 2), {"make.sample": {"model": "policy", "n": 1}}],
    }
    run, said = opened(tmp_path, raw)
    with pytest.raises(EngineError, match=r"pass0-sample: its process crashed repeatedly \(exit code 3\)"):
        run.complete(run.units[0])
    run.close()
    assert sum("restarting it" in text for text in said) == RESTARTS
    assert not (run.folder / "crashes.json").exists()


# growing memory


def test_a_child_that_grows_is_followed_by_another_between_shards(tmp_path, hooked):
    hooked(LEAK=str(600 << 20))
    raw = {
        "name": "leak",
        "models": {"policy": model()},
        "steps": [texts(tmp_path, 64), {"make.sample": {"model": "policy", "n": 1, "max_tokens": 4, "on_cut": "keep"}}],
    }
    run, said = built(tmp_path, raw)
    grown = [text for text in said if "continuing in a new process" in text]
    assert grown
    assert all(text.startswith("its memory grew from") for text in grown)
    assert not any("restarting it" in text for text in said)
    assert not (run.folder / "crashes.json").exists()
    done = shards.read_json(run.unit_folder(run.units[0]) / "done.json")
    assert len(done["shards"]) == 8
    assert sum(b.num_rows for b in run.tables().batches("candidates")) == 64


# a parent that dies

BETWEEN = """
import json, sys, time
from pathlib import Path
from flows.runs import executor

run = executor.open_document(json.loads(sys.argv[1]), out=Path(sys.argv[2]), cache=Path(sys.argv[3]))
run.complete(run.units[0])
print("between", flush=True)
time.sleep(600)
"""


def test_a_parent_that_is_killed_between_two_units_leaves_no_child(tmp_path):
    raw = {
        "name": "between",
        "models": {"policy": model()},
        "steps": [
            {"source.scenes": {"n": 8, "seed": 5}},
            {"make.sample": {"model": "policy", "n": 1, "max_tokens": 8}},
            {"evaluate.scenes": {"name": "evaluate", "model": "policy", "n": 2, "questions": 1}},
        ],
    }
    command = [sys.executable, "-c", BETWEEN, json.dumps(raw), str(tmp_path / "out"), str(tmp_path / "cache")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"between\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10)
    run, _ = built(tmp_path, raw)
    assert loads(run) == {"pass0-sample": {"policy": 1}, "evaluate": {"policy": 1}}
