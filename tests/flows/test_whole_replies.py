"""Servers that end answers early, think, call tools or give one answer whatever is asked, in whole runs."""

import json
from pathlib import Path

import pytest
import yaml

from flows.runs import executor
from schemas.arrow import from_batch
from tests.support.endpoint import Endpoint, served
from tests.support.media_files import png
from tests.support.recipe_runs import completed, rows

RATED = '{"ratings": [5, 2]}'


def run_of(folder: Path, endpoint: Endpoint, prompts: int, *steps) -> tuple[executor.Run, dict]:
    """(a run over so many prompts about one picture, its summary)."""
    (folder / "a.png").write_bytes(png())
    prompts = [{"prompt": f"What is shown, number {i} ?", "image": "a.png"} for i in range(prompts)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    with served(endpoint) as url:
        models = {"m": {"engine": "openai", "model": "m", "base_url": url, "retries": 0}}
        recipe = {
            "name": "r",
            "models": models,
            "steps": [{"source.rows": {"path": str(folder / "rows.jsonl")}}, *steps],
        }
        (folder / "r.yaml").write_text(yaml.safe_dump(recipe))
        run = executor.open_run(str(folder / "r.yaml"), out=folder / "out", cache=folder / "cache")
        return run, completed(run)


def saying(*texts: str, finish: str = "stop", judge: str = RATED, judge_finish: str = "stop", **message) -> Endpoint:
    """A server whose first answer of several ends with `finish` and has the fields `message`; to a judge it says `judge`."""

    def twist(body, said):
        asked = json.dumps(body["messages"])
        judging = "ratings" in asked or "square brackets" in asked
        texts_now = [judge] if judging else texts[: body["n"]]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
            for i, t in enumerate(texts_now)
        ]
        choices[0]["finish_reason"] = judge_finish if judging else finish
        if not judging:
            choices[0]["message"] |= message
        return {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 5}}

    return Endpoint(twist=twist)


STEPS = (
    {"judge.pointwise": {"model": "m", "name": "rate", "axis": "score", "order": "fixed"}},
    {"pair.best_worst": {"min_margin": 1}},
)
LONG = "The picture shows a red square on a white ground, and to the right of it there is a small"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"finish": "length"}, "truncated"), ({"finish": "tool_calls", "tool_calls": [{"id": "1"}]}, "tool_call"), ({"tool_calls": [{"id": "1"}]}, "tool_call"),
     ({"finish": "content_filter"}, "filtered"), ({"finish": "error"}, "unfinished")],
)  # fmt: skip
def test_an_answer_that_is_not_whole_is_not_chosen(tmp_path, fields, reason):
    endpoint = saying(LONG, "A blue dog.", judge='{"ratings": [5]}', **fields)
    run, summary = run_of(tmp_path, endpoint, 1, {"make.sample": {"model": "m", "n": 2, "max_tokens": 20}}, *STEPS)
    assert [c.text for c in rows(run, "candidates")] == ["A blue dog."]
    assert rows(run, "pairs") == []
    assert summary["rejections"]["sample"] == {reason: 1}


def test_it_is_chosen_where_such_answers_are_to_be_kept_and_the_report_counts_it(tmp_path):
    steps = {"make.sample": {"model": "m", "n": 2, "max_tokens": 20, "on_cut": "keep"}}, *STEPS
    run, summary = run_of(tmp_path, saying(LONG, "A blue dog.", finish="length"), 1, *steps)
    assert [p.chosen for p in rows(run, "pairs")] == [LONG]
    assert summary["cut_off"]["answers"] == {"sample": 1}
    assert "1 answer cut off and kept" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("fields", [{"reasoning_content": "Let me see."}, {"reasoning": "Let me see."}])
@pytest.mark.parametrize("content", ["", None])
def test_an_answer_whose_tokens_went_into_thinking_says_which_setting_to_raise(tmp_path, fields, content):
    endpoint = saying("", "A blue dog.", finish="length", judge='{"ratings": [5]}', **fields | {"content": content})
    run, _ = run_of(tmp_path, endpoint, 1, {"make.sample": {"model": "m", "n": 2, "max_tokens": 20}}, *STEPS)
    (gone,) = [r for r in rejections(run) if r.step == "sample"]
    assert gone.reason == "truncated"
    assert gone.detail.endswith("all 20 tokens of max_tokens went into thinking before an answer; raise max_tokens")


def rejections(run: executor.Run) -> list:
    return [row for batch in run.tables().batches("rejections") for row in from_batch("rejections", batch)]


def test_a_judge_that_is_cut_off_while_it_thinks_gives_no_verdict(tmp_path):
    thought = "<think>\nAt first sight the first one reads well, so [[1]] could be it. But it says two dogs, and I see one, so"
    endpoint = saying("There is one dog.", "There are two dogs.", judge=thought, judge_finish="length")
    steps = {"make.sample": {"model": "m", "n": 2}}, {"judge.pairwise": {"model": "m", "reason": True}}
    run, summary = run_of(tmp_path, endpoint, 1, *steps)
    judgements = rows(run, "judgements")
    assert [j.outcome for j in judgements] == ["unparsable", "unparsable"]
    for j in judgements:
        assert "max_tokens went into thinking before an answer; raise max_tokens" in j.raw
        assert j.raw.endswith(thought)
    assert summary["cut_off"]["replies"] == {"pairwise": 2}


def test_a_server_that_gives_one_answer_whatever_n_is_gives_four_a_prompt(tmp_path, caplog):
    def twist(body, said):
        return said | {
            "choices": [{"index": 0, "message": {"content": f"a dog, seed {body['seed']}"}, "finish_reason": "stop"}]
        }

    endpoint = Endpoint(twist=twist)
    endpoint.keep_bodies = True
    run, summary = run_of(tmp_path, endpoint, 6, {"make.sample": {"model": "m", "n": 4, "temperature": 1.0}})
    found = rows(run, "candidates")
    assert len({c.sample for c in found}) == 6
    assert len(found) == len({c.text for c in found}) == 24  # each with a seed of its own
    assert summary["rejections"] == {}
    seeds = [body["seed"] for body in endpoint.bodies]
    assert len(seeds) == len(set(seeds)) == 24
    assert caplog.text.count("one answer at a time") == 1
