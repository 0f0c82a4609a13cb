"""The command line and the executor, against the scripted endpoint: what a user does wrong is one line and the right exit code."""

import json
import subprocess
import sys
import urllib.request
from itertools import zip_longest
from pathlib import Path

import pytest
import yaml

from flows import cli
from flows.runs import executor, folder
from flows.runs.shards import read_json
from schemas.arrow import from_batch
from tests.support.endpoint import Endpoint, served, shown_text
from tests.support.media_files import jpeg, mp4, wav

pytestmark = pytest.mark.slow

STEPS = [
    {"make.sample": {"model": "policy", "n": 3, "max_tokens": 32}},
    {"judge.pointwise": {"model": "policy", "media": False}},
    {"pair.best_worst": {"axis": "rating"}},
]


@pytest.fixture(scope="module")
def endpoint():
    with served(Endpoint()) as url:
        yield url


def pairwright(*words, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def written(folder: Path, url: str, source: dict, name: str = "small") -> Path:
    path = folder / f"{name}.yaml"
    models = {"policy": {"engine": "openai", "model": "scripted", "base_url": url}}
    path.write_text(yaml.safe_dump({"name": name, "models": models, "steps": [source, *STEPS]}))
    return path


def asked(url: str) -> int:
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
        return json.load(answer)["asked"]


def test_help_names_every_command_and_what_to_start_with():
    text = pairwright("--help")
    for word in ("build", "train", "evaluate", "export", "show", "recipes", "pairwright build demo"):
        assert word in text


GOOD_ROWS = [
    {"prompt": "what is this ?", "image": "good.jpg"},
    {"prompt": "what is said ?", "audio": "good.wav"},
    {"prompt": "what <|IMAGE|> happens ?", "video": "good.mp4"},  # a media placeholder in a text is no more than text
    {"prompt": "no media at all"},
]
BAD_ROWS = [  # the row, why it is left out, and what is said about it
    ({"prompt": "what ?", "image": "missing.jpg"}, "missing_file", "missing.jpg does not exist; correct the path"),
    (
        {"prompt": "what ?", "image": "cut.jpg"},
        "undecodable",
        "cut.jpg is truncated or corrupted; replace the file or remove",
    ),
    ({"prompt": "what ?", "image": "text.png"}, "unsupported_media", "text.png is not an image, video or audio file"),
    ({"prompt": "what ?", "video": "still.mp4"}, "empty_media", "still.mp4 is a video without frames; replace"),
    (
        {"prompt": "what ?", "audio": "empty.wav"},
        "empty_media",
        "empty.wav is empty; replace the file or remove the row",
    ),
    ({"prompt": " ", "image": "good.jpg"}, "empty_prompt", "the prompt is empty; add a question or remove the row"),
    (GOOD_ROWS[0], "duplicate", "duplicate of an earlier prompt with the same media; remove one of them"),
    ("{not json", "bad_row", "the line is not valid JSON"),
]


def test_bad_rows_are_named_with_their_mend_and_the_rest_goes_on(tmp_path):
    (tmp_path / "good.jpg").write_bytes(jpeg(1))
    (tmp_path / "good.wav").write_bytes(wav())
    (tmp_path / "good.mp4").write_bytes(mp4())
    (tmp_path / "cut.jpg").write_bytes(jpeg(2)[:-200])
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "still.mp4").write_bytes(mp4(frames=0))
    (tmp_path / "empty.wav").write_bytes(b"")
    # good and bad in turn: every good row but the first comes after a bad one
    rows = [r for pair in zip_longest(GOOD_ROWS, [row for row, *_ in BAD_ROWS]) for r in pair if r is not None]
    lines = [r if isinstance(r, str) else json.dumps(r) for r in rows]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    endpoint = Endpoint()
    endpoint.keep_bodies = True
    with served(endpoint) as url:
        recipe = written(tmp_path, url, {"source.rows": {"path": str(tmp_path / "rows.jsonl")}})
        out = tmp_path / "out"
        built = pairwright("build", recipe, "--out", out, "--cache", tmp_path / "cache")
    tables = executor.reopen(out).tables()
    found = {
        t: [r for b in tables.batches(t) for r in from_batch(t, b)] for t in ("samples", "candidates", "rejections")
    }
    places = [2, 4, 6, 8, 9, 10, 11, 12]  # of the bad rows: between four good ones, and then in a row
    left_out = [r for r in found["rejections"] if r.table == "samples"]
    assert [r.reason for r in left_out] == [reason for _, reason, _ in BAD_ROWS]
    shown = pairwright("show", out).splitlines()
    for rejection, place, (_, _, said) in zip(left_out, places, BAD_ROWS, strict=True):
        assert rejection.detail.startswith(f"rows.jsonl#{place}: ")
        assert said in rejection.detail
        assert f"    {rejection.detail}" in shown
        assert rejection.detail in built
    assert [s.source for s in found["samples"]] == ["rows.jsonl#1", "rows.jsonl#3", "rows.jsonl#5", "rows.jsonl#7"]
    assert [c.sample for c in found["candidates"]] == [s.id for s in found["samples"] for _ in range(3)]
    texts = [shown_text(body["messages"]) for body in endpoint.bodies]
    assert any("IMAGE|> happens" in text for text in texts)
    assert not any("<|IMAGE|>" in text for text in texts)


def test_a_second_run_asks_nothing_and_more_rows_cost_only_themselves(tmp_path, endpoint):
    recipe = written(tmp_path, endpoint, {"source.scenes": {"n": 20, "seed": 1, "shares": {"image": 1}}})
    cache = tmp_path / "cache"
    before = asked(endpoint)
    pairwright("build", recipe, "--out", tmp_path / "one", "--cache", cache)
    first = asked(endpoint) - before
    assert first == 40  # twenty prompts, twenty ratings
    pairwright("build", recipe, "--out", tmp_path / "one", "--cache", cache)
    pairwright("build", recipe, "--out", tmp_path / "two", "--cache", cache)
    assert asked(endpoint) - before == first
    two = read_json(tmp_path / "two" / "summary.json")
    assert (two["questions_asked"], two["questions_cached"]) == (0, 40)
    pairwright("build", recipe, "scenes.n=25", "--out", tmp_path / "three", "--cache", cache)
    assert asked(endpoint) - before == first + 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "dmeo"], "did you mean 'demo'"),
        (["build", "nowhere.yaml"], "recipe file nowhere.yaml does not exist"),
        (["build", "demo", "smple.n=3"], "unknown step 'smple'; did you mean 'sample'"),
        (["show", "."], "not the folder of a run"),
        (["train", "."], "no exported dataset"),
        (["export", ".", "--hub", "a/b"], "no exported dataset"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(tmp_path, words, said):
    extra = ["--out", tmp_path / "out"] if words[0] in ("build", "train") else []
    text = pairwright(*words, *extra, code=2)
    assert said in text
    assert len(text.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stepps": []}, "unknown key 'stepps' in the recipe; did you mean 'steps'"),
        ({"steps": [{"source.scenes": {"n": 4}}, {"make.smaple": {"model": "policy"}}]}, "did you mean 'sample'"),
        ({"steps": [{"source.scenes": {"n": 4}}, {"judge.pointwise": {"model": "policy"}}]}, "needs candidates"),
        ({"steps": [{"source.scenes": {"n": 4, "m": 5}}]}, "scenes: unknown setting 'm'"),
        ({"steps": [{"source.rows": {"path": "nowhere.jsonl"}}]}, "nowhere.jsonl does not exist"),
        (None, "a recipe must be a mapping"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line_and_exit_code_2(tmp_path, change, said):
    recipe = written(tmp_path, "http://127.0.0.1:9/v1", {"source.scenes": {"n": 4}})
    recipe.write_text(yaml.safe_dump(change and yaml.safe_load(recipe.read_text()) | change))
    text = pairwright("build", recipe, "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=2)
    *before, line = text.strip().splitlines()
    assert said in line
    assert before in ([], ["pass0-rows: started"])  # what cannot be opened shows when it is


def test_the_folder_of_another_recipe_is_refused_with_the_difference(tmp_path, endpoint):
    recipe = written(tmp_path, endpoint, {"source.scenes": {"n": 4, "shares": {"image": 1}}})
    pairwright("build", recipe, "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    text = pairwright("build", recipe, "sample.n=2", "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=2)
    assert "another recipe" in text
    assert "3 in the run, 2 now" in text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert "contains files that are not from a Pairwright run" in pairwright(
        "build", recipe, "--out", tmp_path / "mine", code=2
    )


def test_a_server_that_is_not_there_is_a_failed_run_in_one_line(tmp_path):
    recipe = written(tmp_path, "http://127.0.0.1:9/v1", {"source.scenes": {"n": 4, "shares": {"image": 1}}})
    text = pairwright("build", recipe, "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=1)
    assert "127.0.0.1:9" in text


def unexpected(*args, **named):
    raise ValueError("two\nlines")


def test_what_nobody_expected_is_one_line_with_the_file_of_its_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", unexpected)
    monkeypatch.setattr(cli.stop, "watch", lambda: None)  # the signals stay pytest's
    monkeypatch.setattr(folder, "used", tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    line = capsys.readouterr().err
    assert ended.value.code == 1
    assert line.count("\n") == 1
    assert line.startswith("unexpected: ValueError: two lines; this is a bug in Pairwright")
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in line
    assert "in unexpected" in log.read_text()


@pytest.mark.parametrize(
    "words", [["build"], ["biuld"], ["show"], ["build", "demo", "--nope"], ["serve", "x", "--port", "0"]]
)
def test_wrong_words_are_one_line_without_a_panel(words):
    text = pairwright(*words, code=2)
    assert len(text.strip().splitlines()) == 1
    assert text.startswith("UserError: ")
