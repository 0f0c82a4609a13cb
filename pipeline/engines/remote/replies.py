"""What a server's reply says, field by field: nothing of it is believed before it was looked at."""

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
from schemas.records import Reason
from schemas.requests import Answer
from schemas.text import first_line

LONGEST_WAIT = 600.0  # seconds that a server may ask us to wait
MOST_TOKENS = 100_000_000  # of one reply; a larger count is none
ABOVE = 1e-3  # by so much a log-probability may be positive: servers round
LOWEST = -9999.0  # log-probabilities below are as good as impossible
FINISHES = {
    "max_tokens": "length", "MAX_TOKENS": "length", "model_length": "length",
    "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop", "STOP": "stop",
}  # other servers' words for ours  # fmt: skip
ORDER = list(range(256))  # of choices
HTML = re.compile(r"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


class Unreadable(Exception):
    """The reply is not what was asked for; says why. Another try may bring another, `tries` of them at most."""

    def __init__(self, why: str, tries: float = 1):
        super().__init__(why)
        self.tries = tries


class Refusal(RowError):
    """The server does not do what this request asks. When it does so for none, that is no row's fault (pipeline/storage/refusals.py)."""

    def __init__(self, detail: str, reason: Reason = Reason.ENGINE_REFUSED):
        super().__init__(reason, detail)


def loaded(body: bytes) -> dict:
    try:
        reply = orjson.loads(body)
    except ValueError as error:
        raise Unreadable("it is not JSON", math.inf) from error
    if type(reply) is not dict:
        raise Unreadable("it is not a JSON object")
    return reply


def counts(reply: dict) -> tuple[int, int]:
    """The tokens of the prompt and of the answers; 0 for a count that is missing or cannot be one."""
    usage = reply.get("usage")
    if type(usage) is not dict:
        return 0, 0
    return _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))


def _count(said: Any) -> int:
    if type(said) is float and said.is_integer():
        said = int(said)
    return said if type(said) is int and 0 <= said <= MOST_TOKENS else 0


def choices(reply: dict[str, Any], most: int) -> list[dict]:
    """One to `most` choices, in order of their index; in the order in which they came where none has one."""
    found: list[dict] = reply.get("choices", [])
    if type(found) is not list or not found:
        raise Unreadable("it has no list of choices")
    if len(found) > most:
        raise Unreadable(f"it has {len(found)} choices, {most} were asked for")
    try:
        places = [choice.get("index") for choice in found]
    except AttributeError as error:
        raise Unreadable("a choice is not an object") from error
    if len(found) == 1 or places == ORDER[: len(places)] or set(map(type, places)) == {type(None)}:
        return found
    if any(type(place) is not int for place in places) or len(set(places)) < len(places):
        raise Unreadable(f"its choices have the indices {places}")
    return sorted(found, key=itemgetter("index"))


def text(choice: dict) -> str:
    message = choice.get("message")
    content = message.get("content") if type(message) is dict else None
    if type(content) is str:
        return content
    if type(content) is list:
        return "".join(map(_part, content))
    if type(message) is not dict:
        raise Unreadable("a choice has no message")
    if content is None and type(message.get("refusal")) is str:
        return message["refusal"]
    raise Unreadable(f"its content is {_kind(content)}")


def _part(part: Any) -> str:
    if type(part) is str:
        return part
    if type(part) is dict:
        if type(part.get("text")) is str:
            return part["text"]
        if part.get("type") in ("thinking", "reasoning"):
            return ""
    raise Unreadable("a part of its content is not a text")


def _kind(said: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}.get(type(said), "a number")


def finish(choice: dict, tokens: int, most: int) -> str:
    """Why the answer ended. Where the server does not say: `length` when it has as many tokens as it may, else `stop`."""
    said = choice.get("finish_reason")
    if type(said) is str and len(said) <= 40 and said.isprintable():
        return FINISHES.get(said, said)
    if said is None:
        return "length" if tokens >= most else "stop"
    raise Unreadable(f"its finish_reason is {_kind(said)}")


def answers(found: Sequence[dict], tokens: int, most: int) -> tuple[Answer, ...]:
    """The answers; each has its share by length of the `tokens` that they have together."""
    texts = [text(choice) for choice in found]
    share = tokens / (sum(map(len, texts)) or 1)
    left, out = tokens, []
    for said, choice in zip(texts, found, strict=True):
        count = left if len(out) == len(texts) - 1 else round(share * len(said))
        left -= count
        ended = choice.get("finish_reason")
        if ended != "stop":
            ended = finish(choice, count, most)
        out.append(Answer(said, count, ended))
    return tuple(out)


def with_logprobs(choice: dict, most: int) -> Answer:
    each = tuple([logprob(token.get("logprob")) for token in _tokens(choice)])
    return Answer(text(choice), len(each), finish(choice, len(each), most), rounded(sum(each)), each)


def logprob(said: Any) -> float:
    if type(said) not in (float, int) or not math.isfinite(said) or said > ABOVE:
        raise Unreadable(f"a log-probability is {said if type(said) in (float, int) else _kind(said)}")
    return rounded(max(min(said, 0.0), LOWEST))


def first_tokens(choice: dict, wanted: tuple[str, ...]) -> tuple[float | None, ...]:
    """The log-probability of each wanted first token. A token serves one choice: the one that is spelled like it, or else the
    one that is it without the space before it."""
    listed = _tokens(choice)[0].get("top_logprobs")
    if type(listed) is not list or any(
        type(token) is not dict or type(token.get("token")) is not str for token in listed
    ):
        raise Unreadable("its top_logprobs are not a list of tokens")
    found: dict[str, float] = {}
    for token in listed:
        spelled = token["token"]
        name = spelled if spelled in wanted else spelled.lstrip()
        if name in wanted and name not in found:
            found[name] = logprob(token.get("logprob"))
    return tuple([found.get(name) for name in wanted])


def _tokens(choice: dict) -> list[dict]:
    said = choice.get("logprobs")
    if not said or (type(said) is dict and not said.get("content")):
        raise Refusal("the server gives no log-probabilities; use another model for this step")
    found = said.get("content") if type(said) is dict else None
    if type(found) is not list or any(type(token) is not dict for token in found):
        raise Unreadable("its logprobs are not a list of tokens")
    return found


def likelihood(alone: dict, whole: dict) -> tuple[tuple[float, ...], int]:
    """The log-probabilities of a given answer's tokens, and the tokens of the prompt before it: from the replies to the prompt alone and
    with the answer, where their tokens part. LookupError or TypeError from a server that tells none."""
    ids, before, found = whole["prompt_token_ids"], alone["prompt_token_ids"], whole["prompt_logprobs"]
    length = 0
    for one, other in zip(ids, before, strict=False):
        if one != other:
            break
        length += 1
    if len(ids) != len(found):
        raise Unreadable(f"it has {len(found)} log-probabilities of {len(ids)} tokens")
    each = [logprob(of[str(i)]["logprob"]) for i, of in zip(ids[length:], found[length:], strict=True)]
    return tuple(each), length


# what is not an answer


def said(reply: bytes) -> str:
    """The message of a server's error, the title of a page, or the reply itself: its first line, `nothing` when it has none."""
    return first_line(_said(reply))[:1000] or "nothing"


def _said(reply: bytes) -> str:
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
    """The message inside an error, whichever way servers put it."""
    if isinstance(found, list):
        return "; ".join(filter(None, map(_message, found[:3])))
    if not isinstance(found, dict):
        return found if isinstance(found, str) else ""
    for name in ("error", "message", "detail", "msg"):
        if message := _message(found.get(name)):
            place = found.get("loc")  # pydantic's
            return f"{'.'.join(map(str, place))}: {message}" if isinstance(place, list) else message
    return ""


def retry_after(headers: dict[str, str]) -> float | None:
    """Seconds that the server asks to wait, as a number or until a date; None where it does not say so, or not as anyone could read."""
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
