"""What a recipe lets leave is said before anything runs: places and names, never values."""

import socket

import pytest
import yaml
from rich.console import Console

from flows.commands import outgoing
from flows.commands.outgoing import HUB, ROW_HOSTS, Disclosure
from flows.planning import load
from schemas.errors import RecipeError
from tests.flows.test_cli import pairwright

REMOTE = {"engine": "openai", "model": "big", "base_url": "https://models.example:8443/v1"}
STEPS = [
    {"make.sample": {"model": "policy", "n": 2}},
    {"judge.pointwise": {"model": "judge", "media": False}},
    {"pair.best_worst": {"axis": "rating"}},
]


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    def connect(*_):
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("LABEL_STUDIO_URL", "HF_TOKEN", "JUDGE_KEY"):
        monkeypatch.delenv(name, raising=False)


def told(tmp_path, *steps, **models) -> list[Disclosure]:
    given = {
        "policy": {"engine": "vllm", "model": "data/models/tiny"},
        "judge": {"engine": "vllm", "model": "data/models/tiny"},
    } | models
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"name": "r", "models": given, "steps": [*steps, *STEPS]}))
    return outgoing.disclosures(load.checked(load.document(str(path))))


def lines(found: list[Disclosure]) -> str:
    return "\n".join(f"{one.to}: {one.what}" for one in found)


def test_nothing_leaves_where_models_and_rows_are_here(tmp_path, capsys):
    found = told(tmp_path, {"source.scenes": {"n": 3}})
    assert found == outgoing.summary_lines(found) == []
    outgoing.show(found, Console())
    assert capsys.readouterr().out == "nothing leaves this machine\n"


def test_a_server_gets_texts_and_media_of_the_sources_before_the_step_that_asks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "sk-value-of-the-key")
    found = told(tmp_path, {"source.rows": {"path": "mine.jsonl", "media_root": "pictures"}}, policy=REMOTE, judge={**REMOTE, "base_url": "http://other.example/v1", "api_key_env": "JUDGE_KEY"})  # fmt: skip
    assert lines(found).splitlines() == [
        f"{ROW_HOSTS}: requests for media, if rows of rows contain web addresses",
        "http://other.example: the value of JUDGE_KEY as the key of model judge",
        "http://other.example: texts of rows (mine.jsonl, pictures), and answers to them, for pointwise (model judge)",
        "https://models.example:8443: texts and media (image, video, audio) of rows (mine.jsonl, pictures), and answers to them, for sample (model policy)",
    ]
    assert "sk-value" not in lines(found)
    assert [line.partition(": ")[0] for line in outgoing.summary_lines(found)] == [
        ROW_HOSTS,
        "http://other.example",
        "https://models.example:8443",
    ]


def test_a_server_gets_the_rows_that_its_model_is_evaluated_on(tmp_path):
    (held := tmp_path / "held.jsonl").write_text("{}")
    found = told(
        tmp_path,
        {"source.scenes": {"n": 3}},
        {"evaluate.rows": {"name": "before", "model": "tested", "path": str(held)}},
        tested=REMOTE,
    )
    assert [one.what for one in found if "models.example" in one.to] == [
        f"texts and media (image, video, audio) of scenes, before ({held}), and answers to them, for before (model tested)",
        "the text of the file data/scenes/patterns.yaml, for before",  # of the splitter that a rule has
    ]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.8.8.8"])
def test_loopback_is_this_machine(tmp_path, host):
    found = told(tmp_path, {"source.scenes": {"n": 3}}, policy={**REMOTE, "base_url": f"http://{host}/v1"})
    assert [one.to for one in found] == [f"this machine (http://{host})"]
    assert outgoing.summary_lines(found) == []


@pytest.mark.parametrize(
    "host",
    ["10.0.0.7:8000", "0.0.0.0:8000", "localhost.evil.example", "127.0.0.1.evil.example", "host.docker.internal"],
)
def test_other_hosts_are_not(tmp_path, host):
    (one,) = told(tmp_path, {"source.scenes": {"n": 3}}, policy={**REMOTE, "base_url": f"http://{host}/v1"})
    assert one.to == f"http://{host}"
    assert not one.here


def test_each_endpoint_is_named_with_its_own_key(tmp_path):
    ends = [{"base_url": "https://a.example/v1"}, {"base_url": "https://b.example/v1", "api_key_env": "B_KEY"}]
    model = {"engine": "openai", "model": "big", "api_key_env": "A_KEY", "endpoints": ends}
    found = lines(told(tmp_path, {"source.scenes": {"n": 3}}, policy=model))
    assert "https://a.example: the value of A_KEY as the key of model policy (not set)" in found
    assert "https://b.example: the value of B_KEY as the key" in found


def test_a_key_that_was_written_in_place_of_a_name_is_not_repeated(tmp_path):
    for key in ("sk-0123456789abcdef", "abcdef0123456789"):
        try:
            found = lines(told(tmp_path, {"source.scenes": {"n": 3}}, policy={**REMOTE, "api_key_env": key}))
        except RecipeError as refused:
            found = str(refused)
        assert key not in found


def test_files_whose_text_goes_to_a_server_are_named(tmp_path):
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Rate {answers}")
    recipe = {"source.rows": {"path": str(prompt)}}
    found = lines(
        told(
            tmp_path,
            recipe,
            {"make.sample": {"name": "asked", "model": "policy", "prompt": str(prompt)}},
            policy=REMOTE,
        )
    )
    assert f"https://models.example:8443: the text of the file {prompt}, for asked" in found


def test_addresses_that_are_read_are_named_by_their_host_alone(tmp_path):
    found = lines(told(
        tmp_path, {"source.rows": {"path": "https://data.example/a/b.jsonl?X-Amz-Signature=SECRET", "media_root": "s3://bucket/deep"}},
        {"filter.contamination": {"sets": {"bench": "https://bench.example/rows.jsonl"}}},
    ))  # fmt: skip
    for to, what in (
        ("https://data.example", "rows"),
        ("s3://bucket", "rows"),
        ("https://bench.example", "contamination"),
    ):
        assert f"{to}: requests for what {what} reads" in found
    assert "SECRET" not in found
    assert f"{ROW_HOSTS}: requests for media, if rows of rows, contamination contain web addresses" in found


def test_hosts_with_private_addresses_that_rows_may_name_are_told(tmp_path):
    found = lines(told(tmp_path, {"source.rows": {"path": "a.jsonl", "fetch": {"allow_private": ["nas.local"]}}}))
    assert f"{ROW_HOSTS}: including private hosts: nas.local" in found


def test_the_hub_is_asked_for_models_and_datasets_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_value")
    found = lines(
        told(tmp_path, {"source.hub": {"path": "org/set"}}, policy={"engine": "vllm", "model": "Qwen/Qwen2-VL-2B"})
    )
    assert f"{HUB}: a request for the dataset org/set of hub, with the value of HF_TOKEN" in found
    assert f"{HUB}: a request for the model Qwen/Qwen2-VL-2B (policy), with the value of HF_TOKEN" in found
    assert "hf_value" not in found


@pytest.mark.parametrize(
    ("media", "to"),
    [
        ("local", "https://labels.example"),
        ("s3://bucket/media", "s3://bucket"),
        ("https://media.example/x", "https://media.example"),
    ],
)
def test_people_get_questions_on_their_server_and_media_as_the_recipe_says(tmp_path, monkeypatch, media, to):
    monkeypatch.setenv("LABEL_STUDIO_URL", "https://user:secret@labels.example/path")
    found = lines(
        told(
            tmp_path,
            {"source.scenes": {"n": 3}},
            {"make.sample": {"name": "first", "model": "policy"}},
            {"judge.people": {"media": media}},
        )
    )
    assert "https://labels.example: questions of people: prompts and answers" in found
    assert "https://labels.example: the values of LABEL_STUDIO_API_KEY" in found
    assert f"{to}: media of the questions of people" in found
    assert "secret" not in found


def test_build_says_nothing_where_only_rows_could_name_a_place(tmp_path):
    found = told(tmp_path, {"source.rows": {"path": "mine.jsonl"}})
    assert [one.to for one in found] == [ROW_HOSTS]
    assert outgoing.summary_lines(found) == []


def test_check_says_it_and_runs_nothing(tmp_path):
    path = tmp_path / "theirs.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "theirs",
                "models": {"policy": REMOTE, "judge": dict(REMOTE)},
                "steps": [{"source.rows": {"path": "/nowhere/a.jsonl"}}, *STEPS],
            }
        )
    )
    said = pairwright("check", path, "models.judge.base_url=http://127.0.0.1:1/v1")
    assert "theirs: 4 steps, ready to run" in said
    assert "https://models.example:8443\n  texts and media (image, video, audio) of rows (/nowhere/a.jsonl)" in said
    assert "this machine (http://127.0.0.1:1)" in said
    assert "unknown step 'smaple'; did you mean 'sample'?" in pairwright("check", path, "smaple.n=3", code=2)
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_check_of_every_recipe_that_comes_along():
    for name in load.known():
        instead = (
            ["models.policy.model=data/models/tiny"] if name == "real" else []
        )  # whose own model `make real` sets up
        assert "ready to run" in pairwright("check", name, *instead)


def test_build_says_it_in_short_before_it_starts(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "what ?"}\n')
    path = tmp_path / "theirs.yaml"
    model = {**REMOTE, "base_url": "https://models.invalid/v1"}
    path.write_text(
        yaml.safe_dump(
            {
                "name": "theirs",
                "models": {"policy": model, "judge": model},
                "steps": [{"source.rows": {"path": str(tmp_path / "a.jsonl")}}, *STEPS],
            }
        )
    )
    said = pairwright("build", path, "--out", tmp_path / "run", "--cache", tmp_path / "cache", code=1)
    assert "data leaves this machine for https://models.invalid: " in said
    assert (
        f"; texts and media (image, video, audio) of rows ({tmp_path}/a.jsonl), and answers to them, for sample (model policy)"
        in said
    )
    assert said.index("data leaves this machine for") < said.index("EngineError")
