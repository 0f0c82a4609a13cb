"""What is believed of a server's reply, and what is not."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pipeline.engines.remote import replies
from pipeline.engines.remote.replies import MalformedReply, Refusal
from schemas.requests import Answer


def choice(content="hello", finish="stop", **more) -> dict:
    return {"message": {"role": "assistant", "content": content}, "finish_reason": finish, **more}


def test_answers_share_the_tokens_that_were_counted_by_their_length():
    found = replies.answers([choice("ab"), choice("cd", "length")], 9, 16)
    assert found == (Answer("ab", 4, "stop"), Answer("cd", 5, "length"))


@pytest.mark.parametrize(
    ("content", "text"),
    [([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}], "a b"), (["a", "b"], "ab"), ([], ""), ("", ""),
     ([{"type": "thinking", "thinking": [{"text": "well"}]}, {"type": "text", "text": "b"}], "b")],
)  # fmt: skip
def test_text_may_come_in_parts(content, text):
    assert replies.text(choice(content)) == text


def test_a_refusal_in_words_is_an_answer():
    assert (
        replies.text({"message": {"content": None, "refusal": "I can't help with that."}}) == "I can't help with that."
    )


@pytest.mark.parametrize("content", [None, {"text": "a"}, 3, True, 1.5, [1], [{"type": "image_url"}], [None]])
def test_what_is_no_text_is_unreadable(content):
    with pytest.raises(MalformedReply, match="content"):
        replies.text(choice(content))


@pytest.mark.parametrize(("message"), [None, [], "hello", 1])
def test_a_choice_has_a_message(message):
    with pytest.raises(MalformedReply, match="no message"):
        replies.text({"message": message})


@pytest.mark.parametrize(
    ("said", "tokens", "finish"),
    [("stop", 3, "stop"), ("length", 3, "length"), ("eos_token", 3, "stop"), ("max_tokens", 3, "length"), ("tool_calls", 3, "tool_calls"),
     (None, 3, "stop"), (None, 16, "length"), ("", 3, "stop"), ("SAFETY", 3, "content_filter"), ("abort", 3, "abort")],
)  # fmt: skip
def test_how_an_answer_ended(said, tokens, finish):
    assert replies.finish({"finish_reason": said}, tokens, 16) == finish


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [{"id": "1"}]},
        {"tool_calls": [{"id": "1"}]},
        {"content": "I look.", "function_call": {"name": "zoom"}},
    ],
)
@pytest.mark.parametrize("said", ["tool_calls", "stop", None])
def test_a_call_of_a_tool_is_no_answer_whatever_the_server_calls_its_end(message, said):
    (found,) = replies.answers([{"message": message, "finish_reason": said}], 3, 16)
    assert (found.text, found.finish) == (message.get("content") or "", "tool_calls")
    assert (
        replies.with_logprobs({"message": message | {"content": None}, "finish_reason": said}, 16).finish
        == "tool_calls"
    )
    assert replies.finish(choice(tool_calls=[]), 3, 16) == "stop"


@pytest.mark.parametrize(
    ("message", "thought"),
    [({"content": "", "reasoning_content": "One?"}, "One?"), ({"content": None, "reasoning": "One?"}, "One?"), ({"content": "", "reasoning": None}, None),
     ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "One?"}]}]}, "One?"), ({"content": ""}, None)],
)  # fmt: skip
def test_a_thought_is_kept_apart_from_the_text(message, thought):
    (found,) = replies.answers([{"message": message, "finish_reason": "length"}], 16, 16)
    assert (found.text, found.finish, found.thought) == ("", "length", thought)


def test_tokens_of_a_thought_are_counted():
    assert replies.thought_tokens({"usage": {"completion_tokens_details": {"reasoning_tokens": 64}}}) == 64
    assert [replies.thought_tokens({"usage": u}) for u in (None, {}, {"completion_tokens_details": None})] == [0, 0, 0]


@pytest.mark.parametrize("said", ["length", "content_filter", "max_tokens"])
def test_a_reply_without_content_that_ended_early_is_an_empty_one(said):
    assert replies.text(choice(None, said)) == ""


@pytest.mark.parametrize("said", [3, {}, [], True, 1.5, "x" * 100, "a\nb"])
def test_an_end_that_is_no_word_is_unreadable(said):
    with pytest.raises(MalformedReply):
        replies.finish({"finish_reason": said}, 3, 16)


@pytest.mark.parametrize("said", [None, "12", -1, 1e30, 10**30, [], {}, True, 0.5])
def test_a_count_that_cannot_be_one_is_none(said):
    assert replies.counts({"usage": {"prompt_tokens": said, "completion_tokens": 7.0}}) == (0, 7)


@pytest.mark.parametrize("usage", [None, [], "many", 3])
def test_usage_may_be_anything(usage):
    assert replies.counts({"usage": usage}) == (0, 0)
    assert replies.counts({}) == (0, 0)


def test_choices_come_in_order_of_their_index_or_as_they_came():
    assert [c["index"] for c in replies.choices({"choices": [{"index": 2}, {"index": 0}, {"index": 1}]}, 3)] == [
        0,
        1,
        2,
    ]
    assert replies.choices({"choices": [{"a": 1}, {"a": 2}]}, 3) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "choices",
    [None, [], {}, "ab", ["a"], [None], [{}, {}, {}], [{"index": 0}, {"index": 0}], [{"index": 0}, {}], [{"index": 0}, {"index": "1"}],
     [{"index": 0}, {"index": 0.5}], [{"index": 1}, {"index": []}]],
)  # fmt: skip
def test_choices_that_cannot_be_told_apart_are_unreadable(choices):
    with pytest.raises(MalformedReply):
        replies.choices({"choices": choices}, 2)


def test_a_log_probability_is_one():
    assert [replies.logprob(said) for said in (-1.23456, 0, 0.0, 1e-5, -1e30)] == [-1.2346, 0.0, 0.0, 0.0, -9999.0]
    for said in (0.5, "x", None, True, float("nan"), float("-inf"), []):
        with pytest.raises(MalformedReply):
            replies.logprob(said)


@pytest.mark.parametrize("said", [None, {}, {"content": None}, {"content": []}, []])
def test_log_probabilities_that_do_not_come_are_a_refusal(said):
    with pytest.raises(
        Refusal, match=r"returns no log-probabilities; use another model for this step, or `reason: true`"
    ):
        replies.with_logprobs(choice(logprobs=said), 16)


@pytest.mark.parametrize(
    "said", ["text", {"content": "text"}, {"content": [1]}, {"content": [{"logprob": 3}]}, {"content": [{}]}, [1]]
)
def test_log_probabilities_of_another_form_are_unreadable(said):
    with pytest.raises(MalformedReply):
        replies.with_logprobs(choice(logprobs=said), 16)


@pytest.mark.parametrize(
    "listed",
    [
        None,
        {},
        [1],
        [{"token": 1, "logprob": -1}],
        [{"logprob": -1}],
        [{"token": "yes", "logprob": 2}],
        [{"token": "yes"}],
    ],
)
def test_first_tokens_of_another_form_are_unreadable(listed):
    with pytest.raises(MalformedReply):
        replies.first_tokens(choice(logprobs={"content": [{"top_logprobs": listed}]}), ("yes", "no"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"NaN", b'{"a": NaN}', b'{"a": "\\ud800"}', b"\xff\xfe", b"[" * 5000, b"[]", b"7", b"null"]
)
def test_what_is_no_json_object_is_unreadable(body):
    with pytest.raises(MalformedReply):
        replies.loaded(body)


PAGE = b"<!DOCTYPE html>\n<html><head><title>\n502 Bad\nGateway</title></head><body>nginx</body></html>"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "too hot", "code": 7}}', "too hot"), (b'{"error": "too hot"}', "too hot"), (b'{"message": "too hot"}', "too hot"),
        (b'{"detail": "Not Found"}', "Not Found"), (b'[{"error": {"message": "too hot"}}]', "too hot"),
        (b'{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}', "body.seed: Extra inputs are not permitted"),
        (b'{"error": null}', '{"error": null}'), (b'{"error": {"message": 5}}', '{"error": {"message": 5}}'), (b"[]", "[]"), (b"7", "7"),
        (PAGE, "a web page, '502 Bad Gateway'"), (b"<html><body><h1>Sign</h1>in</body></html>", "a web page, 'Sign in'"),
        (b"\n\n  first\nsecond", "first"), (b"", "nothing"), (b" \n", "nothing"), (b"\xff\xfe", "\ufffd\ufffd"), (b"x" * 9000, "x" * 1000),
    ],
)  # fmt: skip
def test_what_a_server_says_is_one_line(body, said):
    assert replies.error_message(body) == said


def test_a_wait_may_be_told_as_a_date():
    then = datetime.now(UTC) + timedelta(seconds=30)
    seconds = replies.retry_after({"retry-after": format_datetime(then, usegmt=True)})
    assert 28 < seconds <= 30  # dates have whole seconds
    assert replies.retry_after({"retry-after": format_datetime(then - timedelta(hours=1), usegmt=True)}) == 0
    assert replies.retry_after({"retry-after": "99999"}) == 600  # no server stops a run for a day
    assert replies.retry_after({"retry-after": "-3"}) == 0


@pytest.mark.parametrize(
    "said",
    ["soon", "nan", "inf", "", "1e999", "Wed, 21 Oct 2015 07:28:00 +9999", "Mon, 01 Jan 0000 00:00:00 GMT", "Wed, 99 Oct 2015 07:28:00 GMT",
     "Fri, 31 Dec 9999 23:59:59 -2359", "Wed, 21 Oct 99999999999 07:28:00 GMT", "\u0661\u0662 Oct", ",", "0x10"],
)  # fmt: skip
def test_a_wait_that_nobody_can_read_never_raises(said):
    assert replies.retry_after({"retry-after": said}) in (None, 0.0, 600.0)
