"""The same recipe again into the same folder, after its inputs changed: only what is new is asked, nothing is lost."""

import json

import pytest
import yaml

from flows.runs import executor, shards
from schemas.arrow import from_batch
from tests.support import buckets
from tests.support import media_files as make
from tests.support.endpoint import Endpoint, served

SIZE = 4  # samples a shard, here


@pytest.fixture
def build(tmp_path, monkeypatch):
    """build(source) runs the recipe; returns the questions that this asked, the folders of its shards, and its rows by table."""
    monkeypatch.setattr(shards, "SIZE", SIZE)
    endpoint = Endpoint()

    def build(source: dict):
        steps = [source, {"make.sample": {"model": "policy", "n": 2, "max_tokens": 16}}]
        models = {"policy": {"engine": "openai", "model": "scripted", "base_url": url}}
        (tmp_path / "r.yaml").write_text(yaml.safe_dump({"name": "r", "models": models, "steps": steps}))
        before = endpoint.questions.total()
        run = executor.open_run(str(tmp_path / "r.yaml"), out=tmp_path / "out", cache=tmp_path / "cache")
        try:
            for _ in executor.run_all(run):
                pass
            tables = run.tables()
            names = ("samples", "candidates", "rejections", "media")
            rows = {t: [row for batch in tables.batches(t) for row in from_batch(t, batch)] for t in names}
            return (
                endpoint.questions.total() - before,
                shards.read_json(run.unit_folder(run.units[0]) / "done.json")["shards"],
                rows,
            )
        finally:
            run.close()

    with served(endpoint) as url:
        yield build


def write(path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts(rows) -> list[str]:
    return [s.prompt[-1].parts[-1].text for s in rows["samples"]]


def test_rows_that_were_appended(build, tmp_path):
    source = {"source.rows": {"path": str(tmp_path / "r.jsonl")}}
    rows = [{"prompt": f"{n}?"} for n in range(10)]
    write(tmp_path / "r.jsonl", rows)
    assert build(source)[0] == 10
    asked, before, _ = build(source)
    assert asked == 0
    write(tmp_path / "r.jsonl", [*rows, *({"prompt": f"{n}?"} for n in range(10, 15)), rows[3]])
    asked, after, found = build(source)
    assert asked == 5
    assert after[:2] == before[:2]  # ten rows fill two shards of four; the third, of two, is written anew
    assert texts(found) == [f"{n}?" for n in range(15)]
    assert [c.sample for c in found["candidates"]] == [s.id for s in found["samples"] for _ in range(2)]
    assert [r.detail for r in found["rejections"]] == [
        "r.jsonl#16: duplicate of an earlier prompt with the same media; remove one of them"
    ]


def test_rows_that_were_put_in_another_order_or_taken_away(build, tmp_path):
    source = {"source.rows": {"path": str(tmp_path / "r.jsonl")}}
    rows = [{"prompt": f"{n}?", "id": n} for n in range(10)]
    write(tmp_path / "r.jsonl", rows)
    build(source)
    write(tmp_path / "r.jsonl", rows[::-1])
    asked, _, found = build(source)
    assert (asked, texts(found)) == (0, [f"{n}?" for n in reversed(range(10))])
    write(tmp_path / "r.jsonl", [*rows[:4], {"prompt": "new?"}, *rows[6:]])
    asked, _, found = build(source)
    assert (asked, texts(found)) == (1, ["0?", "1?", "2?", "3?", "new?", "6?", "7?", "8?", "9?"])
    assert len(found["candidates"]) == 18


def test_what_is_known_of_a_prompt_may_change_and_nothing_is_asked(build, tmp_path):
    source = {"source.rows": {"path": str(tmp_path / "r.jsonl")}}
    write(tmp_path / "r.jsonl", [{"prompt": "One?", "answer": "no", "licence": "CC0"}])
    build(source)
    write(tmp_path / "r.jsonl", [{"prompt": "One?", "answer": "yes", "licence": "MIT"}])
    asked, _, found = build(source)
    assert (asked, found["samples"][0].answer, found["samples"][0].licence) == (0, "yes", "MIT")


def test_files_that_were_added_to_a_folder(build, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n in range(6):
        (pictures / f"{n}.png").write_bytes(make.png(n))
    source = {"source.folder": {"path": str(pictures), "prompt": "What?"}}
    _, before, _ = build(source)
    (pictures / "7.png").write_bytes(make.png(7))
    (pictures / "8.png").write_bytes(make.png(7)[:-50])
    asked, after, found = build(source)
    assert (asked, len(found["samples"]), after[0]) == (1, 7, before[0])
    (pictures / "8.png").write_bytes(make.png(8))  # it was mended
    (pictures / "0a.png").write_bytes(make.png(9))  # and one came in the midst
    asked, _, found = build(source)
    assert (asked, len(found["samples"]), found["rejections"]) == (2, 9, [])
    assert [m.source for m in found["media"]] == ["0.png", "0a.png", *(f"{n}.png" for n in (1, 2, 3, 4, 5, 7, 8))]


def test_an_object_that_was_added_to_a_bucket(build, tmp_path):
    with buckets.serving("inbox") as s3:
        for n in range(5):
            s3.pipe_file(f"inbox/{n}.png", make.png(n))
        source = {"source.folder": {"path": "s3://inbox", "prompt": "What?"}}
        assert build(source)[0] == 5
        s3.pipe_file("inbox/5.png", make.png(5))
        s3.pipe_file("inbox/0.png", make.png(6))  # and one was written anew
        asked, after, found = build(source)
        assert (asked, len(found["samples"]), len(after)) == (2, 6, 2)
