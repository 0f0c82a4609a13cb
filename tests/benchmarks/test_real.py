"""The run is `make real`; here its prompts, its recipe and its tables."""

import json

import yaml

from benchmarks import real as bench
from flows.planning import load

SIZES = {"pictures": 4, "photos": 2, "questions": 4, "instructions": 8, "pairs": 4, "held": 20}


def rows(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_prompts_are_the_same_each_time_and_held_rows_are_others(tmp_path):
    for name in ("one", "two"):
        bench.write_prompts(tmp_path / name, SIZES)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted([*(f"{i}.png" for i in range(4)), *(f"{name}.jsonl" for name in (*SIZES,)[1:])])
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    learnt = {
        row["prompt"] for name in ("questions", "instructions") for row in rows(tmp_path / "one" / f"{name}.jsonl")
    }
    held = [row["prompt"] for row in rows(tmp_path / "one" / "held.jsonl")]
    assert len(learnt) == 4 + 8
    assert len(set(held)) == 20
    assert learnt.isdisjoint(held)


def test_the_known_answer_is_the_number_of_the_day_that_is_asked_about():
    for i in range(20):
        row = bench.question(bench.random.Random(i))
        told, asked = row["prompt"].rsplit(". ", 1)
        day = "Monday" if "Monday" in asked else "Friday"
        (number,) = [words.split()[0] for words in told.partition(" sold ")[2].split(" and ") if day in words]
        assert row["answer"] == number


def test_the_recipe_asks_every_kind_of_judge_with_the_model_of_the_recipe_real(tmp_path):
    bench.write_prompts(tmp_path, SIZES)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(bench.recipe(tmp_path, SIZES)))
    tiny = "models.policy.model=data/models/tiny"
    made = load.checked(load.document(str(tmp_path / "own.yaml"), [tiny]))
    assert {s.name for s in made.steps if s.family == "judge"} == {"truth", *bench.JUDGES}
    assert made.models == load.checked(load.document("real", [tiny])).models


def test_a_figure_that_a_judge_does_not_have_is_a_dash():
    claims = {"parse_rate": 0.957, "judgements": 23, "agreement_with_truth": {}} | dict.fromkeys(bench.FIGURES)
    assert bench.judges({"claims": claims})[2] == "| claims | 0.96 of 23 | - | - | - | - | - |"
    one = {"recall": {"value": 0.5, "low": 0.4, "high": 0.625}}
    assert bench.evaluated("rows", one, one) == ["| rows: recall | 0.50 (0.40 to 0.62) | 0.50 (0.40 to 0.62) |"]
