"""`pairwright ingest`: each source by its sample recipe, and a build that goes on from there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, Image, Value

from flows.commands import ingest
from flows.runs import executor
from tests.support import buckets, web
from tests.support import media_files as make
from tests.support.endpoint import Endpoint, served
from tests.support.tars import tar

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "tests" / "recipes"


def pairwright(*words, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """What the recipes name: five questions, four pictures and sounds, two shards, a dataset, a server and a bucket."""
    home = tmp_path_factory.mktemp("home")
    files = {
        "questions.csv": "question,picture,truth\n" + "".join(f"What is {n}?,pictures/{n % 2}.png,no\n" for n in range(5)),
        "pictures/0.png": make.png(0), "pictures/1.png": make.png(1), "pictures/1.txt": "A field.", "pictures/a.wav": make.wav(),
        "pictures/cut.jpg": make.jpeg(3)[:-200],
        "shards/cats-000.tar": tar(("1.jpg", make.jpeg(4)), ("1.txt", b"One?"), ("../2.jpg", make.jpeg(5)), ("../2.txt", b"Two?")),
        "shards/cats-001.tar": tar(("3.mp4", make.mp4()), ("3.txt", b"Three?")),
    }  # fmt: skip
    for name, data in files.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    features = Features({"question": Value("string"), "image": Image()})
    rows = [{"question": f"{n}?", "image": {"bytes": make.png(n), "path": None}} for n in range(3)]
    (home / "dataset").mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), home / "dataset" / "train.parquet")
    pages = {"/a.png": web.page(make.png(6)), "/huge.png": web.endless, "/slow.png": web.trickling}
    with web.serving(pages) as server, buckets.serving("inbox") as s3:
        lines = [{"prompt": f"{name}?", "image": f"{server.url}/{name}.png"} for name in ("a", "b", "huge", "slow")]
        lines.append({"prompt": "metadata?", "image": "http://169.254.169.254/latest/meta-data"})
        (home / "urls.jsonl").write_text("\n".join(map(json.dumps, lines)))
        s3.pipe_file("inbox/pictures/7.png", make.png(7))
        with s3.open("inbox/rows.parquet", "wb") as file:
            pq.write_table(
                pa.table({"prompt": ["Seven?", "Eight?"], "image": ["pictures/7.png", "pictures/8.png"]}), file
            )
        yield home


# samples by kind, and rejections by reason, as the fixture's files have them
CAME_IN = {
    "rows": ({"image": 3}, {}),
    "urls": ({"image": 1}, {"missing_file": 1, "too_large": 1, "unreachable": 1, "unsafe": 1}),
    "bucket": ({"image": 1}, {"missing_file": 1}),
    "folder": ({"image": 2, "audio": 1}, {"undecodable": 1}),
    "shards": ({"image": 1, "video": 1}, {"unsafe": 1}),
    "hub": ({"image": 3}, {}),
    "several": ({"image": 3, "video": 1, "audio": 1}, {"undecodable": 2, "duplicate": 3, "unsafe": 1}),
}


def test_each_recipe_is_tried():
    assert {path.stem for path in RECIPES.glob("*.yaml")} >= CAME_IN.keys()


@pytest.mark.parametrize("name", CAME_IN)
def test_a_recipe_brings_in_what_is_good_and_names_the_rest(home, tmp_path, name):
    said = pairwright(
        "ingest", RECIPES / f"{name}.yaml", "--out", tmp_path / "out", "--cache", tmp_path / "cache", cwd=home
    )
    found = ingest.counts(ingest.so_far(executor.reopen(tmp_path / "out")))
    reasons: dict[str, int] = {}
    for of_step in found["rejections"].values():
        for reason, count in of_step.items():
            reasons[reason] = reasons.get(reason, 0) + count
    assert (found["samples"], reasons) == CAME_IN[name]
    for reason, count in reasons.items():
        assert f"{reason}" in said, count
    assert "ingested in" in said
    assert "continues from here" in said


def written(home: Path, url: str, source: dict) -> Path:
    steps = [source, {"make.sample": {"model": "policy", "n": 2, "max_tokens": 16}}]
    path = home / "build.yaml"
    models = {"policy": {"engine": "openai", "model": "scripted", "base_url": url}}
    path.write_text(yaml.safe_dump({"name": "build", "models": models, "steps": steps}))
    return path


def test_a_build_goes_on_from_what_came_in(home, tmp_path):
    out, cache = tmp_path / "out", tmp_path / "cache"
    endpoint = Endpoint()
    with served(endpoint) as url:
        recipe = written(tmp_path, url, {"source.folder": {"path": str(home / "pictures"), "prompt": "?"}})
        pairwright("ingest", recipe, "--out", out, "--cache", cache, cwd=home)
        assert endpoint.questions.total() == 0  # no model is asked
        shards = {path: path.stat().st_mtime_ns for path in out.glob("passes/*/*/record.json")}
        assert [path.parts[-3] for path in shards] == ["pass0-folder"]
        assert "not finished" in pairwright("show", out, cwd=home)
        pairwright("build", recipe, "--out", out, "--cache", cache, cwd=home)
        assert endpoint.questions.total() == 3
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    run = executor.reopen(out)
    assert [unit.name for unit in run.units] == ["pass0-folder", "pass1-sample"]
    assert sum(batch.num_rows for batch in run.tables().batches("candidates")) == 6


def test_the_rows_are_those_of_a_build_without_ingest(home, tmp_path):
    with served(Endpoint()) as url:
        recipe = written(tmp_path, url, {"source.shards": {"path": str(home / "shards")}})
        for name in ("one", "two"):
            if name == "one":
                pairwright("ingest", recipe, "--out", tmp_path / name, "--cache", tmp_path / "cache", cwd=home)
            pairwright("build", recipe, "--out", tmp_path / name, "--cache", tmp_path / "cache", cwd=home)
    one, two = (executor.reopen(tmp_path / name).tables() for name in ("one", "two"))
    for table in ("samples", "media", "candidates", "rejections"):
        rows = [[row for batch in tables.batches(table) for row in batch.to_pylist()] for tables in (one, two)]
        assert rows[0] == rows[1], table


def test_a_recipe_without_a_source_has_nothing_to_ingest(tmp_path):
    path = tmp_path / "r.yaml"
    models = {"policy": {"engine": "openai", "model": "m", "base_url": "http://127.0.0.1:9"}}
    path.write_text(
        yaml.safe_dump({"name": "r", "models": models, "steps": [{"evaluate.scenes": {"model": "policy"}}]})
    )
    said = pairwright("ingest", path, "--out", tmp_path / "out", cwd=tmp_path, code=2)
    assert "does not begin with a source" in said
