"""A prompt step supersedes its sample; a sample that a table step drops takes all its rows along. In whatever pass, and after kills."""

import json
import random
import time

import pyarrow.parquet as pq
import pytest
import yaml

from flows.runs import executor
from schemas.arrow import from_batch
from tests.flows.runs.test_kills import asked, contents, kill, run, start
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import completed

MODEL = {"engine": "openai", "model": "scripted", "slots": 8}
COUNT = 60
JUDGED = [{"judge.pointwise": {"model": "policy", "media": False}}, {"pair.best_worst": {"axis": "rating"}}]


def sample(name: str, **settings) -> dict:
    return {"make.sample": {"model": "policy", "name": name, "n": 3, "max_tokens": 24, **settings}}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A folder with sixty rows, each about a picture of its own, and an endpoint."""
    folder = tmp_path_factory.mktemp("superseded")
    for i in range(COUNT):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
    rows = [{"prompt": f"what is on page {i} ?", "image": f"{i}.jpg", "answer": "ink"} for i in range(COUNT)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with served(Endpoint(delay=0.01)) as url:
        yield folder, url


def write(given, name: str, steps: list):
    folder, url = given
    source = {"source.rows": {"path": str(folder / "rows.jsonl")}}
    recipe = {"name": name, "models": {"policy": MODEL | {"base_url": url}}, "steps": [source, *steps]}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def build(given, name: str, steps: list):
    done = executor.open_run(str(write(given, name, steps)), out=given[0] / name, cache=given[0] / "cache")
    completed(done)
    return done


def rows(done, table: str) -> list:
    return [row for batch in done.tables().batches(table) for row in from_batch(table, batch)]


def number(sample) -> int:
    return int(sample.source.rpartition("#")[2])


def test_a_share_and_its_rest_part_the_samples_although_their_ids_change(given):
    done = build(given, "shares", [
        {"prompt.template": {"name": "one", "templates": ["one {prompt}"], "share": 0.5}},
        {"prompt.template": {"name": "two", "templates": ["two {prompt}"], "share": "rest"}},
        sample("s"), *JUDGED,
    ])  # fmt: skip
    samples = rows(done, "samples")
    assert [number(s) for s in samples] == list(range(1, COUNT + 1))
    texts = [s.prompt[0].parts[-1].text for s in samples]
    assert all(t.startswith(("one what", "two what")) for t in texts)  # each was written once, by one of them
    assert 15 < sum(t.startswith("one") for t in texts) < 45
    old = [r for r in rows(done, "rejections") if r.reason == "superseded"]
    assert {(r.table, r.sample) for r in old} == {("samples", s.id) for s in samples}
    assert {c.sample for c in rows(done, "candidates")} == {s.id for s in samples}


def test_what_was_answered_before_goes_and_rows_stay_in_the_order_of_samples(given):
    done = build(given, "later", [
        sample("before"),
        {"filter.subsample": {"n": COUNT - 10, "weights": {"short": 1}}},
        {"prompt.template": {"templates": ["again: {prompt}"], "share": 0.5}},
        sample("after", seed=1), *JUDGED,
    ])  # fmt: skip
    samples = rows(done, "samples")
    again = [s.step == "template" for s in samples]
    assert len(samples) == COUNT - 10
    assert 10 < sum(again) < 40
    assert [number(s) for s in samples] == sorted(number(s) for s in samples)
    order = {s.id: i for i, s in enumerate(samples)}
    for table in ("candidates", "judgements", "pairs"):
        places = [order[r.sample] for r in rows(done, table)]
        assert places == sorted(places)
    made = {(c.step, c.sample) for c in rows(done, "candidates")}
    assert made == {("after", s.id) for s in samples} | {("before", s.id) for s in samples if s.step == "rows"}


def test_a_table_step_after_the_pairs_takes_them_along(given):
    done = build(given, "dropped", [
        sample("s"), *JUDGED, {"filter.subsample": {"n": 20, "weights": {"short": 1}}},
        {"pair.all_pairs": {"name": "more", "axis": "rating", "min_margin": 1}},
    ])  # fmt: skip
    alive = {s.id for s in rows(done, "samples")}
    assert len(alive) == 20
    for table in ("candidates", "judgements", "pairs"):
        assert {r.sample for r in rows(done, table)} <= alive
    pairs = rows(done, "pairs")
    assert {p.step for p in pairs} == {"best_worst", "more"}
    exported = pq.read_table(next(done.dataset(1).glob("image/*.parquet")))["sample"].to_pylist()
    assert exported == [p.sample for p in pairs]
    before = [r for path in (done.folder / "passes").rglob("pairs.arrow") for r in _all(path)]
    assert len({p.sample for p in before} - alive) > 10  # they are in the shards still, and dead
    assert json.loads((done.folder / "summary.json").read_text())["pairs"] == {"image": len(pairs)}


def _all(path):
    from flows.runs import shards

    return shards.rows(path, "pairs")


@pytest.mark.slow
def test_kills_leave_the_same_samples_media_and_pairs(given, tmp_path):
    recipe = write(given, "killed", [
        {"prompt.compose_media": {"layout": "grid", "pictures": [2, 3], "side": 64}},
        {"prompt.llm_write": {"model": "policy"}}, sample("s"), *JUDGED,
    ])  # fmt: skip
    log, url = tmp_path / "log", given[1]
    run(recipe, tmp_path / "whole", tmp_path / "cache-whole", log=log)
    expected, undisturbed = contents(tmp_path / "whole"), asked(url)
    before, rng = asked(url), random.Random(4)
    for point in sorted(rng.sample(range(5, 3 * COUNT - 40), 3)):
        process = start(recipe, tmp_path / "out", tmp_path / "cache", log=log)
        while asked(url) - before < point and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, log.read_text()
        kill(process, whole_group=True)
    run(recipe, tmp_path / "out", tmp_path / "cache", log=log)
    assert contents(tmp_path / "out") == expected
    assert undisturbed > 0


def test_steps_of_a_later_pass_know_those_of_an_earlier_one(given):
    """What `share: rest` leaves over and which rows `from:` means do not depend on where a pass ends."""
    steps = [
        sample("half", share=0.5), {"filter.subsample": {"n": COUNT}},
        sample("others", share="rest"), {"judge.pointwise": {"model": "policy", "media": False, "from": ["half"]}},
    ]  # fmt: skip
    done = build(given, "passes", steps)
    assert [u.kind for u in done.units].count("pass") == 2
    half, others = ({c.sample for c in rows(done, "candidates") if c.step == step} for step in ("half", "others"))
    assert len(half) + len(others) == COUNT
    assert not half & others
    assert {s.sample for s in rows(done, "judgements")} == half
