"""What an older version stored opens, shows, goes on, is judged again and comes back in, and no model is asked again."""

import contextlib
import json

import pyarrow.parquet as pq
import pytest

from flows.commands.import_pairs import import_set
from flows.commands.rejudge import rejudge
from flows.commands.show import show
from flows.reports.summary import finish
from flows.runs import executor, shards
from pipeline.dataset.read import read_examples
from tests.contracts import kept
from tests.support.endpoint import Endpoint, served

# as they were counted when the archive was made
COUNTS = {"samples": 10, "candidates": 30, "judgements": 30}
PAIRS = 10


@pytest.fixture
def folder(tmp_path):
    kept.unpack(tmp_path)
    return tmp_path


def live(run: executor.Run, table: str) -> int:
    return sum(batch.num_rows for batch in run.tables().batches(table))


def rows(folder) -> list:
    return [
        row for f in sorted((folder / "out" / "dataset").rglob("*.parquet")) for row in pq.read_table(f).to_pylist()
    ]


def test_its_rows_are_there(folder):
    run = executor.reopen(folder / "out")
    assert {table: live(run, table) for table in COUNTS} == COUNTS
    assert live(run, "pairs") == PAIRS


def test_it_shows(folder, capsys):
    show(folder / "out")
    said = " ".join(capsys.readouterr().out.split())
    assert "kept: rows by media type" in said
    assert "not finished" not in said


def test_it_is_judged_again_and_goes_on_and_nothing_is_asked(folder):
    """judge.pointwise has a later version than the kept run's, so its rows are made anew from the kept replies."""
    was = rows(folder)
    run = executor.resume(folder / "out")
    with contextlib.closing(run):
        found = rejudge(run)
    assert found.same == {"pointwise": 36}  # 12 prompts x 3 answers
    assert found.changed == {}
    run = executor.open_document(kept.RECIPE, out=folder / "out", cache=folder / "cache")
    with contextlib.closing(run):  # no server is at its address: one question would end it
        assert [unit.name for unit in executor.run_all(run)] == [
            "pass0-pointwise",
            "subsample",
            "pass1-best_worst",
            "dataset",
        ]
        summary = finish(run)
    assert [row | {"judgements": None} for row in rows(folder)] == [row | {"judgements": None} for row in was]
    assert summary["questions_asked"] == 0
    assert sum(summary["pairs"].values()) == PAIRS


def test_the_cache_answers_the_same_questions_in_another_folder(folder):
    endpoint = Endpoint()
    with served(endpoint) as url:
        raw = json.loads(json.dumps(kept.RECIPE).replace("http://127.0.0.1:9/v1", url))
        raw["steps"][2]["judge.pointwise"]["order"] = "fixed"  # as it was shown then; by now the order is drawn
        run = executor.open_document(raw, out=folder / "other", cache=folder / "cache")
        with contextlib.closing(run):
            list(executor.run_all(run))
    assert endpoint.questions == {}
    assert {table: live(run, table) for table in COUNTS} == COUNTS


def test_its_dataset_comes_back_in(folder, tmp_path):
    from rich.console import Console

    assert len(list(read_examples(folder / "out" / "dataset"))) == PAIRS
    import_set(
        "pairwright", str(folder / "out" / "dataset"), [], tmp_path / "again", tmp_path / "cache2", Console(quiet=True)
    )
    assert shards.read_json(tmp_path / "again" / "summary.json")["pairs"] == {"image": 7, "audio": 3}
