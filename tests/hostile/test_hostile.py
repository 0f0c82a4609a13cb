"""A dataset is built from a folder of hostile files and from hostile rows, with good ones between them."""

import json
import os

import pytest
import yaml

from flows.reports.summary import finish
from flows.runs import executor
from pipeline.media import limits
from pipeline.storage.media_store import FolderStore
from schemas.arrow import from_batch
from schemas.records import one_line
from tests.hostile import __main__ as script
from tests.hostile.files import GOOD, write
from tests.hostile.rows import rows
from tests.support import media_files as make
from tests.support.endpoint import Endpoint, served

pytestmark = pytest.mark.slow

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What was written, and the tables of the run."""
    folder = tmp_path_factory.mktemp("hostile")
    files = write(folder / "files")
    for place, letter in enumerate(LETTERS):  # before, between and behind them
        (folder / "files" / f"{letter} good.png").write_bytes(make.png(500 + place))
    (folder / "rows").mkdir()
    (folder / "rows" / "good.jpg").write_bytes(make.jpeg(600))
    lines = list(rows())
    between = [json.dumps({"prompt": f"What is on page {i}?", "image": "good.jpg"}).encode() for i in range(len(lines))]
    mixed = [line for (bad, *_), good in zip(lines, between, strict=True) for line in (bad, good)]
    (folder / "rows" / "rows.jsonl").write_bytes(b"\n".join(mixed))
    with served(Endpoint()) as url, pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "PROBE_SECONDS", 1)  # a slow file is as slow as that
        recipe = {
            "name": "hostile",
            "models": {"policy": {"engine": "openai", "model": "scripted", "base_url": url}},
            "steps": [
                {"source.folder": {"path": str(folder / "files"), "prompt": "What is it?"}},
                {"source.rows": {"path": str(folder / "rows" / "rows.jsonl")}},
                {"make.sample": {"model": "policy", "n": 2, "max_tokens": 16}},
                {"judge.pointwise": {"model": "policy", "media": False}},
                {"pair.best_worst": {"axis": "rating"}},
            ],
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        run = executor.open_run(str(folder / "recipe.yaml"), out=folder / "run", cache=folder / "cache")
        for _ in executor.run_all(run):
            pass
        summary = finish(run)
    tables = run.tables()
    found = {
        t: [row for b in tables.batches(t) for row in from_batch(t, b)]
        for t in ("media", "samples", "candidates", "rejections")
    }
    return files, found, summary, FolderStore(folder / "cache" / "media")


def test_every_file_ends_as_it_should(built):
    files, found, _, _ = built
    shown = {media.source for media in found["media"]}
    reasons = {row.id: row.reason for row in found["rejections"] if row.step == "folder"}
    outcome = {one.name: GOOD if one_line(one.name) in shown else reasons.get(one_line(one.name)) for one in files}
    assert len(files) >= 60
    assert outcome == {one.name: one.outcome for one in files}


def test_a_rejection_names_the_file_and_the_mend_in_one_line(built):
    files, found, _, _ = built
    details = {row.id: row.detail for row in found["rejections"] if row.step == "folder"}
    for one in files:
        if one.outcome != GOOD:
            detail = details[one_line(one.name)]
            assert one_line(one.name) in detail
            assert detail.isprintable()
            assert any(mend in detail for mend in ("remove the row", "correct"))


def test_the_good_files_between_them_come_through(built):
    _, found, _, _ = built
    shown = {media.source for media in found["media"]}
    assert {f"{letter} good.png" for letter in LETTERS} <= shown
    # each sample has its two answers
    assert len(found["candidates"]) == 2 * len(found["samples"])
    assert len(found["samples"]) > len(LETTERS)


def test_every_row_ends_as_it_should(built):
    _, found, _, _ = built
    lines = list(rows())
    reasons = {row.id: row.reason for row in found["rejections"] if row.step == "rows"}
    # bad rows are 1, 3, 5 ..., a good one follows each
    assert reasons == {f"rows.jsonl#{2 * i + 1}": reason for i, (_, _, reason) in enumerate(lines)}
    assert sum(sample.source.startswith("rows.jsonl#") for sample in found["samples"]) == len(lines)


def test_nothing_of_a_local_file_or_of_a_refused_one_is_kept(built):
    _, found, _, store = built
    root = b"root:"
    for media in found["media"]:
        assert root not in store.read(media.id)
    with open(os.path.join(store.root, "index.sqlite"), "rb") as index:
        assert index.read(15) == b"SQLite format 3"


def test_the_page_is_that_of_the_files():
    assert script.page() == script.PAGE.read_text(), "run `python -m tests.hostile --page`"
