"""How answers end: one vocabulary for the finish reasons of engines, and why an answer that did not end by itself is not used.

Only an answer with the finish `stop` is complete. Nothing is parsed from any other: no verdict, no claims, no rewritten text."""

import re
from typing import NamedTuple

from schemas.records import Reason
from schemas.requests import Answer
from schemas.thinking import without_thinking

STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER = "stop", "length", "tool_calls", "content_filter"
WORDS = {
    STOP: "eos eos_token end_turn end_of_turn stop_sequence stop_string stop_token complete completed finished eosfound stopstringfound",
    LENGTH: "max_tokens max_new_tokens max_output_tokens max_length model_length error_limit contextlengthreached maxpredictedtokensreached",
    TOOL_CALLS: "tool_call tool_use function_call malformed_function_call unexpected_tool_call",
    CONTENT_FILTER: "content_filtered guardrail_intervened safety image_safety recitation blocklist prohibited_content spii refusal sensitive error_toxic",
}  # of other servers, in lower case
_PREFIX = re.compile(r"finish_?reason[._]")  # of an enum's member
_NAMES = {word: name for name, words in WORDS.items() for word in (name, *words.split())}


class Unfinished(NamedTuple):
    """Why an answer is incomplete."""

    reason: Reason  # TRUNCATED, TOOL_CALL, FILTERED or UNFINISHED
    detail: str  # what ended it, and the remedy


def finish_name(word: str) -> str:
    """The finish that a server means by `word`; an unknown word is returned unchanged."""
    if word == STOP:  # the common case
        return word
    plain = _PREFIX.sub("", word.lower()).partition(":")[0]
    return _NAMES.get(plain.strip(), word)


def unfinished(answer: Answer, max_tokens: int) -> Unfinished | None:
    """Why an answer to a request with this `max_tokens` is incomplete; None if it ended by itself."""
    match answer.finish:
        case "stop":
            return None
        case "length" if only_thought(answer):
            detail = f"all {max_tokens} tokens of max_tokens went into thinking before an answer; raise max_tokens"
            return Unfinished(Reason.TRUNCATED, detail)
        case "length":
            return Unfinished(Reason.TRUNCATED, f"max_tokens ({max_tokens}) cut it off; raise max_tokens")
        case "tool_calls":
            detail = "it calls a tool, which is not supported; serve the model without tools, or use another one"
            return Unfinished(Reason.TOOL_CALL, detail)
        case "content_filter":
            return Unfinished(
                Reason.FILTERED, "the server's content filter ended it; use another model, or remove the row"
            )
    return Unfinished(
        Reason.UNFINISHED, f"the server ended it with {answer.finish!r}; check its log, or use another one"
    )


def only_thought(answer: Answer) -> bool:
    """Whether an answer consists of a thought only."""
    spoken = without_thinking(answer.text)
    return spoken is None or (not spoken.strip() and (answer.thought is not None or bool(answer.text.strip())))


FIRST = "\n\n[the first reply, which could not be read]\n"


def with_first(reply: str, first: str) -> str:
    """A second reply, and after it the first one, for people to see; nothing is read from what follows FIRST."""
    return f"{reply}{FIRST}{first}"


def with_thought(answer: Answer) -> str:
    """The answer's text after its thought, if the server moved the thought into a separate field: the reply as far as it is known."""
    return f"<think>\n{answer.thought}\n</think>\n{answer.text}" if answer.thought else answer.text
