"""What is learnt of a server from what it refuses."""

import json

import pytest

from pipeline.engines.remote.parameters import USUAL, Dialect

ASKED = {"n": 4, "temperature": 0.0, "top_p": 0.9, "max_tokens": 64, "seed": 7, "stop": ["."]}


def learnt(message: str, asked: dict = ASKED, dialect: Dialect = USUAL, **error) -> Dialect | None:
    return dialect.learnt(json.dumps({"error": {"message": message, **error}}).encode(), asked)


def test_a_usual_server_gets_the_options_as_they_are():
    assert USUAL.put(ASKED) is ASKED


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens is deprecated in favor of max_completion_tokens", "Unrecognized request argument supplied: max_tokens",
    ],
)  # fmt: skip
def test_a_server_that_calls_it_max_completion_tokens_is_asked_so(message):
    said = learnt(message).put(ASKED)
    assert said["max_completion_tokens"] == 64
    assert "max_tokens" not in said


@pytest.mark.parametrize("name", ["seed", "temperature", "top_p"])
@pytest.mark.parametrize(
    "message",
    [
        "Unsupported value: '{}' does not support 0 with this model. Only the default (1) value is supported.",
        "{} is not supported", "Unknown name \"{}\": Cannot find field.", "unexpected keyword argument '{}'", "property '{}' is unsupported",
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_taken_is_left_out(name, message):
    assert name not in learnt(message.format(name)).put(ASKED)


def test_pydantic_names_the_place():
    body = {
        "detail": [
            {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 0}
        ]
    }
    assert USUAL.learnt(json.dumps(body).encode(), ASKED) == Dialect(without=frozenset({"seed"}))


def test_the_field_that_names_the_parameter_counts_before_the_words():
    assert learnt("seed or temperature is not supported", param="temperature").without == {"temperature"}


@pytest.mark.parametrize(
    "message",
    [
        "'n' must be 1",
        'Invalid JSON payload received. Unknown name "n": Cannot find field.',
        "n > 1 is not supported",
        "`n` : number must be at most 1",
        "Unsupported value: 'n' does not support 4 with this model",
        "Only one completion choice is allowed",
        "Multiple candidates is not enabled for this model",
    ],
)
def test_a_server_of_one_answer_is_asked_for_one_at_a_time(message):
    dialect = learnt(message)
    assert dialect.put(ASKED)["n"] == 1
    # and where the word itself is not known
    assert "n" not in learnt("Unknown parameter: 'n'.", dialect=dialect).put(ASKED)


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be between 0 and 2", "max_tokens is too large: 64", "Your credit balance is too low", "This model's maximum context length is 512",
        "Unsupported image: use png", "stop is not supported", "the model does not support images, in no way", "Unsupported parameter: 'logprobs'",
    ],
)  # fmt: skip
def test_nothing_is_learnt_from_a_refusal_of_something_else(message):
    assert learnt(message) is None


def test_what_was_learnt_is_not_learnt_twice():
    dialect = learnt("'seed' is not supported")
    assert learnt("'seed' is not supported", dialect=dialect) is None
    assert dialect.words() == "without seed"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"error": "unsupported"}',
        b'{"error": {"param": [1]}}',
        b'{"detail": [1, {"loc": 3}]}',
    ],
)
def test_any_reply_can_be_looked_at(body):
    assert USUAL.learnt(b"unsupported " + body, ASKED) is None
