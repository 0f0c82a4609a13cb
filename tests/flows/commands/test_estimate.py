"""What `pairwright estimate` says against what is then asked: by the scripted endpoint, and by the tiny model in vLLM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.commands.estimate import estimate
from flows.runs import executor
from flows.runs.shards import read_json
from pipeline.storage.answer_cache import AnswerCache
from schemas.errors import OutputError, RecipeError
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import completed

NOWHERE = "http://127.0.0.1:9/v1"  # who asks it fails


@pytest.fixture(scope="module")
def url():
    with served(Endpoint()) as url:
        yield url


def written(folder, steps, url=NOWHERE, rows=40, **more):
    (folder / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "what is number {i} ?", "reference": "it is {i}"}}\n' for i in range(rows))
    )
    scripted = {"engine": "openai", "model": "scripted", "base_url": url}
    models = {"policy": scripted | more, "judge": scripted | {"revision": "2"}}
    path = folder / "small.yaml"
    source = {"source.rows": {"path": str(folder / "rows.jsonl")}}
    path.write_text(yaml.safe_dump({"name": "small", "models": models, "steps": [source, *steps]}))
    return str(path)


def build(path, folder, *settings, out="out") -> dict:
    run = executor.open_run(path, settings, out=folder / out, cache=folder / "cache")
    return completed(run)


def told(found) -> dict[str, dict]:
    return {row.step: row.usage for row in found.rows}


SAMPLE = {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}}
RATE = {"judge.pointwise": {"model": "judge", "media": False}}


def test_requests_are_those_of_the_run_and_nobody_is_asked(tmp_path, url):
    price = {"prompt": 2.5, "answer": 10, "request": 0.5}
    found = estimate(written(tmp_path, [SAMPLE, RATE], price=price), cache=tmp_path / "cache")
    assert (found.samples, found.tried) == (40, 40)
    usage = told(found)
    assert (usage["sample"]["asked"], usage["pointwise"]["asked"]) == (40, 40)
    assert usage["sample"]["most_answer_tokens"] == 40 * 3 * 32
    assert usage["sample"]["answer_tokens"] == pytest.approx(40 * 3 * 8, rel=0.1)  # a quarter of 32
    # "what is number 7 ?" has 18 characters, of two digits 19: 5 tokens, and 4 around the turn
    assert usage["sample"]["prompt_tokens"] == 40 * (5 + 4)
    assert usage["sample"]["seconds"] is None
    money = found.rows[0].money
    tokens = 2.5 * 360 + 10 * usage["sample"]["answer_tokens"]
    assert money["spent"] == pytest.approx(tokens / 1e6 + 40 * 0.5)
    assert money["most"] == pytest.approx((2.5 * 360 + 10 * 3840) / 1e6 + 40 * 0.5)
    assert found.rows[1].money is None
    asked = build(written(tmp_path, [SAMPLE, RATE], url), tmp_path)["steps"]
    assert asked["sample"]["models"]["policy"]["asked"] == 40
    assert asked["pointwise"]["models"]["judge"]["asked"] == 40


def test_after_a_part_of_the_rows_was_asked_lengths_and_time_are_measured(tmp_path, url):
    build(written(tmp_path, [SAMPLE, RATE], url, rows=25), tmp_path)
    found = estimate(written(tmp_path, [SAMPLE, RATE], rows=200), cache=tmp_path / "cache")
    usage = told(found)
    assert [(usage[step]["asked"], usage[step]["cached"]) for step in usage] == [(175, 25), (175, 25)]
    asked = build(written(tmp_path, [SAMPLE, RATE], url, rows=200), tmp_path, out="more")["steps"]
    for step, model in (("sample", "policy"), ("pointwise", "judge")):
        real = asked[step]["models"][model]
        assert real["asked"] == 175
        assert usage[step]["answer_tokens"] == pytest.approx(real["answer_tokens"], rel=0.1)
        assert usage[step]["seconds"] > 0
    assert not any("guess" in note or "cannot be known" in note for note in found.notes)


def test_when_all_is_there_nothing_will_be_asked(tmp_path, url):
    path = written(tmp_path, [SAMPLE, RATE], url)
    build(path, tmp_path)
    found = estimate(path, cache=tmp_path / "cache")
    assert [(row.usage["asked"], row.usage["cached"]) for row in found.rows] == [(0, 40), (0, 40)]
    assert found.notes == []


def test_nothing_is_added_to_the_answers_and_no_folder_is_left(tmp_path, url):
    path = written(tmp_path, [SAMPLE, RATE], url)
    estimate(path, cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    cache = AnswerCache(tmp_path / "cache" / "answers.sqlite")
    assert cache.measured() == {}
    cache.close()
    assert build(path, tmp_path)["questions_cached"] == 0


def test_of_many_samples_some_are_tried_and_the_rest_is_extrapolated(tmp_path):
    found = estimate(written(tmp_path, [SAMPLE, RATE], rows=700), cache=tmp_path / "cache", samples=50)
    assert (found.samples, found.tried) == (700, 50)
    usage = told(found)
    assert (usage["sample"]["asked"], usage["pointwise"]["asked"]) == (700, 700)
    assert found.notes[0] == "50 of 700 samples were tried, chosen by their ids; the figures are extrapolated"


def test_filters_before_the_first_answer_see_all_samples(tmp_path):
    steps = [{"filter.subsample": {"n": 300, "weights": {"long": 0, "short": 1, "mcq": 0}}}, SAMPLE]
    found = estimate(written(tmp_path, steps, rows=700), cache=tmp_path / "cache", samples=50)
    assert (found.samples, found.tried) == (300, 50)
    assert told(found)["sample"]["asked"] == 300


def test_made_up_answers_have_the_layout_that_their_operator_reads(tmp_path, url):
    rewrite = {"make.rewrite": {"model": "judge", "kind": "inject", "name": "inject"}}
    split = {"judge.claims": {"model": "policy", "splitter": {"split.model": {"model": "judge"}}}}
    steps = [{"make.reference": {}}, rewrite, split]
    found = estimate(written(tmp_path, steps), cache=tmp_path / "cache")
    usage = {(row.step, row.model): row.usage for row in found.rows}
    assert usage["inject", "judge"]["asked"] == 40
    # of the reference and of the rewritten answer: its facts, and their questions
    assert usage["claims", "judge"]["asked"] == 40 * 2 * 2
    assert usage["claims", "policy"]["asked"] >= 40 * 2
    assert not any("could not be parsed" in note for note in found.notes)


def test_what_made_up_answers_cannot_tell_is_said(tmp_path, monkeypatch):
    (tmp_path / "own.txt").write_text("Spoil this: {answer}")  # shows no layout
    spoil = {
        "make.rewrite": {"model": "judge", "kind": "inject", "prompt": str(tmp_path / "own.txt"), "temperature": 0}
    }
    people = {"judge.people": {"task": "ratings"}}
    after = {"evaluate.scenes": {"name": "after", "model": "policy", "n": 2, "questions": 1}}
    path = written(tmp_path, [{"make.reference": {}}, spoil, people, "score.consensus", after])
    found = estimate(path, cache=tmp_path / "cache")
    assert {row.step: row.usage["asked"] for row in found.rows} == {"rewrite": 40, "after": 4 * 2 * 2}
    unread = "rewrite: most simulated answers could not be parsed; it may send fewer requests, and later steps more"
    assert unread not in found.notes
    assert "steps after human annotation are not included in the estimate" in found.notes
    monkeypatch.delattr("pipeline.make.rewrite.example")  # as in an operator of whose replies nobody told the layout
    assert unread in estimate(path, cache=tmp_path / "cache").notes


def test_mistakes_are_those_of_a_build(tmp_path, url):
    path = written(tmp_path, [SAMPLE], url)
    with pytest.raises(RecipeError, match="unknown step 'samples'"):
        estimate(path, ["samples.n=3"], cache=tmp_path / "cache")
    build(path, tmp_path)
    with pytest.raises(OutputError, match="holds a run of another recipe"):
        estimate(path, ["sample.n=4"], cache=tmp_path / "cache", out=tmp_path / "out")


def test_the_command_says_it_in_a_table(tmp_path):
    path = written(tmp_path, [SAMPLE, RATE], price={"answer": 10, "currency": "EUR"})
    command = [sys.executable, "-m", "flows.cli", "estimate", path, "sample.n=2", "--cache", str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    # 40 requests of 9 tokens; 2 answers each of 32 tokens at most, that is 2,560, which come to 0.0256 EUR
    (sample,) = (line for line in lines if line[:2] == ["sample", "policy"])
    assert sample[2:5] == ["40", "0", "360"]
    assert (sample[6], sample[-1]) == ("2.56k", "0.026")
    assert "EUR" in done.stdout
    assert "policy, judge: media are NOT counted" not in done.stdout
    assert "the time is unknown" in done.stdout


RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("make_*.yaml")))
def test_of_the_sample_recipes_of_makers_requests_are_those_of_the_run(name, tmp_path, url):
    prompts = [f"what is on page {i} ?" for i in range(16)]
    reference = "A red cup stands on page {}. A cat sleeps beside it. The sun is out."
    for i in range(16):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
    rows = [{"prompt": p, "image": f"{i}.jpg", "reference": reference.format(i)} for i, p in enumerate(prompts)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "structured.txt").write_text("Say first what is in front, then answer: {question}")
    path = RECIPES / f"{name}.yaml"
    document = yaml.safe_load(path.read_text())
    settings = [f"models.{model}.base_url={url}" for model in document["models"]]
    if any("source.rows" in step for step in document["steps"]):
        settings.append(f"rows.path={tmp_path / 'rows.jsonl'}")
    if name == "make_stic":
        settings.append(f"good.prompt={tmp_path / 'structured.txt'}")
    found = estimate(str(path), settings, cache=tmp_path / "cache")
    steps = build(str(path), tmp_path, *settings)["steps"]
    for row in found.rows:
        real = steps[row.step]["models"][row.model]
        # of rewritten answers the scripted server forgets the fence of one in eight, and is asked once more
        assert row.usage["asked"] <= real["asked"] <= row.usage["asked"] * 1.5, row.step
        assert row.usage["media"] <= real["media"] <= row.usage["media"] * 1.5, row.step
    assert {row.step for row in found.rows} == set(steps)


# the tiny model in vLLM

DEMO = ["scenes.n=60", "before.n=12", "after.n=12", "control.n=12", "train.epochs=1", "shuffled.epochs=1", "sample.n=4"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Estimates of the demo, small, before any answer was there, after some were there, and after all; and the run."""
    folder = tmp_path_factory.mktemp("demo")
    cache, out = folder / "cache", folder / "out"
    blind = estimate("demo", DEMO, cache=cache)
    first = executor.open_run("demo", [*DEMO, "sample.share=0.3"], out=folder / "part", cache=cache)
    for unit in first.units[:2]:  # answers, judgements and pairs; the evaluation before training
        first.complete(unit)
    first.close()
    (done,) = (folder / "part" / "passes").glob("*/done.json")
    begun = estimate("demo", DEMO, cache=cache), read_json(done)["usage"]["sample"]["policy"]["asked"]
    run = executor.open_run("demo", DEMO, out=out, cache=cache)
    summary = completed(run)
    return blind, begun, estimate("demo", DEMO, cache=cache, out=out), summary


def test_of_the_demo_requests_are_exact_where_they_hang_on_no_answer(demo):
    blind, _, _, summary = demo
    usage = told(blind)
    assert usage["sample"]["asked"] == 60
    # 12 prompts of four media: the answer and a question each
    assert [usage[step]["asked"] for step in ("before", "after", "control")] == [96, 96, 96]
    for step in ("after", "control"):
        (real,) = summary["steps"][step]["models"].values()
        assert usage[step]["asked"] == real["asked"]
        assert usage[step]["media"] == real["media"]
    assert any("media are NOT counted" in note for note in blind.notes)


def test_of_the_demo_tokens_and_time_are_measured_once_some_were_asked(demo):
    _, (begun, there), _, summary = demo
    usage = told(begun)
    assert 10 < there < 26  # of 60, three in ten
    assert (usage["sample"]["asked"], usage["sample"]["cached"]) == (60 - there, there)
    assert (usage["before"]["asked"], usage["before"]["cached"]) == (0, 96)
    # lengths are those of some 18 samples: of a few tokens, with a standard error of a tenth
    for step in ("sample", "after", "control"):
        (real,) = summary["steps"][step]["models"].values()
        assert usage[step]["asked"] == real["asked"], step
        assert usage[step]["prompt_tokens"] == pytest.approx(real["prompt_tokens"], rel=0.02), step
        assert usage[step]["answer_tokens"] == pytest.approx(real["answer_tokens"], rel=0.3), step
        assert real["seconds"] / 5 < usage[step]["seconds"] < real["seconds"] * 5, step
    # claims hang on answers that are simulated, many of which state nothing
    (real,) = summary["steps"]["claims"]["models"].values()
    assert real["asked"] / 3 < usage["claims"]["asked"] < real["asked"] * 3


def test_of_the_demo_nothing_is_asked_again(demo):
    _, _, again, summary = demo
    assert all(row.usage["asked"] == 0 for row in again.rows)
    assert {row.step: row.usage["cached"] for row in again.rows} == {
        step: sum(usage["asked"] + usage["cached"] for usage in of["models"].values())
        for step, of in summary["steps"].items()
    }
    assert again.notes == ["training sends no requests; its time is not included"]
