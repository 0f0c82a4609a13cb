"""What failed for a passing reason is asked again by the same build, and only that; until then it is counted and quoted."""

import contextlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from flows.commands.rejudge import rejudge
from flows.commands.show import show
from flows.reports.terminal import open_lines, print_summary
from flows.runs import executor, shards
from schemas.arrow import from_batch
from schemas.records import Outcome, Reason
from tests.support.endpoint import Endpoint, served
from tests.support.recipe_runs import completed

ROWS = 24


def document(url: str, **more) -> dict:
    return {
        "name": "open",
        "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url, "slots": 8, "retries": 1}},
        "steps": [
            {"source.scenes": {"n": ROWS, "seed": 5, "shares": {"image": 1}}},
            {"make.sample": {"model": "policy", "n": 2, "max_tokens": 32}},
            {"judge.pointwise": {"model": "policy", "media": False}},
            {"filter.subsample": {"n": 20}},  # ends the pass, so that another unit rests on its rows
            {"pair.best_worst": {"min_margin": 1, "axis": "rating"}},
        ],
        **more,
    }


def build(folder: Path, raw: dict) -> tuple[dict, executor.Run]:
    """The summary, and the run, which is closed."""
    run = executor.open_document(raw, out=folder / "out", cache=folder / "cache")
    return completed(run), run


def dataset(folder: Path) -> list:
    return [
        row for f in sorted((folder / "out" / "dataset").rglob("*.parquet")) for row in pq.read_table(f).to_pylist()
    ]


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in (folder / "out" / "passes").rglob("*.arrow"))


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The same address for every server of this module: it is part of the recipe."""
    with served(Endpoint()) as url:
        return int(url.rsplit(":", 1)[1].split("/")[0])


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, port):
    folder = tmp_path_factory.mktemp("quiet")
    with served(Endpoint(), port) as url:
        summary, _ = build(folder, document(url))
    return dataset(folder), names(folder), summary


def failing(share: float = 0.2) -> Endpoint:
    """A server that answers a share of the questions with half a reply, however often they are asked."""
    return Endpoint(share=share, times=99, kind="garbage")


def rows(run: executor.Run, table: str) -> list:
    return [row for batch in run.tables().batches(table) for row in from_batch(table, batch)]


def test_a_server_that_is_well_again_answers_what_was_open_and_nothing_else(tmp_path, port, quiet):
    well, quiet_names, quiet_summary = quiet
    with served(failing(), port) as url:
        summary, run = build(tmp_path, document(url))
    left = summary["open"]
    judged = [j for j in rows(run, "judgements") if j.outcome == Outcome.FAILED]
    dropped = [r for r in rows(run, "rejections") if r.reason == Reason.ENGINE_FAILED]
    assert summary["questions_open"] > 0
    assert sum(left["judgements"].values()) == len(judged)
    assert sum(left["rejections"].values()) == len(dropped)
    assert judged
    assert dropped
    assert dataset(tmp_path) != well
    assert any("cannot parse the server" in said for said in left["said"])
    assert "run the same command again" in open_lines(summary)[0]

    endpoint = Endpoint()
    with served(endpoint, port) as url:
        again, _ = build(tmp_path, document(url))
    assert (
        summary["questions_open"] <= endpoint.answered < quiet_summary["questions_asked"]
    )  # new answers are judged, too
    assert max(endpoint.questions.values()) == 1
    assert dataset(tmp_path) == well
    assert names(tmp_path) == quiet_names  # what was left open is gone
    assert again["open"] == {"rejections": {}, "judgements": {}, "said": {}}
    assert open_lines(again) == []
    # in both builds together every question of a quiet one was answered once
    assert again["questions_asked"] - again["questions_failed"] == quiet_summary["questions_asked"]

    endpoint = Endpoint()
    with served(endpoint, port) as url:
        build(tmp_path, document(url))
    assert endpoint.answered == 0


def test_a_server_that_still_fails_leaves_the_same_and_what_rests_on_it_is_kept(tmp_path, port):
    with served(failing(), port) as url:
        build(tmp_path, document(url))
        before, when = names(tmp_path), (tmp_path / "out" / "steps" / "subsample" / "done.json").stat().st_mtime_ns
        summary, _ = build(tmp_path, document(url))
    assert names(tmp_path) == before
    assert (tmp_path / "out" / "steps" / "subsample" / "done.json").stat().st_mtime_ns == when
    assert summary["questions_open"] > 0


def test_show_and_the_ending_and_the_report_quote_what_is_open(tmp_path, port, capsys):
    with served(failing(), port) as url:
        summary, run = build(tmp_path, document(url))
    console = Console(record=True, width=200)
    print_summary(summary, run, console)
    show(run.folder)
    report = (run.folder / "report.html").read_text()
    for text in (console.export_text(), capsys.readouterr().out, report):
        assert "judgements (pointwise " in " ".join(text.split())
        assert "cannot parse the server" in " ".join(text.split())
    unfinished = json.loads((run.folder / "summary.json").read_text())
    assert unfinished["open"] == summary["open"]


def test_rejudging_reads_a_shard_with_open_questions_and_leaves_them_open(tmp_path, port):
    with served(failing(), port) as url:
        summary, run = build(tmp_path, document(url))
    before = names(tmp_path)
    again = executor.resume(run.folder)
    with contextlib.closing(again):
        found = rejudge(again)  # no server is there
    assert found.changed == {}
    assert found.left is None
    assert sum(found.same.values()) == sum(summary["judgements"].values())
    assert names(tmp_path) == before


def test_killed_while_it_heals_the_run_has_each_row_once(tmp_path, port, quiet):
    """A whole shard was published and the open one is still there: what a kill between the two leaves."""
    well, *_ = quiet
    with served(failing(), port) as url:
        build(tmp_path, document(url))
    place = tmp_path / "out" / "passes" / "pass0-pointwise"
    (left,) = shards.published_shards(place)
    assert shards.OPEN in left
    with served(Endpoint(), port) as url:
        run = executor.open_document(document(url), out=tmp_path / "out", cache=tmp_path / "cache")
        with contextlib.closing(run), pytest.MonkeyPatch.context() as patch:
            patch.setattr(shards, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run.complete(run.units[0])
        assert sorted(p.name for p in place.iterdir() if p.is_dir()) == [left.partition(shards.OPEN)[0], left]
        (place / "done.json").unlink()
        assert shards.published_shards(place) == [left.partition(shards.OPEN)[0]]
        build(tmp_path, document(url))
    assert dataset(tmp_path) == well
