"""Evaluation on rows: a scripted model, real rules and files."""

import asyncio
import json
import subprocess
import sys
from contextlib import closing

import pytest

from flows.planning import load
from flows.planning.bind import bind, build, version
from flows.reports.evaluations import verdicts
from flows.runs import executor
from pipeline.evaluate import rows
from pipeline.storage.media_store import open_store
from schemas.errors import EngineError, InputError, RecipeError
from schemas.operator import Context
from schemas.recipe import parse
from schemas.records import Reason, sample
from schemas.requests import Answer, Failure, Generated
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import jpeg
from tests.support.recipe_runs import completed
from tests.support.small_run import ListTables

TINY = {"engine": "vllm", "model": "data/models/tiny"}


class Scripted:
    """A model that answers each question with what `answers` says, a Failure as well."""

    identity, slots, can, media = "scripted@1", 8, frozenset({"Generate"}), frozenset({"image"})

    def __init__(self, answers: dict):
        self.answers, self.asked = answers, []

    async def ask(self, request):
        self.asked.append(request)
        said = self.answers[request.messages[-1].parts[-1].text]
        return (
            said
            if isinstance(said, Failure)
            else Generated((Answer(said, 1, "length" if said.endswith("...") else "stop"),), 1)
        )

    async def close(self):
        pass


def step_of(settings: dict):
    raw = {
        "name": "x",
        "models": {"m": TINY},
        "steps": [{"evaluate.rows": {"name": "before", "model": "m", **settings}}],
    }
    return bind(parse(raw)).steps[0]


def evaluated(folder, given: list[dict], answers: dict, samples=(), **settings):
    """(result, engine, lines of answers.jsonl)"""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, given)))
    bound, engine = step_of({"path": str(path), **settings}), Scripted(answers)
    with closing(open_store(folder / "media")) as store:
        context = build(bound, Context("before", "v", store, engines={"m": engine}, folder=folder))
        found = asyncio.run(rows.evaluate(ListTables({"samples": list(samples)}), bound.settings, context))
    return found, engine, [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def row(prompt: str, answer: str | None = None, **more) -> dict:
    return {"prompt": prompt, "answer": answer, **more}


def test_rows_with_and_without_media_are_answered_greedily_and_judged_by_the_rule(tmp_path):
    (tmp_path / "page.jpg").write_bytes(jpeg())
    given = [
        row("one ?", "4", answer_type="number"), row("two ?", "a cat"), row("three ?", "5", answer_type="number", image="page.jpg"),
        row("four ?", "no"), row("five ?"),
    ]  # fmt: skip
    answers = {"one ?": "it is 4", "two ?": "The cat.", "three ?": "6", "four ?": "no it is not ...", "five ?": "so"}
    found, engine, lines = evaluated(tmp_path, given, answers)
    assert all((request.temperature, request.n, request.max_tokens) == (0.0, 1, 512) for request in engine.asked)
    # right: 4, the cat and no, of four that have an answer; words 3, 2, 1, 5, 1
    assert (found["all"]["right"]["value"], found["all"]["words"]["value"]) == (0.75, 2.4)
    assert (found["text"]["right"]["value"], found["image"]["right"]["value"]) == (1.0, 0.0)
    assert {kind: found[kind]["rows"] for kind in ("all", "text", "image")} == {"all": 5, "text": 4, "image": 1}
    assert (found["all"]["cut_off"], found["all"]["seen"]) == (1, 0)
    assert [(line["answer"], line.get("right"), line["kind"]) for line in lines][:3] == [
        ("it is 4", 1.0, "text"), ("The cat.", 1.0, "text"), ("6", 0.0, "image"),
    ]  # fmt: skip
    assert lines[4]["judgements"] == [{"axis": "truth", "outcome": "abstain", "value": None, "raw": None}]


def test_an_answer_that_the_rule_cannot_read_is_not_right(tmp_path):
    answers = {"one ?": "it is 4 or 5", "two ?": "it is 4"}
    found, _, lines = evaluated(tmp_path, [row("one ?", "4"), row("two ?", "4")], answers)
    assert (found["all"]["right"]["value"], lines[0]["judgements"][0]["outcome"]) == (0.5, "unparsable")


def test_rows_that_cannot_be_used_are_counted_with_reasons(tmp_path):
    given = [
        row("one ?", "4"), row("", "4"), row("one ?", "4"), row("two ?", "many"), row("three ?", "4", image="gone.jpg"), row("long ?", "4"),
    ]  # fmt: skip
    answers = {"one ?": "4", "two ?": "4", "long ?": Failure(Reason.TOO_LONG, "the prompt has 9 tokens")}
    found, _, lines = evaluated(tmp_path, given, answers, rule="number")
    assert [(r.reason, r.detail.partition(":")[0]) for r in found["rejections"]] == [
        (Reason.EMPTY_PROMPT, "rows.jsonl#2"), (Reason.DUPLICATE, "rows.jsonl#3"), (Reason.MISSING_FILE, "rows.jsonl#5"),
        (Reason.BAD_ROW, "rows.jsonl#4"), (Reason.TOO_LONG, "rows.jsonl#6"),
    ]  # fmt: skip
    assert {r.table for r in found["rejections"]} == {"samples"}
    assert (found["all"]["rows"], len(lines)) == (1, 1)


def test_a_row_that_is_a_prompt_of_the_run_is_counted_and_stays_in_the_run(tmp_path):
    found, engine, _ = evaluated(
        tmp_path, [row("one ?", "4"), row("two ?", "4")], {"one ?": "4", "two ?": Failure(Reason.TOO_LONG, "x")}
    )
    known = [sample(request.messages) for request in engine.asked]
    found, _, _ = evaluated(
        tmp_path, [row("one ?", "4"), row("two ?", "4")], {"one ?": "4", "two ?": Failure(Reason.TOO_LONG, "x")}, known
    )
    assert found["all"]["seen"] == 1
    assert {r.id for r in found["rejections"]}.isdisjoint(s.id for s in known)


def test_rows_about_which_the_judge_knows_nothing_and_failing_servers_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="before: the judge knows nothing about any of the 1 rows; they need what it compares with"
    ):
        evaluated(tmp_path, [row("one ?")], {"one ?": "4"})
    with pytest.raises(
        InputError, match=r"before: none of the 1 rows can be used; the first: rows\.jsonl#1: the prompt is empty"
    ):
        evaluated(tmp_path, [row("", "4")], {})
    with pytest.raises(EngineError, match=r"cannot evaluate the model: rows\.jsonl#1: engine_failed: refused"):
        evaluated(tmp_path, [row("one ?", "4")], {"one ?": Failure(Reason.ENGINE_FAILED, "refused")})


def test_a_rule_is_a_short_name_of_its_judge():
    short, whole = (
        step_of({"path": "x", "rule": "number"}),
        step_of({"path": "x", "judge": {"judge.rule": {"kind": "number"}}}),
    )
    assert short.parts == whole.parts
    assert step_of({"path": "x", "rule": {"kind": "number", "tolerance": 0}}).parts[0].operator.settings.tolerance == 0
    assert step_of({"path": "x"}).parts[0].title == "judge.rule"
    assert step_of({"path": "x", "judge": {"judge.pointwise": {"model": "m"}}}).models == ("m",)
    for settings, words in (
        ({"rule": "number", "judge": "judge.length"}, "set either `rule` or `judge`"),
        ({"judge": "judge.people"}, "judge.people asks people, and here each row has one answer"),
        ({"rule": "nummer"}, "kind"),
    ):
        with pytest.raises(RecipeError, match=words):
            step_of({"path": "x"} | settings)


def test_other_rows_in_the_file_are_evaluated_anew(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row("one ?", "4")))
    key = lambda path: version(step_of({"path": path}), {"m": "one"})
    before, first = key(str(path)), key(f"{path}#1")
    path.write_text(json.dumps(row("one ?", "5")))
    assert key(str(path)) != before
    assert key(f"{path}#1") != first


def rated(body: dict, answer: dict):
    """The model `good` answers 4 to everything, the other one what the script says."""
    if body["model"] == "good":
        answer["choices"][0]["message"]["content"] = "4"
    return answer


def test_before_after_and_control_are_paired_in_a_run_on_rows(tmp_path):
    path = tmp_path / "held.jsonl"
    path.write_text(
        "\n".join(json.dumps(row(f"{i} and more ?", "4" if i % 2 else "nothing", tag=i)) for i in range(40))
    )
    with served(Endpoint(twist=rated)) as url:
        models = {name: {"engine": "openai", "model": name, "base_url": url, "slots": 8} for name in ("plain", "good")}
        steps = [
            {"evaluate.rows": {"name": name, "model": model, "path": str(path), "max_tokens": 32}}
            for name, model in (("before", "plain"), ("after", "good"), ("control", "plain"))
        ]
        run = executor.open_document(
            {"name": "x", "models": models, "steps": steps}, out=tmp_path / "out", cache=tmp_path / "cache"
        )
        summary = completed(run)
    found = summary["evaluate"]
    assert [found[name]["all"]["right"]["value"] for name in ("before", "after", "control")] == [0.0, 0.5, 0.0]
    change = summary["differences"]["after"]["right"]
    # by hand: 20 of 40 rows changed: .5 -+ 1.96 sqrt(.25 / 40) = .345 to .655
    assert change["value"] == 0.5
    assert (change["low"], change["high"]) == pytest.approx((0.345, 0.655), abs=0.03)
    assert summary["differences"]["control"]["right"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert summary["unread"]["before"] == {"held.jsonl": {"tag": 40}}
    (told,) = verdicts(summary)
    assert told.startswith("Training helped: right answers rose from 0.0% to 50.0%")


def test_a_model_that_judges_each_answer_by_itself_leaves_its_mean(tmp_path):
    path = tmp_path / "held.jsonl"
    path.write_text("\n".join(json.dumps(row(f"{i} and more ?")) for i in range(6)))
    with served(Endpoint()) as url:
        models = {"m": {"engine": "openai", "model": "scripted", "base_url": url, "slots": 8}}
        judge = {"judge.pointwise": {"model": "m", "media": False}}
        steps = [{"evaluate.rows": {"name": "before", "model": "m", "path": str(path), "judge": judge}}]
        run = executor.open_document(
            {"name": "x", "models": models, "steps": steps}, out=tmp_path / "out", cache=tmp_path / "cache"
        )
        found = completed(run)["evaluate"]["before"]
    lines = [json.loads(line) for line in (tmp_path / "out/steps/before/answers.jsonl").read_text().splitlines()]
    ratings = [line["rating"] for line in lines]
    assert len(ratings) == 6
    assert found["all"]["rating"]["value"] == pytest.approx(sum(ratings) / 6, abs=1e-4)
    assert "right" not in found["all"]


def test_rows_that_do_not_exist_are_refused_before_anything_runs(tmp_path):
    raw = {
        "name": "x",
        "models": {"m": TINY},
        "steps": [{"evaluate.rows": {"model": "m", "path": str(tmp_path / "gone.jsonl")}}],
    }
    with pytest.raises(InputError, match=r"gone\.jsonl does not exist"):
        executor.open_document(raw, out=tmp_path / "out", cache=tmp_path / "cache")
    load.checked(raw)  # `check` opens no file
    assert not (tmp_path / "out").exists()


@pytest.mark.engine
def test_the_command_evaluates_the_tiny_model_on_text_rows(tmp_path):
    path = tmp_path / "held.jsonl"
    given = [row("is a circle red ?", "no"), row("what is a cat ?", "cat"), row("", "x")]
    path.write_text("\n".join(map(json.dumps, given)))
    words = [
        "evaluate",
        "data/models/tiny",
        "--rows",
        path,
        "evaluate.max_tokens=8",
        "--out",
        tmp_path / "out",
        "--cache",
        tmp_path / "cache",
    ]
    done = subprocess.run([sys.executable, "-m", "flows.cli", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for text in ("evaluate: 1 empty_prompt", "held.jsonl#3: the prompt is empty", "right answers", "answers.jsonl"):
        assert text in done.stderr
    lines = [
        json.loads(line)
        for line in (tmp_path / "out" / "steps" / "evaluate" / "answers.jsonl").read_text().splitlines()
    ]
    assert [line["source"] for line in lines] == ["held.jsonl#1", "held.jsonl#2"]
    assert all(line["answer"] for line in lines)
