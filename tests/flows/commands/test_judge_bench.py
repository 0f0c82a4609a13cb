"""`pairwright judge-bench`: the judge of a recipe on sets whose better answers are known."""

import json
from pathlib import Path

import pytest
import yaml

from flows.commands import judge_bench
from flows.runs import executor
from flows.runs.shards import read_json
from pipeline.scenes.model import bench_pairs
from schemas.arrow import from_batch
from schemas.errors import RecipeError
from tests.flows.test_cli import pairwright
from tests.support.media_files import jpeg

pytestmark = pytest.mark.slow

JURY = {
    "name": "jury",
    "models": {"one": {"engine": "openai", "model": "one"}, "two": {"engine": "openai", "model": "two"}, "policy": {"engine": "vllm", "model": "x"}},
    "steps": [
        {"source.rows": {"path": "rows.jsonl"}},
        {"make.sample": {"model": "policy"}},
        {"judge.pointwise": {"name": "first", "model": "one", "where": "has_answer", "share": 0.5, "axis": "one"}},
        {"judge.pointwise": {"name": "second", "model": "two", "axis": "two"}},
        {"judge.claims": {"model": "two"}},
        {"score.refuted_claims": {"malformed": -3}},
        {"score.consensus": {"name": "jury", "method": "majority", "also": ["one", "two"], "from": ["sample", "first", "second"]}},
        "pair.judged",
    ],
}  # fmt: skip


def titles(raw: dict) -> list[str]:
    return [step if isinstance(step, str) else next(iter(step)) for step in raw["steps"]]


def test_a_judge_alone_is_its_step_on_the_sets_rows():
    raw, step = judge_bench.bench_recipe(JURY, "pairs.jsonl", "first")
    assert raw["steps"] == [
        {"source.pairs": {"name": "bench", "path": "pairs.jsonl"}},
        {"judge.pointwise": {"name": "first", "model": "one", "axis": "one"}},
    ]
    assert (step, list(raw["models"])) == ("first", ["one"])


def test_of_a_jury_all_judges_before_it_come_along_and_of_claims_their_score():
    raw, step = judge_bench.bench_recipe(JURY, "pairs.jsonl", "jury")
    assert titles(raw) == [
        "source.pairs",
        "judge.pointwise",
        "judge.pointwise",
        "judge.claims",
        "score.refuted_claims",
        "score.consensus",
    ]
    assert raw["steps"][-1]["score.consensus"]["from"] == ["bench", "first", "second"]
    assert (step, list(raw["models"])) == ("jury", ["one", "two"])
    raw, step = judge_bench.bench_recipe(JURY, "pairs.jsonl", "claims")
    assert (titles(raw), step) == (["source.pairs", "judge.claims", "score.refuted_claims"], "refuted_claims")
    raw, step = judge_bench.bench_recipe(
        {**JURY, "steps": [*JURY["steps"][:2], {"judge.claims": {"model": "two"}}]}, "pairs.jsonl"
    )
    assert (titles(raw), step) == (["source.pairs", "judge.claims", "score.refuted_claims"], "refuted_claims")


def test_which_step_judges_must_be_clear():
    with pytest.raises(
        RecipeError,
        match="3 steps ask a model to judge; choose one with --step: first, second, claims, refuted_claims, jury",
    ):
        judge_bench.bench_recipe(JURY, "pairs.jsonl")
    with pytest.raises(RecipeError, match="unknown judge step 'frist'; did you mean 'first'"):
        judge_bench.bench_recipe(JURY, "pairs.jsonl", "frist")


@pytest.fixture(scope="module")
def bench(tmp_path_factory, endpoint):
    """A set of 40 pairs with a broken row, a judge on the scripted endpoint, and what the command said and left."""
    folder = tmp_path_factory.mktemp("bench")
    rows = []
    for i in range(40):
        (folder / f"{i}.jpg").write_bytes(jpeg(i))
        answers = {"chosen": f"it is {i} .", "rejected": f"it is not {i} ."}
        rows.append(
            {"question": "what is it ?", "image": f"{i}.jpg", **answers, "category": "even" if i % 2 == 0 else "odd"}
        )
    rows.append({"question": "what is it ?", "image": "gone.jpg", "chosen": "x", "rejected": "y"})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    models = {"m": {"engine": "openai", "model": "scripted", "base_url": endpoint}}
    (folder / "judge.yaml").write_text(yaml.safe_dump({"name": "judge", "models": models, "steps": [
        JURY["steps"][0], {"make.sample": {"model": "m"}}, {"judge.pointwise": {"model": "m"}},
    ]}))  # fmt: skip
    words = [
        "judge-bench",
        folder / "judge.yaml",
        folder / "pairs.jsonl",
        "--out",
        folder / "out",
        "--cache",
        folder / "cache",
    ]
    return folder, pairwright(*words), words


def test_the_figures_are_those_of_the_judgements(bench):
    folder, _, _ = bench
    found = read_json(folder / "out" / "judge-bench.json")
    tables = executor.reopen(folder / "out").tables()
    rows = {t: [r for b in tables.batches(t) for r in from_batch(t, b)] for t in ("samples", "judgements", "pairs")}
    rating = {s.items[0]: s.value for s in rows["judgements"]}
    split = {s.id: s.split for s in rows["samples"]}
    for category in ("even", "odd"):
        pairs = [p for p in rows["pairs"] if split[p.sample] == category]
        right = sum(rating[p.chosen_id] > rating[p.rejected_id] for p in pairs)
        of = found["categories"][category]
        assert (of["pairs"], of["accuracy"]["n"], of["accuracy"]["share"]) == (20, 20, right / 20)
        assert of["longer"]["share"] == 0  # the rejected one has a word more
    assert found["categories"]["all"]["pairs"] == 40
    assert (
        found["worth"]["agreement_with_truth"]["image"]["n"] == found["categories"]["all"]["accuracy_of_decided"]["n"]
    )


def test_the_table_names_the_baseline_and_the_broken_row(bench):
    _, text, _ = bench
    for word in (
        "accuracy",
        "longer",
        "even",
        "odd",
        "mean",
        "pairs.jsonl#41",
        "gone.jpg",
        "judge-bench.json",
    ):
        assert word in " ".join(text.split()), word


def test_said_again_it_asks_nobody(bench, endpoint):
    from tests.flows.test_cli import asked

    _, _, words = bench
    before = asked(endpoint)
    pairwright(*words[:-3], words[-3].with_name("again"), *words[-2:])
    assert asked(endpoint) == before


def test_a_users_mistakes_are_one_line(bench, tmp_path):
    folder, _, _ = bench
    out = ("--out", tmp_path / "out", "--cache", tmp_path / "cache")
    assert "unknown judge step 'x'" in pairwright(
        "judge-bench", folder / "judge.yaml", folder / "pairs.jsonl", "--step", "x", *out, code=2
    )
    assert not (tmp_path / "out").exists()
    assert "does not exist" in pairwright("judge-bench", folder / "judge.yaml", tmp_path / "none.jsonl", *out, code=2)
    assert not (tmp_path / "out").exists()  # the next try, with another file, may have the folder


def test_rankings_scores_and_ties_of_people_are_read_too(bench, endpoint):
    folder, _, _ = bench
    asked = {"instruction": "what is it ?", "image_path": "0.jpg", "original_dataset": "coco"}
    sets = {
        "score": [asked | {"name": "m", "answer": f"it is {i} .", "human": i % 5 + 1, "image_path": f"{i}.jpg"} for i in range(8)],
        "pair": [asked | {"answer1": {"answer": f"a{i}"}, "answer2": {"answer": f"b{i}"}, "human_answer": "ABC"[i % 3], "image_path": f"{i}.jpg"}
                 for i in range(6)],
        "batch": [asked | {"answers": [{"answer": f"{w}{i}"} for w in "abc"], "human_answer": "CAB", "image_path": f"{i}.jpg"} for i in range(4)],
    }  # fmt: skip
    expected = {"score": ("scores", 8), "pair": ("accuracy_with_ties", 6), "batch": ("rank_distance", 4)}
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        out = folder / f"out-{name}"
        pairwright(
            "judge-bench", folder / "judge.yaml", folder / f"{name}.jsonl", "--out", out, "--cache", folder / "cache"
        )
        figure, n = expected[name]
        assert read_json(Path(out) / "judge-bench.json")["categories"]["coco"][figure]["n"] == n


def test_a_judge_of_pairs_is_asked_both_ways_round_and_its_habits_are_counted(bench, endpoint):
    folder, _, _ = bench
    models = {"m": {"engine": "openai", "model": "scripted", "base_url": endpoint}}
    steps = [JURY["steps"][0], {"make.sample": {"model": "m"}}, {"judge.pairwise": {"model": "m"}}]
    (folder / "pairwise.yaml").write_text(yaml.safe_dump({"name": "pairwise", "models": models, "steps": steps}))
    out = folder / "out-pairwise"
    pairwright(
        "judge-bench", folder / "pairwise.yaml", folder / "pairs.jsonl", "--out", out, "--cache", folder / "cache"
    )
    found = read_json(out / "judge-bench.json")
    slips = [r for b in executor.reopen(out).tables().batches("judgements") for r in from_batch("judgements", b)]
    said = {(s.items, s.order): s.value for s in slips if s.value is not None}
    first = [value > 0 if order == 0 else value < 0 for (_, order), value in said.items() if value]
    both = [(said[items, 0], said[items, 1]) for items, order in said if order == 0 and (items, 1) in said]
    worth = found["worth"]
    assert (worth["shown_first"]["n"], worth["shown_first"]["share"]) == (
        len(first),
        pytest.approx(sum(first) / len(first), abs=1e-4),
    )
    assert worth["contradicted"]["n"] == len(both) > 20
    assert worth["contradicted"]["share"] == pytest.approx(sum(a * b < 0 for a, b in both) / len(both), abs=1e-4)


def test_the_demos_judge_on_pairs_of_scenes(tmp_path):
    """The real model finds most of the better answers, claim by claim."""
    bench_pairs.write(tmp_path / "set", 24)
    path = tmp_path / "set" / bench_pairs.NAME
    out = tmp_path / "out"
    pairwright("judge-bench", "demo", path, "--step", "claims", "--out", out, "--cache", tmp_path / "cache")
    found = read_json(out / "judge-bench.json")["categories"]
    assert {name: of["pairs"] for name, of in found.items()} == {
        "image": 7,
        "multi_image": 7,
        "video": 5,
        "audio": 5,
        "all": 24,
    }
    assert found["all"]["read"]["share"] == 1
    assert found["all"]["accuracy"]["share"] > 0.75
    lengths = [
        [len(row[side].split()) for side in ("chosen", "rejected")]
        for row in map(json.loads, path.read_text().splitlines())
    ]
    longer = sum((a > b) + (a == b) / 2 for a, b in lengths) / 24
    assert found["all"]["longer"]["share"] == pytest.approx(longer, abs=1e-4)
