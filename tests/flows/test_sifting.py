"""The sample recipes of filters and prompt makers, run on real pictures: who goes, who stays, and what the dataset holds."""

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from flows.runs import executor
from schemas.arrow import from_batch
from schemas.errors import EngineError
from schemas.messages import question_of
from tests.support.endpoint import Endpoint, served
from tests.support.photographs import jpeg_of, pieces

RECIPES = Path(__file__).parents[1] / "recipes"
TWELVE = range(1, 13)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows 1 to 12 each ask about a picture of their own; 13 is row 2 again, its picture compressed anew; 14 is small, 15 one
    colour, 16 non-commercial, 17 without a licence and a choice of options."""
    folder = tmp_path_factory.mktemp("sifting")
    pictures = [jpeg_of(p) for p in pieces()]
    pictures += [
        jpeg_of(pieces()[1], 40),
        jpeg_of(pieces()[3].rotate(180).resize((90, 60))),
        jpeg_of(Image.new("RGB", (200, 200))),
    ]
    pictures += [jpeg_of(pieces()[4].rotate(90)), jpeg_of(pieces()[5].rotate(90))]
    rows = []
    for number, data in enumerate(pictures, 1):
        (folder / f"{number}.jpg").write_bytes(data)
        asked = (
            "What stands in the middle of it? A. a roof B. a leaf"
            if number == 17
            else f"What do you make of number {number}?"
        )
        row = {"prompt": asked, "image": f"{number}.jpg", "answer": "petal" if number % 2 else "roof"}
        row |= {"reference": "long " * 40 if number <= 6 else "short", "licence": "CC BY 4.0"}
        rows.append(row)
    rows[12]["prompt"] = rows[1]["prompt"]
    rows[15]["licence"] = "https://creativecommons.org/licenses/by-nc/2.0/"
    del rows[16]["licence"]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bench = [
        {"prompt": "Who?", "image": "bench.jpg"},  # too short to compare: its picture is
        {"prompt": "what do you make of number 5? tell me at once", "image": "other.jpg"},
    ]
    (folder / "bench.jpg").write_bytes(jpeg_of(pieces()[8], 30))
    (folder / "other.jpg").write_bytes(jpeg_of(pieces()[0].rotate(180)))
    (folder / "bench.jsonl").write_text("\n".join(map(json.dumps, bench)))
    with served(Endpoint()) as url:
        yield folder, url


def build(given, name: str, *settings: str):
    """The run of a sample recipe, finished; all share a cache."""
    folder, url = given
    said = [f"rows.path={folder / 'rows.jsonl'}", f"models.policy.base_url={url}", *settings]
    out = folder / "-".join([name, *(s.replace("/", "") for s in settings)])[:100]
    run = executor.open_run(str(RECIPES / f"{name}.yaml"), said, out=out, cache=folder / "cache")
    for _ in executor.run_all(run):
        pass
    run.close()
    return run


def rows(run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]


def number(source: str) -> int:
    return int(source.rpartition("#")[2])


def left(run) -> list[int]:
    """The numbers of the rows that are alive, in order; no row of any table belongs to another one."""
    samples = rows(run, "samples")
    alive = {s.id for s in samples}
    for table in ("candidates", "judgements", "pairs"):
        assert {r.sample for r in rows(run, table)} <= alive
    exported = [i for f in run.dataset(1).glob("*/*.parquet") for i in pq.read_table(f)["sample"].to_pylist()]
    assert sorted(exported) == sorted(p.sample for p in rows(run, "pairs"))
    assert exported
    return [number(s.source) for s in samples]


def gone(run, step: str) -> dict[int, str]:
    """Row -> the reason for which a step dropped it; each rejection names its row."""
    dropped = [r for r in rows(run, "rejections") if r.step == step and r.reason != "superseded"]
    return {number(r.detail.split(": ")[0]): r.reason for r in dropped}


def test_near_duplicates(folder):
    run = build(folder, "duplicates")
    assert gone(run, "duplicates") == {13: "duplicate"}
    assert left(run) == [n for n in range(1, 18) if n != 13]


def test_contamination(folder):
    # row 9 shows the benchmark's first picture; row 5 asks "what do you make of number 5", 7 words, and the benchmark's second
    # question has 11: one run, which no prompt here holds
    run = build(folder, "contamination", f"contamination.sets.bench={folder[0] / 'bench.jsonl'}")
    assert gone(run, "contamination") == {9: "contaminated"}
    (row,) = (r for r in rows(run, "rejections") if r.step == "contamination")
    assert "its image is also in bench bench.jsonl#1" in row.detail
    # runs of 7 words: the benchmark's question has 11 - 7 + 1 = 5, row 5 holds one of them: a fifth; every other row none
    path = f"contamination.sets.bench={folder[0] / 'bench.jsonl'}"
    run = build(
        folder, "contamination", path, "contamination.words=7", "contamination.shortest=7", "contamination.overlap=0.2"
    )
    assert gone(run, "contamination") == {5: "contaminated", 9: "contaminated"}
    assert any(
        "contains 0.20 of the 7-word n-grams of bench bench.jsonl#2" in r.detail for r in rows(run, "rejections")
    )
    assert left(run) == [n for n in range(1, 18) if n not in (5, 9)]


def test_media_bounds(folder):
    run = build(folder, "media")
    assert gone(run, "media") == {14: "resolution", 15: "complexity"}
    assert left(run) == [n for n in range(1, 18) if n not in (14, 15)]


def test_media_as_a_model_sees_them(folder):
    run = build(folder, "media_model")
    found = gone(run, "media")
    assert set(found.values()) == {
        "objects",
        "text_in_picture",
    }  # which the scripted model says now and then
    assert sorted([*found, *left(run)]) == list(range(1, 18))


def test_licences(folder):
    run = build(folder, "licence")
    assert gone(run, "licence") == {16: "licence", 17: "licence"}
    assert left(run) == list(range(1, 16))
    assert left(build(folder, "licence", "licence.unknown=allow")) == [*range(1, 16), 17]


def test_strata(folder):
    # 6 long, 10 short, 1 mcq; 10 of them 4 : 5 : 1
    run = build(folder, "subsample_strata")
    kept = left(run)
    assert (sum(n <= 6 for n in kept), sum(6 < n < 17 for n in kept), kept.count(17)) == (4, 5, 1)
    assert set(gone(run, "subsample").values()) == {"not_sampled"}
    assert sorted([*gone(run, "subsample"), *kept]) == list(range(1, 18))
    assert left(build(folder, "subsample_strata", "subsample.seed=1")) != kept


def test_clusters(folder):
    run = build(folder, "subsample_clusters")
    assert len(left(run)) == 8
    record = json.loads((run.unit_folder(run.units[1]) / "done.json").read_text())["result"]
    assert record["embedding"].startswith("picture (")
    assert sum(c["kept"] for c in record["samples"].values()) == 8
    assert sum(c["had"] for c in record["samples"].values()) == 17
    for row in (r for r in rows(run, "rejections") if r.step == "subsample"):
        assert " of 4 by picture keeps " in row.detail


@pytest.mark.engine
def test_clusters_in_the_eyes_of_a_model(folder):
    run = build(folder, "subsample_model")
    assert len(left(run)) == 8
    record = json.loads((run.unit_folder(run.units[1]) / "done.json").read_text())
    assert record["result"]["embedding"].startswith("model tiny@")
    assert record["result"]["embedding"].endswith(" hf")
    ((_, usage),) = record["usage"]["subsample"].items()
    assert usage["asked"] == 17
    for row in (r for r in rows(run, "rejections") if r.step == "subsample"):
        assert " of 4 by model keeps " in row.detail


def test_a_model_without_vectors_is_one_clear_line(folder):
    with pytest.raises(EngineError, match="subsample: scripted cannot embed; use a model on the engine hf"):
        build(folder, "subsample_model", "subsample.model=policy")


def test_templates_supersede(folder):
    run = build(folder, "template")
    assert left(run) == list(range(1, 18))
    samples = rows(run, "samples")
    texts = [question_of(s.prompt).splitlines() for s in samples]
    assert Counter(t[0].startswith("Please tell me: What") for t in texts).keys() == {True, False}
    assert all("<think>" in t[1] for t in texts)
    old = {r.id: r for r in rows(run, "rejections") if r.reason == "superseded"}
    assert [r.sample for r in old.values()] == [s.id for s in samples]
    assert {c.sample for c in rows(run, "candidates")} == {s.id for s in samples}
    exported = pq.read_table(next(run.dataset(1).glob("image/*.parquet")))
    assert all("<think>" in p[0]["content"][-1]["text"] for p in exported["prompt"].to_pylist())


def test_grids_are_exported_with_their_new_media(folder):
    run = build(folder, "compose_grid")
    assert left(run) == list(range(1, 18))
    sizes = set()
    for name, sheets in _exported(run):
        composed = json.loads(name)["composed"]
        (sheet,) = sheets
        columns = 2  # of 2 to 4 pictures
        assert sheet.size == (96 * columns, 96 * -(-len(composed["media"]) // columns))
        assert 1 <= composed["target"] <= len(composed["media"])
        sizes.add(len(composed["media"]))
    assert sizes == {2, 3, 4}
    made = {m.id: m for m in rows(run, "media") if m.source.startswith("grid of ")}
    assert {s.media[0] for s in rows(run, "samples")} == made.keys()


def _exported(run):
    for row in pq.read_table(next(run.dataset(1).glob("*/*.parquet"))).to_pylist():
        yield row["facts"], [Image.open(io.BytesIO(i["bytes"])) for i in row["images"]]


def test_demonstrations_stand_for_answers_by_symbols(folder):
    run = build(folder, "compose_demonstrations")
    assert left(run) == list(range(1, 18))
    for s in rows(run, "samples"):
        said = [m.parts[0].text for m in s.prompt if m.role == "assistant"]
        assert len(said) == len(s.media) - 1
        assert s.answer in said  # a demonstration has the sample's own answer
        assert set(said) <= {"blick", "dax", "wug", "fep"}
        assert json.loads(s.facts)["composed"]["answer"] in ("roof", "petal")
        assert s.kind == "multi_image"


def test_a_model_writes_questions_and_answers(folder):
    run = build(folder, "llm_write")
    found = gone(run, "llm_write")
    assert set(found.values()) == {"unparsable"}
    samples = {s.id: s for s in rows(run, "samples")}
    refused = [r.detail for r in rows(run, "rejections") if r.reason == "unparsable"]
    assert all(d.endswith("cannot parse the question from the reply: I would rather not.") for d in refused)
    assert sorted([*found, *left(run)]) == list(range(1, 18))
    written = [c for c in rows(run, "candidates") if c.step == "llm_write"]
    assert Counter(c.role for c in written) == {"chosen": len(samples), "rejected": len(samples)}
    for c in written:
        assert c.text == (samples[c.sample].reference if c.role == "chosen" else "no, it is not")
    assert all(question_of(s.prompt).startswith("Is the ") and s.answer is None for s in samples.values())


def test_a_model_writes_what_contradicts_the_picture(folder):
    run = build(folder, "llm_write", "llm_write.answers=false", "llm_write.conflict=true")
    assert set(gone(run, "llm_write").values()) == {"unparsable"}
    asked = {json.loads(line)["prompt"] for line in (folder[0] / "rows.jsonl").read_text().splitlines()}
    samples = list(rows(run, "samples"))
    assert len(samples) == len(left(run))
    for sample in samples:
        said, question = question_of(sample.prompt).split(" in it. ")
        assert said.startswith("There is a ")
        assert question in asked
        assert sample.answer is not None  # it is as true as before


def test_a_changed_benchmark_is_compared_anew(folder, tmp_path):
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"prompt": "who?"}))
    path = f"contamination.sets.bench={bench}"
    run = build(folder, "contamination", path)
    assert gone(run, "contamination") == {}
    bench.write_text(json.dumps({"prompt": "who?", "image": str(folder[0] / "bench.jpg")}))
    assert run.complete(run.units[1]) == "done"
    assert gone(run, "contamination") == {9: "contaminated"}


def test_an_unreadable_row_of_a_benchmark_is_named(folder, tmp_path):
    bench = tmp_path / "bench.jsonl"
    bench.write_text('{"prompt": "who?"}\n{"prompt": 7}\n')
    run = build(folder, "contamination", f"contamination.sets.bench={bench}")
    (row,) = (r for r in rows(run, "rejections") if r.step == "contamination")
    assert (row.id, row.reason) == ("bench:bench.jsonl#2", "bad_row")
    assert row.detail.startswith("bench: bench.jsonl#2: ")
    assert len(left(run)) == 17
