"""Replies read again, where neither a model nor a server is left."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from annotators.judge import _parse, pairwise
from flows import cli
from flows.commands import rejudge
from flows.runs import executor
from schemas import prompts
from schemas.arrow import from_batch
from schemas.errors import EngineError, OutputError
from schemas.finish import FIRST
from schemas.records import Outcome
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

COUNT = 24


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"what is on page {i} ?"}) for i in range(COUNT)))
    return path


def document(rows_file, url: str, **judge) -> dict:
    return {
        "name": "judged",
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url, "slots": 8, "retries": 0}},
        "steps": [
            {"source.rows": {"path": str(rows_file)}},
            {"make.sample": {"model": "policy", "n": 3, "max_tokens": 16}},
            {"judge.pairwise": {"model": "policy", "reason": True, **judge}},
            {"score.consensus": {}},
            {"pair.judged": {}},
        ],
    }


def built(tmp_path, raw: dict, **faults) -> tuple[executor.Run, Endpoint]:
    """The run, finished, and the server, which is gone."""
    endpoint = Endpoint(**faults)
    with served(endpoint) as url:
        raw["models"]["policy"]["base_url"] = url
        return build(tmp_path, raw), endpoint


def build(tmp_path, raw: dict) -> executor.Run:
    run = executor.open_document(raw, out=tmp_path / "run", cache=tmp_path / "cache")
    completed(run)
    return run


def slips(run, step: str = "pairwise") -> list:
    return [s for b in run.tables().batches("judgements") for s in from_batch("judgements", b) if s.step == step]


def said(run) -> dict:
    return {(s.items, s.order): (s.outcome, s.value) for s in slips(run)}


def release(monkeypatch, preference) -> None:
    """A new version of the parser."""
    monkeypatch.setattr(_parse, "preference", preference)
    monkeypatch.setattr(pairwise, "VERSION", pairwise.VERSION + 1)


read = _parse.preference


def generous(text, tie=True):
    """Takes words that the parser cannot read for a tie."""
    return _parse.ParsedReply(Outcome.TIE, 0.0) if text == "Both have something." else read(text, tie)


def strict(text, tie=True):
    """Takes no verdict for the second answer."""
    found = read(text, tie)
    return _parse.ParsedReply(Outcome.UNPARSABLE) if found.value == -1 else found


def test_a_more_tolerant_parser_mends_a_run_without_its_server(tmp_path, rows_file, monkeypatch):
    raw = document(rows_file, "")
    run, endpoint = built(tmp_path, raw)
    before, old = said(run), slips(run)
    assert Outcome.UNPARSABLE in {s.outcome for s in old}
    assert {s.attempt for s in old} == {0, 1}
    asked = endpoint.questions.total()

    unchanged = rejudge.rejudge(executor.reopen(run.folder))
    assert not unchanged.changed
    assert unchanged.same["pairwise"] == len(before)
    assert unchanged.left is None

    release(monkeypatch, generous)
    found = rejudge.rejudge(executor.reopen(run.folder))
    after = build(tmp_path, raw)  # the server is gone: what rejudge left is taken as it is
    now = said(after)
    assert endpoint.questions.total() == asked
    assert now.keys() == before.keys()
    changed = Counter((before[key], now[key]) for key in now if now[key] != before[key])
    assert changed
    # what was not readable at first is a tie now, whatever the second try said: it is not looked at
    assert {new for _, new in changed} == {("tie", 0.0)}
    assert (
        found.changed["pairwise", "unparsable", "tie"]
        == sum(n for (was, _), n in changed.items() if was[0] == "unparsable")
        > 0
    )
    assert sum(found.changed.values()) == changed.total()
    assert found.same["pairwise"] == len(before) - changed.total()
    assert {s.raw.split(FIRST)[0] for s in slips(after) if s.outcome == "tie"} == {"Both have something."}
    assert "unparsable" not in {s.outcome for s in slips(after)}
    assert not rejudge.rejudge(executor.reopen(run.folder)).changed


def test_a_stricter_parser_asks_nobody_again(tmp_path, rows_file, monkeypatch):
    """Where it would ask once more and nobody can be asked, the first reply stays what it is, and unparsable."""
    raw = document(rows_file, "")
    run, endpoint = built(tmp_path, raw)
    before, asked = said(run), endpoint.questions.total()
    release(monkeypatch, strict)
    found = rejudge.rejudge(executor.reopen(run.folder))
    now = said(build(tmp_path, raw))
    assert endpoint.questions.total() == asked
    # the value is of the first item; the parser's own -1 is of the answer that was shown first
    lost = {key for key, was in before.items() if was == ("verdict", -1.0 if key[1] == 0 else 1.0)}
    assert {key for key in before if now[key] != before[key]} == lost
    assert {now[key] for key in lost} == {("unparsable", None)}
    assert found.changed == {("pairwise", "verdict", "unparsable"): len(lost)}


def test_what_failed_stays_failed(tmp_path, rows_file, monkeypatch):
    raw = document(rows_file, "")
    run, _ = built(tmp_path, raw, share=0.2, times=100, status=400, message="no")
    before = Counter(s.outcome for s in slips(run))
    assert before["failed"] > 0
    release(monkeypatch, generous)
    found = rejudge.rejudge(executor.reopen(run.folder))
    assert found.changed
    assert Counter(s.outcome for s in slips(build(tmp_path, raw)))["failed"] == before["failed"]


def test_a_prompt_that_was_changed_is_not_answered_by_old_words(tmp_path, rows_file):
    prompt = tmp_path / "own.txt"
    prompt.write_text(
        "Compare:\n{question}\nAnswer one:\n<<<\n{first}\n>>>\nAnswer two:\n<<<\n{second}\n>>>\n{verdict}"
    )
    raw = document(rows_file, "", prompt=str(prompt))
    run, _ = built(tmp_path, raw)
    place = run.unit_folder(run.units[0])
    there = sorted(p.name for p in place.iterdir())
    prompt.write_text(prompt.read_text().replace("Compare", "Weigh"))
    prompts.read.cache_clear()
    found = rejudge.rejudge(executor.reopen(run.folder))
    assert "was never sent" in found.left
    assert not found.changed
    assert sorted(p.name for p in place.iterdir()) == there


def test_only_a_run_that_judged_can_be_read_again(tmp_path, rows_file):
    with pytest.raises(OutputError, match="not the folder of a run"):
        rejudge.rejudge(executor.reopen(tmp_path))
    raw = document(rows_file, "http://127.0.0.1:9/v1")
    with pytest.raises(EngineError):
        build(tmp_path, raw)
    with pytest.raises(OutputError, match="no finished pass"):
        rejudge.rejudge(executor.reopen(tmp_path / "run"))


def test_the_command_says_what_changed(tmp_path, rows_file, monkeypatch):
    run, _ = built(tmp_path, document(rows_file, ""))
    release(monkeypatch, generous)
    shown = CliRunner().invoke(cli.app, ["rejudge", str(run.folder)]).output
    assert "unparsable -> tie" in shown
    assert "continues from here" in shown
    assert "144 judgements unchanged, 0 changed" in CliRunner().invoke(cli.app, ["rejudge", str(run.folder)]).output


@pytest.mark.engine
def test_no_model_need_be_on_disk(tmp_path, monkeypatch):
    """The tiny model of a finished run is gone; its answers are read again."""
    model = tmp_path / "model"
    pair, several = tmp_path / "pair.txt", tmp_path / "several.txt"
    pair.write_text("{first} or {second} ?")
    several.write_text("{answers}")
    shutil.copytree(Path(__file__).parents[3] / "data" / "models" / "tiny", model)
    raw = {
        "name": "gone",
        "models": {"policy": {"engine": "vllm", "model": str(model), "max_model_len": 4096, "limit_mm_per_prompt": {"image": 2, "video": 1, "audio": 1}}},
        "steps": [
            {"source.scenes": {"n": 4, "seed": 5}},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 24}},
            {"judge.pairwise": {"model": "policy", "reason": True, "max_tokens": 8, "prompt": str(pair)}},
            {"judge.listwise": {"model": "policy", "max_tokens": 48, "prompt": str(several)}},
        ],
    }  # fmt: skip
    run = build(tmp_path, raw)
    assert "failed" not in {s.outcome for name in ("pairwise", "listwise") for s in slips(run, name)}
    shutil.rmtree(model)
    release(monkeypatch, lambda text, tie=True: _parse.ParsedReply(Outcome.TIE, 0.0))
    found = rejudge.rejudge(executor.reopen(run.folder))
    assert found.left is None
    assert {now for _, _, now in found.changed} == {"tie"}
    assert found.same["listwise"] == len(slips(run, "listwise"))


def test_a_recipe_whose_settings_are_not_in_alphabetical_order_is_the_same_when_it_is_read_back(tmp_path):
    """Scenes are drawn by the order of their shares, so run.json keeps it."""
    raw = {
        "name": "order",
        "steps": [{"source.scenes": {"n": 12, "seed": 5, "shares": {"image": 2, "audio": 1}}}],
    }
    run = executor.open_document(raw, out=tmp_path / "out", cache=tmp_path / "cache")
    run.complete(run.units[0])
    run.close()
    before = [row for b in run.tables().batches("samples") for row in b["id"].to_pylist()]
    again = executor.resume(tmp_path / "out")
    again.complete(again.units[0])
    again.close()
    assert [row for b in again.tables().batches("samples") for row in b["id"].to_pylist()] == before
