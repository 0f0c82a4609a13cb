"""What may leave: the rules one by one. tests/faults/secrets.py tries them with seeded dice, and on whole runs."""

import base64
from urllib.parse import quote

import pytest

from schemas import redact
from schemas.errors import EngineError, NoVerdict, RowError
from schemas.records import Outcome, Reason

KEY = "correct horse/battery+staple"


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    return KEY


@pytest.mark.parametrize(
    ("text", "told"),
    {
        "https://u:p4ss@example.org/x.jpg": "https://example.org/x.jpg",
        "https://example.org/x.jpg?X-Amz-Signature=abcdef0123&v=2": "https://example.org/x.jpg?v=2",
        "https://example.org/x?page=2#top": "https://example.org/x?page=2#top",
        "see 'http:/u:p4ss@h/x', it is there": "see 'http:/h/x', it is there",
        "postgresql://u:p/4#ss@h:5432/db": "postgresql://h:5432/db",
        "https://h/x?page=2#access_token=abcdef0123": "https://h/x?page=2",
        "git@github.com:owner/repo.git": "git@github.com:owner/repo.git",
        "host=h password=hunter2 dbname=x": "host=h password=*** dbname=x",
        "Authorization: Bearer abcdefgh1": "Authorization: Bearer ***",
        "the key sk-abcdefgh12345678, which": "the key ***, which",
        "https://unpkg.com/@scope/pkg@1.0/x": "https://unpkg.com/@scope/pkg@1.0/x",
        "hf://datasets/owner/name@main/x": "hf://datasets/owner/name@main/x",
        "max_tokens=64": "max_tokens=64",
    }.items(),
)
def test_a_text_leaves_without_its_secrets(text, told):
    assert redact.clean(text) == told


def test_two_addresses_stay_two_where_what_differs_is_not_a_signature():
    first, second = (redact.clean(f"https://h/x?ticket={n}0000000&sig=abc") for n in (1, 2))
    assert first != second
    assert "0000000" not in first + second
    assert first == redact.clean("https://h/x?ticket=10000000&sig=another")


@pytest.mark.parametrize("encode", [
    str, str.upper, lambda s: quote(s, safe=""), lambda s: s.encode().hex(), lambda s: base64.b64encode(b"Basic u:" + s.encode()).decode(),
    lambda s: s.replace("/", "\\/"), lambda s: s[:14] + "\n  " + s[14:],
])  # fmt: skip
def test_a_variables_value_is_found_however_it_is_written(key, encode):
    told = redact.clean(f"invalid key {encode(key)} of yours")
    assert told.startswith("invalid key ")
    assert told.endswith("*** of yours")


def test_a_short_value_is_not_searched_for(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "EMPTY")
    assert redact.clean("the answer is EMPTY") == "the answer is EMPTY"


def test_where_a_key_lies_is_not_the_key(monkeypatch):
    monkeypatch.setenv("SSH_KEY", "/home/me/.ssh/id_ed25519")
    monkeypatch.setenv("TOKEN", "https://tokens.example.org/v1")
    assert (
        redact.clean("/home/me/.ssh/id_ed25519 at https://tokens.example.org/v1")
        == "/home/me/.ssh/id_ed25519 at https://tokens.example.org/v1"
    )


def test_a_variable_that_a_recipe_names_is_a_secret_whatever_it_is_called(monkeypatch):
    monkeypatch.setenv("GRADER", "aardvark-buffalo-cheetah")
    monkeypatch.setattr(redact, "_hidden", set())
    assert redact.clean("aardvark-buffalo-cheetah") == "aardvark-buffalo-cheetah"
    redact.mask_values(["GRADER"])
    assert redact.clean("aardvark-buffalo-cheetah") == "***"


def test_errors_hold_no_secrets_and_answers_are_left_alone(key):
    assert str(EngineError(f"it said {key}")) == "it said ***"
    assert RowError(Reason.BAD_ROW, f"https://u:{'x' * 2000}@h is not there").detail == "https://h is not there"
    assert (
        NoVerdict(Outcome.UNPARSABLE, f"sk-{'1' * 20}").raw
        == str(NoVerdict(Outcome.UNPARSABLE, f"sk-{'1' * 20}"))
        == f"sk-{'1' * 20}"
    )


def test_what_holds_no_secret_is_the_same_document():
    recipe = {
        "name": "x",
        "steps": [{"source.rows": {"path": "rows.jsonl", "limit": 3, "prompt": "What is 3/4? // a: b@c"}}],
        "n": None,
    }
    assert redact.document(recipe) == recipe


@pytest.mark.parametrize(("url", "name"), {
    "https://u:p@h/a/x?sig=1&v=2#top": "https://h/a/x", "s3://bucket/x": "s3://bucket/x", "http://[::1]:80/x?y": "http://[::1]:80/x", "//u:p@h/x": "//h/x",
}.items())  # fmt: skip
def test_an_address_as_a_name(url, name):
    assert redact.bare_url(url) == name


def test_an_address_that_is_signed_again_is_the_same():
    assert redact.without_signature("https://h/x?v=1&X-Amz-Signature=a&X-Amz-Date=b") == redact.without_signature(
        "https://h/x?v=1&X-Amz-Signature=c&X-Amz-Date=d"
    )
    assert redact.without_signature("https://h/x?file=a-long-name.jsonl") == "https://h/x?file=a-long-name.jsonl"
    assert (
        redact.without_signature("ask: https://h/x?sig=a") == "ask: https://h/x?sig=a"
    )  # a prompt that holds one is a prompt


@pytest.mark.parametrize(("text", "may"), {
    "JUDGE_KEY": True, "judge_key": True, "_K9": True, "sk-abcdefgh12345678": False, "hf_abcdefgh12345678": False, "0123456789abcdef": False,
    "a0123456789abcdef0123": False, "A KEY": False, "$KEY": False, "AKIAIOSFODNN7EXAMPLE": False,
}.items())  # fmt: skip
def test_a_key_is_not_taken_for_the_name_of_a_variable(text, may):
    assert redact.is_variable_name(text) is may
