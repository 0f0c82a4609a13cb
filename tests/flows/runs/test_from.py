"""`from: SOURCE` filters samples: in one pass or several, also after a prompt step has rewritten them."""

import json

import pytest

from flows.planning import load
from flows.runs import executor
from schemas.errors import RecipeError
from tests.support.recipe_runs import completed, rows

ANSWERS = {"make.reference": {"name": "answers"}}
REWRITTEN = {"prompt.template": {"name": "rewritten", "templates": ["{prompt} now ?"], "where": "has_answer"}}


def source(folder, name: str, words: list[str]) -> dict:
    """A source of one row per word; the first has a known answer."""
    path = folder / f"{name}.jsonl"
    rows = [
        {"prompt": f"say {word}", "reference": word, "answer": word if n == 0 else None} for n, word in enumerate(words)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return {"source.rows": {"name": name, "path": str(path)}}


def build(folder, *steps):
    run = executor.open_document({"name": "x", "steps": list(steps)}, out=folder / "out", cache=folder / "cache")
    completed(run)
    return run


def judged(run, step: str) -> set[str]:
    answers = {c.id: c.text for c in rows(run, "candidates")}
    return {answers[j.items[0]] for j in rows(run, "judgements") if j.step == step}


@pytest.mark.parametrize("between", [[], [{"filter.duplicates": {"likeness": 1}}]], ids=["one pass", "two passes"])
def test_a_step_from_a_source_takes_its_samples_alone(tmp_path, between):
    run = build(
        tmp_path, source(tmp_path, "a", ["one", "two"]), source(tmp_path, "b", ["red", "blue", "two"]), REWRITTEN, *between, ANSWERS,
        {"judge.length": {"name": "of_a", "from": "a"}},
        {"judge.length": {"name": "of_b", "from": "b"}},
        {"judge.length": {"name": "of_both", "from": ["a", "b", "answers"]}},
        {"judge.length": {"name": "of_rewritten", "from": ["rewritten"]}},
    )  # fmt: skip
    # "two" is in both: it is a sample of the first
    assert judged(run, "of_a") == {"one", "two"}
    assert judged(run, "of_b") == {"red", "blue"}
    assert judged(run, "of_both") == {"one", "two", "red", "blue"}
    assert judged(run, "of_rewritten") == {"one", "red"}


def test_a_source_that_gave_no_sample_is_refused_when_the_step_has_run(tmp_path):
    steps = (
        source(tmp_path, "a", ["one", "two"]), source(tmp_path, "b", ["two"]), ANSWERS,
        {"judge.length": {"name": "of_b", "from": ["b"]}},
    )  # fmt: skip
    for _ in range(2):  # also when its shards are there already
        with pytest.raises(
            RecipeError, match="of_b: `from: b` matches none of the 2 samples that reach it; samples are of a, b;"
        ):
            build(tmp_path, *steps)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"judge.length": {"from": "kept"}}, "length: `from: kept` matches nothing: kept leaves no rows, and judge.length looks at "
         "candidates and samples; name one of rows, again, sample"),
        ({"make.reference": {"from": "sample"}}, "reference: `from: sample` matches nothing: sample leaves candidates, and make.reference "
         "looks at samples; name one of rows, again"),
        ({"filter.duplicates": {"from": "rows"}}, "duplicates: filter.duplicates takes the rows of all steps, so `from: rows` selects nothing"),
        ({"source.rows": {"name": "more", "path": "x.jsonl", "from": "rows"}}, "more: source.rows reads files, so `from: rows` selects nothing"),
    ],
)  # fmt: skip
def test_a_from_that_can_match_nothing_is_refused_when_the_recipe_is_opened(step, words):
    sources = [{"source.rows": {"name": name, "path": "x.jsonl"}} for name in ("rows", "again")]
    steps = [
        *sources,
        {"filter.licence": {"name": "kept", "allow": ["CC0-1.0"]}},
        {"make.reference": {"name": "sample"}},
        step,
    ]
    with pytest.raises(RecipeError) as refused:
        load.checked({"name": "x", "steps": steps})
    assert words in str(refused.value)
