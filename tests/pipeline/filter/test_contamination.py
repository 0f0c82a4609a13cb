"""Benchmarks as files: what of them is found in a run, and what is too common to count."""

import json

import pytest

from pipeline.filter import contamination
from pipeline.storage.media_store import FolderStore
from schemas.errors import InputError
from tests.support.media_files import mp4
from tests.support.photographs import jpeg_of, pieces
from tests.support.rows import context, tables_of

ASKED = "how many of the people who stand in front of the old temple wear a hat"  # 16 words: 4 runs of 13


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "media")


def gone(folder, store, rows, bench: list[dict], reference=None, **settings) -> dict[str, str]:
    """Row -> what is said of it."""
    (folder / "bench.jsonl").write_text("\n".join(map(json.dumps, bench)))
    chosen = contamination.Settings(sets={"b": {"path": str(folder / "bench.jsonl")}}, **settings)
    out = contamination.keep(tables_of(store, rows, reference=reference), chosen, context(media=store))
    assert {r.reason for r in out} <= {"contaminated"}
    return dict(r.detail.removesuffix("; it must not be trained on").split(": ", 1) for r in out)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"Please: {ASKED.upper()}?!", "1.00"),
        (f"{ASKED.removesuffix(' a hat')}", "0.50"),  # 14 words: two of the four runs
        (ASKED.replace("temple", "church"), None),  # each run has the word
        ("how many of the people", None),
    ],
)
def test_runs_of_thirteen_words(tmp_path, store, text, found):
    hit = gone(tmp_path, store, [(text, [])], [{"prompt": ASKED}], overlap=0.3)
    said = f"contains {found} of the 13-word n-grams of b bench.jsonl#1"
    assert hit == ({"rows.jsonl#1": said} if found else {})


def test_a_shorter_question_is_one_run_and_a_very_short_one_none(tmp_path, store):
    bench = [{"prompt": "What colour has the third car from the left?"}, {"prompt": "What is shown in the picture?"}]
    rows = [("Tell me: what colour has the third car from the left", []), ("What is shown in the picture?", [])]
    hit = gone(tmp_path, store, rows, bench)
    assert hit == {"rows.jsonl#1": "contains 1.00 of the 9-word n-grams of b bench.jsonl#1"}
    assert gone(tmp_path, store, rows, bench, shortest=6).keys() == {"rows.jsonl#1", "rows.jsonl#2"}


def test_the_reference_counts_too(tmp_path, store):
    assert gone(tmp_path, store, [("Write a question.", [])], [{"prompt": ASKED}], reference=f"{ASKED}?")


def test_pictures_and_videos_of_a_benchmark(tmp_path, store):
    (tmp_path / "one.jpg").write_bytes(jpeg_of(pieces()[2], 95))
    (tmp_path / "two.mp4").write_bytes(mp4(8))
    bench = [{"prompt": "who?", "image": "one.jpg"}, {"prompt": "what?", "video": "two.mp4"}]
    rows = [("a", [jpeg_of(pieces()[2], 50)]), ("b", [jpeg_of(pieces()[3])]), ("c", [mp4(8)]), ("d", [])]
    hit = gone(tmp_path, store, rows, bench)
    assert hit.keys() == {"rows.jsonl#1", "rows.jsonl#3"}
    assert hit["rows.jsonl#1"].startswith("its image is also in b bench.jsonl#1 (")
    assert hit["rows.jsonl#3"] == "its video is also in b bench.jsonl#2 (0 of 64 bits differ)"
    assert gone(tmp_path, store, rows, bench, bits=None) == {}


def test_benchmarks_leave_nothing_in_the_store(tmp_path, store):
    (tmp_path / "one.jpg").write_bytes(jpeg_of(pieces()[2]))
    gone(tmp_path, store, [("a", [])], [{"prompt": "who?", "image": "one.jpg"}])
    store.sync()
    assert not list((tmp_path / "media").glob("*.pack"))


def test_a_benchmark_that_is_not_there_ends_the_run(tmp_path, store):
    settings = contamination.Settings(sets={"b": str(tmp_path / "none.jsonl")})
    with pytest.raises(InputError, match=r"none\.jsonl"):
        contamination.keep(tables_of(store, [("a", [])]), settings, context(media=store))
