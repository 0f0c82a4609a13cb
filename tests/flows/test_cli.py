"""The command line and the executor, against the scripted endpoint: what a user does wrong is one line and the right exit code."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from flows.shards import read_json
from tests.endpoint import Endpoint, served
from tests.media_files import jpeg

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


def test_bad_rows_are_named_and_the_rest_goes_on(tmp_path, endpoint):
    (tmp_path / "good.jpg").write_bytes(jpeg(1))
    (tmp_path / "cut.jpg").write_bytes(jpeg(2)[:-2000])
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "empty.wav").write_bytes(b"")
    rows = [
        {"prompt": "what is this ?", "image": "good.jpg"},
        {"prompt": "what is this ?", "image": "good.jpg"},
        {"prompt": "and <|IMAGE|> this ?", "image": "good.jpg"},
        {"prompt": "what ?", "image": "missing.jpg"},
        {"prompt": "what ?", "image": "cut.jpg"},
        {"prompt": "what ?", "image": "text.png"},
        {"prompt": "what ?", "audio": "empty.wav"},
        {"prompt": " "},
        {"prompt": "no media at all"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{not json\n")
    recipe = written(tmp_path, endpoint, {"source.rows": {"path": str(tmp_path / "rows.jsonl")}})
    out = tmp_path / "out"
    pairwright("build", recipe, "--out", out, "--cache", tmp_path / "cache")
    summary = read_json(out / "summary.json")
    assert summary["samples"] == {"text": 1, "image": 2}
    found = summary["rejections"]["rows"]
    assert found.pop("duplicate") == 1
    assert found.pop("missing_file") == 1
    assert found.pop("empty_prompt") == 1
    assert sum(found.values()) == 4  # cut, text, empty sound, no JSON
    assert "rejections" not in pairwright("show", out)


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
        (["build", "nowhere.yaml"], "there is no recipe file nowhere.yaml"),
        (["build", "demo", "smple.n=3"], "no step 'smple': did you mean 'sample'"),
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


def test_the_folder_of_another_recipe_is_refused_with_the_difference(tmp_path, endpoint):
    recipe = written(tmp_path, endpoint, {"source.scenes": {"n": 4, "shares": {"image": 1}}})
    pairwright("build", recipe, "--out", tmp_path / "out", "--cache", tmp_path / "cache")
    text = pairwright("build", recipe, "sample.n=2", "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=2)
    assert "another recipe" in text
    assert "3 there, 2 now" in text
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    assert "no run of Pairwright left" in pairwright("build", recipe, "--out", tmp_path / "mine", code=2)


def test_a_server_that_is_not_there_is_a_failed_run_in_one_line(tmp_path):
    recipe = written(tmp_path, "http://127.0.0.1:9/v1", {"source.scenes": {"n": 4, "shares": {"image": 1}}})
    text = pairwright("build", recipe, "--out", tmp_path / "out", "--cache", tmp_path / "cache", code=1)
    assert "127.0.0.1:9" in text
