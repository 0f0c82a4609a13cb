"""Recipes with secrets in them: a run goes on, and its folder does not have them. tests/faults/secrets.py goes the whole way."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from flows.commands import rejudge
from flows.runs import executor, shards
from flows.runs.worker import _Cleaned
from pipeline.storage.urls import variables
from schemas.errors import EngineError, InputError, PairwrightError
from tests.faults.secrets import web
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

SIGNATURE = "4d9f1c7e2b8a"
ROWS = "\n".join(json.dumps({"prompt": f"what is on page {i} ?"}) for i in range(6)).encode()
TINY = Path(__file__).parents[2] / "data" / "models" / "tiny"


@pytest.fixture
def signed():
    """The address of rows that are given only to those who have the signature."""
    with web(ROWS, lambda asked: asked.get("sig") == [SIGNATURE]) as address:
        yield f"{address}/rows.jsonl?sig={SIGNATURE}"


def document(path: str, **model) -> dict:
    return {
        "name": "signed",
        "models": {"policy": {"engine": "openai", "model": "scripted", "slots": 4, **model}},
        "steps": [
            {"source.rows": {"path": path, "fetch": {"allow_private": ["127.0.0.1"]}}},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 16}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
        ],
    }


def built(raw: dict, folder: Path) -> executor.Run:
    run = executor.open_document(raw, out=folder / "out", cache=folder / "cache")
    completed(run)
    return run


def left(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((folder / "out").rglob("*.arrow"))}


@pytest.mark.engine
def test_a_child_gets_the_recipe_that_its_folder_does_not_have(signed, tmp_path):
    raw = document(signed)
    raw["models"] = {"policy": {"engine": "vllm", "model": str(TINY), "max_model_len": 2048}}
    raw["steps"][2:] = []
    assert sum(b.num_rows for b in built(raw, tmp_path).tables().batches("candidates")) == 12
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and SIGNATURE.encode() in p.read_bytes()]


def test_without_the_recipe_a_run_says_what_it_lacks(signed, tmp_path):
    with served(Endpoint()) as url:
        built(document(signed, base_url=url), tmp_path)
    for _ in range(2):  # also when it was looked at before
        with (
            contextlib.closing(executor.resume(tmp_path / "out")) as run,
            pytest.raises(InputError, match=r"does not store the secrets of the recipe in rows; .*ROWS_URL"),
        ):
            rejudge.rejudge(run)


def test_a_variable_in_a_path_keeps_the_recipe_whole(signed, tmp_path, monkeypatch):
    monkeypatch.setenv("ROWS_URL", signed)
    endpoint = Endpoint()
    with served(endpoint) as url:
        raw = document("${ROWS_URL}", base_url=url)
        built(raw, tmp_path)
        before, asked = left(tmp_path), endpoint.answered
        monkeypatch.setenv("ROWS_URL", f"{signed}&Expires=9999999999")
        built(raw, tmp_path)
        assert (left(tmp_path), endpoint.answered) == (before, asked)
    assert shards.read_json(tmp_path / "out" / "run.json")["recipe"] == raw
    with contextlib.closing(executor.resume(tmp_path / "out")) as run:
        assert not rejudge.rejudge(run).changed
    monkeypatch.delenv("ROWS_URL")
    with (
        contextlib.closing(executor.resume(tmp_path / "out")) as run,
        pytest.raises(InputError, match="ROWS_URL, which is not set"),
    ):
        rejudge.rejudge(run)


def test_the_variables_of_a_recipe_are_those_of_its_paths():
    assert variables({"path": "https://${HOST}/x", "media_root": "${ROOT}", "prompt": "what is ${this} ?"}) == {
        "HOST",
        "ROOT",
    }
    assert variables({"path": ["${A}", "b"], "sets": {"one": "${B}", "two": {"path": "${C}"}}}) == {"A", "B", "C"}


def test_a_folder_that_has_a_signature_from_before_loses_it_and_goes_on(signed, tmp_path):
    endpoint = Endpoint()
    with served(endpoint) as url:
        raw = document(signed, base_url=url)
        built(raw, tmp_path)
        asked = endpoint.answered
        place = tmp_path / "out" / "run.json"
        older = json.loads(place.read_text()) | {"recipe": raw}
        place.write_text(json.dumps({name: of for name, of in older.items() if name not in ("withheld", "checksum")}))
        with contextlib.closing(executor.resume(tmp_path / "out")) as run:
            assert all(executor.run_all(run))
        assert SIGNATURE not in place.read_text()
        assert endpoint.answered == asked


def test_a_recipe_without_secrets_is_kept_as_it_is(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(ROWS)
    with served(Endpoint()) as url:
        raw = document(str(tmp_path / "rows.jsonl"), base_url=url)
        built(raw, tmp_path)
    known = shards.read_json(tmp_path / "out" / "run.json")
    assert known["recipe"] == raw
    assert "withheld" not in known


def test_what_a_library_prints_in_the_child_holds_no_secrets(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "aardvark-buffalo-cheetah")
    log = io.StringIO()
    stream = _Cleaned(log)
    for piece in ("GET https://u:p4ss", "word@h/x\nkey aardvark-", "buffalo-cheetah\n", "half a line"):
        stream.write(piece)
    assert log.getvalue() == "GET https://h/x\nkey ***\n"


def test_prefect_sees_an_error_without_what_caused_it():
    from flows.build import hide_foreign_errors

    def fails(error: Exception) -> None:
        with hide_foreign_errors():
            try:
                raise ValueError("GET https://u:p4ssword@h/x")
            except ValueError as cause:
                raise error from cause

    with pytest.raises(EngineError, match="it does not answer") as ours:
        fails(EngineError("it does not answer"))
    with pytest.raises(PairwrightError, match=r"KeyError: 'https://h/x'") as theirs:
        fails(KeyError("https://u:p4ssword@h/x"))
    assert (ours.value.__cause__, theirs.value.__cause__) == (None, None)
