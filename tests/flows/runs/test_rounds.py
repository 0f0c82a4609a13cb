"""The bundled RLAIF-V recipe, small: two rounds, the second from the model that the first one trained."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.runs import executor, rejections
from flows.runs.shards import read_json
from schemas.arrow import from_batch

pytestmark = pytest.mark.engine

SMALL = ["scenes.n=32", "sample.n=4", "sample.max_tokens=48", "rounds.n=2", "after.n=4"]
TRAINING = ["train.epochs=1", "train.batch_size=12", "train.lr=1e-4", "train.warmup=1"]


def build(out: Path, cache: Path) -> str:
    words = ["build", "rlaif-v", *SMALL, *TRAINING, "--out", out, "--cache", cache]
    done = subprocess.run([sys.executable, "-m", "flows.cli", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def rows(run: executor.Run, table: str, round: int) -> list:
    return [row for batch in run.tables(round=round).batches(table) for row in from_batch(table, batch)]


def written(out: Path) -> dict[Path, int]:
    """When each file of rows, models, results and pairs was written."""
    globs = ("passes/*/0*/*", "steps/**/*", "dataset*/*/*.parquet")
    return {path: path.stat().st_mtime_ns for glob in globs for path in out.glob(glob)}


def test_the_second_round_answers_with_the_model_that_the_first_one_trained(tmp_path):
    out, cache = tmp_path / "out", tmp_path / "cache"
    build(out, cache)
    run = executor.reopen(out)
    policy, trained = run.identity("policy", 1), run.identity("trained", 1)
    assert len({policy, trained, run.identity("trained", 2)}) == 3
    for round, maker, dataset in ((1, policy, "dataset-1"), (2, trained, "dataset")):
        candidates, pairs = rows(run, "candidates", round), rows(run, "pairs", round)
        assert len(candidates) == 128  # 32 x 4
        assert {c.model for c in candidates} == {maker}
        assert {j.annotator for j in rows(run, "judgements", round) if j.step == "claims"} == {maker}
        exported = [pq.read_metadata(path).num_rows for path in (out / dataset).glob("*/*.parquet")]
        assert sum(exported) == len(pairs) > 12
        steps = read_json(out / "steps" / f"round{round}-train" / "done.json")["result"]["steps"]
        assert steps == -(-len(pairs) // 12)

    summary = read_json(out / "summary.json")
    assert (summary["rounds"], summary["dataset"]) == (2, "dataset")
    assert sum(summary["pairs"].values()) == len(rows(run, "pairs", 2))
    assert summary["rejections"] == rejections.count_rows(rows(run, "rejections", 2))
    assert set(summary["evaluate"]) == {"round1-after", "round2-after"}

    before = written(out)
    assert "already finished" in build(out, cache)
    assert written(out) == before
