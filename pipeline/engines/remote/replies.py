"""Parsing a server's reply: every field is validated before it is used."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from operator import itemgetter
from typing import Any

import orjson

from pipeline.modeling.special_tokens import rounded
from schemas.errors import RowError
from schemas.finish import CONTENT_FILTER, LENGTH, STOP, TOOL_CALLS, finish_name
from schemas.records import Reason
from schemas.requests import Answer
from schemas.text import first_line

LONGEST_WAIT = 600.0  # maximum wait in seconds that a server may ask for
MOST_TOKENS = 100_000_000  # of one reply; a larger count is ignored
ABOVE = 1e-3  # tolerance for log-probabilities above 0: servers round
LOWEST = -9999.0  # lower log-probabilities are clipped to this
THOUGHTS = (
    "reasoning_content",
    "reasoning",
    "thinking",
)  # fields of a message, and types of a part, with what the model thought
ORDER = list(range(256))  # indices of choices in order
HTML = re.compile(r"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class MalformedReply(Exception):
    """The reply is malformed; the message says why. The request may be retried, at most `tries` times."""

    def __init__(self, why: str, tries: float = 1):
        super().__init__(why)
        self.tries = tries


class Refusal(RowError):
    """The server refuses this request. If it refuses all requests, the run is at fault, not the row (pipeline/storage/refusals.py)."""

    def __init__(self, detail: str, reason: Reason = Reason.ENGINE_REFUSED):
        super().__init__(reason, detail)


def loaded(body: bytes) -> dict:
    """The JSON object of a reply. MalformedReply if it is not one."""
    try:
        reply = orjson.loads(body)
    except ValueError as error:
        raise MalformedReply("it is not JSON", math.inf) from error
    if type(reply) is not dict:
        raise MalformedReply("it is not a JSON object")
    return reply


def counts(reply: dict) -> tuple[int, int]:
    """(prompt tokens, answer tokens); 0 for a count that is missing or impossible."""
    usage = reply.get("usage")
    if type(usage) is not dict:
        return 0, 0
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else 0


def choices(reply: dict[str, Any], most: int) -> list[dict]:
    """The 1 to `most` choices, sorted by index; in the order of the reply if none has an index. MalformedReply otherwise."""
    found: list[dict] = reply.get("choices", [])
    if type(found) is not list or not found:
        raise MalformedReply("it has no list of choices")
    if len(found) > most:
        raise MalformedReply(f"it has {len(found)} choices instead of {most}")
    try:
        places = [choice.get("index") for choice in found]
    except AttributeError as error:
        raise MalformedReply("a choice is not an object") from error
    if len(found) == 1 or places == ORDER[: len(places)] or set(map(type, places)) == {type(None)}:
        return found
    if any(type(place) is not int for place in places) or len(set(places)) < len(places):
        raise MalformedReply(f"its choices have the indices {places}")
    return sorted(found, key=itemgetter("index"))


def thought_tokens(reply: dict) -> int:
    """Answer tokens that went into thinking, as far as the server reports them."""
    usage = reply.get("usage")
    details = usage.get("completion_tokens_details") if type(usage) is dict else None
    return _count(details.get("reasoning_tokens")) if type(details) is dict else 0


def text(choice: dict) -> str:
    """The text of a choice: its content, the joined text parts, or its refusal; empty where only a thought or a tool call came, or the answer
    ended early. MalformedReply if there is none."""
    message = choice.get("message")
    content = message.get("content") if type(message) is dict else None
    if type(content) is str:
        return content
    if type(content) is list:
        return "".join(map(_part, content))
    if type(message) is not dict:
        raise MalformedReply("a choice has no message")
    if content is None and type(message.get("refusal")) is str:
        return message["refusal"]
    if content is None and (
        _called(message) or thought(choice) or _ended(choice) in (LENGTH, TOOL_CALLS, CONTENT_FILTER)
    ):
        return ""
    raise MalformedReply(f"its content is {_kind(content)}")


def _part(part: Any) -> str:
    if type(part) is str:
        return part
    if type(part) is dict:
        if type(part.get("text")) is str:
            return part["text"]
        if part.get("type") in THOUGHTS:
            return ""
    raise MalformedReply("a part of its content is not a text")


def thought(choice: dict) -> str | None:
    """What the model thought before its answer, if the server reports it apart from the text."""
    message = choice["message"]
    found = [message.get(name) for name in THOUGHTS]
    content = message.get("content")
    if type(content) is list:
        found += [
            part.get(name)
            for part in content
            if type(part) is dict and part.get("type") in THOUGHTS
            for name in THOUGHTS
        ]
    return next(filter(None, map(_thought, found)), None)


def _thought(value: Any) -> str:
    if type(value) is list:
        return "".join([part["text"] for part in value if type(part) is dict and type(part.get("text")) is str])
    return value if type(value) is str else ""


def _called(message: Any) -> bool:
    return type(message) is dict and bool(message.get("tool_calls") or message.get("function_call"))


def _ended(choice: dict) -> str | None:
    reason = choice.get("finish_reason")
    return finish_name(reason) if type(reason) is str else None


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def finish(choice: dict, tokens: int, most: int) -> str:
    """Why the answer ended; `tool_calls` for every message with such calls. If the server does not say: `length` when it has at least `most`
    tokens, else `stop`."""
    reason = choice.get("finish_reason")
    if _called(choice.get("message")):
        return TOOL_CALLS
    if reason is None or reason == "":
        return LENGTH if tokens >= most else STOP
    if type(reason) is str and len(reason) <= 40 and reason.isprintable():
        return finish_name(reason)
    raise MalformedReply(f"its finish_reason is {_kind(reason)}")


def answers(found: Sequence[dict], tokens: int, most: int) -> tuple[Answer, ...]:
    """The answers; each gets a share of the total `tokens` in proportion to its length. `most`: maximum tokens of one answer."""
    texts = [text(choice) for choice in found]
    share = tokens / (sum(map(len, texts)) or 1)
    left, out = tokens, []
    for answer, choice in zip(texts, found, strict=True):
        count = left if len(out) == len(texts) - 1 else round(share * len(answer))
        left -= count
        out.append(Answer(answer, count, finish(choice, count, most), thought=thought(choice)))
    return tuple(out)


def with_logprobs(choice: dict, most: int) -> Answer:
    """The answer with its token log-probabilities. Refusal if the server returns none of an answer."""
    answer = text(choice)
    if not answer and finish(choice, 0, most) != STOP:  # there may be no tokens to report
        return Answer(answer, 0, finish(choice, 0, most), thought=thought(choice))
    each = tuple([logprob(token.get("logprob")) for token in _tokens(choice)])
    return Answer(answer, len(each), finish(choice, len(each), most), rounded(sum(each)), each, thought(choice))


def logprob(value: Any) -> float:
    """A log-probability, clipped to LOWEST..0 and rounded to 4 digits. MalformedReply if it is not a finite number of at most ABOVE."""
    if type(value) not in (float, int) or not math.isfinite(value) or value > ABOVE:
        raise MalformedReply(f"a log-probability is {value if type(value) in (float, int) else _kind(value)}")
    return rounded(max(min(value, 0.0), LOWEST))


def first_tokens(choice: dict, wanted: tuple[str, ...]) -> tuple[float | None, ...]:
    """The log-probability of each wanted first token; None for those not listed. A token counts for one choice: the one spelled
    exactly like it, or else the one spelled like it without leading white space."""
    listed = _tokens(choice)[0].get("top_logprobs")
    if type(listed) is not list or any(
        type(token) is not dict or type(token.get("token")) is not str for token in listed
    ):
        raise MalformedReply("its top_logprobs are not a list of tokens")
    found: dict[str, float] = {}
    for token in listed:
        spelled = token["token"]
        name = spelled if spelled in wanted else spelled.lstrip()
        if name in wanted and name not in found:
            found[name] = logprob(token.get("logprob"))
    return tuple([found.get(name) for name in wanted])


def _tokens(choice: dict) -> list[dict]:
    logprobs = choice.get("logprobs")
    if not logprobs or (type(logprobs) is dict and not logprobs.get("content")):
        raise Refusal(
            "the server returns no log-probabilities; use another model for this step, or `reason: true` with judge.pairwise"
        )
    found = logprobs.get("content") if type(logprobs) is dict else None
    if type(found) is not list or any(type(token) is not dict for token in found):
        raise MalformedReply("its logprobs are not a list of tokens")
    return found


def likelihood(alone: dict, whole: dict) -> tuple[tuple[float, ...], int]:
    """(log-probabilities of an answer's tokens, number of prompt tokens), from the replies to the prompt alone and with the answer: the
    answer begins where their tokens diverge. LookupError or TypeError if the server returns no prompt log-probabilities."""
    ids, before, found = whole["prompt_token_ids"], alone["prompt_token_ids"], whole["prompt_logprobs"]
    length = 0
    for token, token_before in zip(ids, before, strict=False):
        if token != token_before:
            break
        length += 1
    if len(ids) != len(found):
        raise MalformedReply(f"it has {len(found)} log-probabilities for {len(ids)} tokens")
    each = [logprob(entry[str(i)]["logprob"]) for i, entry in zip(ids[length:], found[length:], strict=True)]
    return tuple(each), length


# error replies


def error_message(reply: bytes) -> str:
    """The first line of a server's error message, of a web page's title, or of the reply itself; `nothing` for an empty reply."""
    return first_line(_error_text(reply))[:1000] or "nothing"


def _error_text(reply: bytes) -> str:
    start = reply[:4000].decode(errors="replace")
    if HTML.match(start):
        title = TITLE.search(start)
        inside = (
            title[1]
            if title
            else re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", start, flags=re.IGNORECASE | re.DOTALL)
        )
        return f"a web page, {' '.join(inside.split())[:200]!r}"
    try:
        found = orjson.loads(reply)
    except ValueError:
        return start
    message = _message(found)
    return message if message.strip() else start


def _message(found: Any) -> str:
    """The message inside an error, in any of the layouts that servers use; empty if there is none."""
    if isinstance(found, list):
        return "; ".join(filter(None, map(_message, found[:3])))
    if not isinstance(found, dict):
        return found if isinstance(found, str) else ""
    for name in ("error", "message", "detail", "msg"):
        if message := _message(found.get(name)):
            place = found.get("loc")  # of pydantic
            return f"{'.'.join(map(str, place))}: {message}" if isinstance(place, list) else message
    return ""


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the server asks to wait (a number or a date in Retry-After), 0..LONGEST_WAIT; None if missing or invalid."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, LookupError, OverflowError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None
