"""Parsers of judge replies. Each is a pure function of the text, runs in linear time, and never raises.

A reply is untrusted: the judge has read hostile answers. Quoted text (fences, double quotes, backticks, lines after `>`) is never taken
as its verdict. Two different verdicts are `unparsable`, never a score."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from schemas.records import Outcome, Span
from schemas.thinking import without_thinking

T = TypeVar("T")
STRENGTHS = {
    str(n): 4.0 - n for n in range(1, 8)
}  # 1 the first answer is much better, 4 equally good, 7 the second is much better
MAX_FAILED_STARTS = 64  # opening braces that lead to no JSON object: each may cost the whole length of the text

# unambiguous patterns that stop at the next opening mark, so that matching takes linear time
_FENCED = re.compile(r"<<<(?:(?!<<<|>>>).)*>>>", re.DOTALL)
_QUOTED = re.compile(r"```(?:(?!```).)*```|`[^`\n]*`|\"[^\"\n]*\"|“[^“”]*”|^[ \t]*>[^\n]*", re.DOTALL | re.MULTILINE)
_BRACKETS = re.compile(r"\[\[\s*(?:answer |response )?(\w{1,12})\s*\]\]", re.IGNORECASE)
_WHOLE = re.compile(
    r"(?:(?:the )?(?:final |my )?(?:verdict|winner|rating|better answer)(?: is)?\W{1,8})?(?:answer |response )?(\w{1,8})(?: is better)?",
    re.IGNORECASE,
)
_SIDES = {"one": 1.0, "1": 1.0, "a": 1.0, "two": -1.0, "2": -1.0, "b": -1.0, "tie": 0.0, "c": 0.0}
_EDGE = " \t\r\n*_#.!:()'"
_REFUSAL = re.compile(
    r"\W*(?:(?:i(?:'|’)?m|i am|we are) (?:really |very )?(?:sorry|unable|not able)|sorry\b|i apologi[sz]e|as an? (?:ai|language model)"
    r"|(?:i|we) (?:can(?:'|’|no)?t|cannot|can not|won(?:'|’)?t|will not|must decline|decline)\b)",
    re.IGNORECASE,
)
_CHAIN = re.compile(r"\d{1,4}(?:\s*>\s*\d{1,4})+")
_OPENING = re.compile(r"\{\s{0,80}[\"}]")
_ABSTAINS = re.compile(
    r"abstain(?:s|ed)?|cannot (?:judge|decide|tell)|can't (?:judge|decide|tell)|unsure", re.IGNORECASE
)


class ParsedReply(NamedTuple, Generic[T]):
    """A parsed reply; `value` is None unless the outcome is a verdict or a tie."""

    outcome: Outcome
    value: T | None = None


def preference(text: str, tie: bool = True) -> ParsedReply[float]:
    """Which of two answers is better: 1 the first, -1 the second, 0 (outcome tie) neither.

    Parsed from `[[1]]`, `[[two]]`, `[[A]]`, `[[tie]]` anywhere outside quotes; without brackets, from a last line that contains nothing
    but a verdict. A tie is unparsable if `tie` is false."""
    sides = _SIDES if tie else {word: side for word, side in _SIDES.items() if side}
    return _spoken(text, sides)


def strength(text: str, tie: bool = True) -> ParsedReply[float]:
    """By how much the first of two answers is better, 3 to -3, from a rating of 1 (first much better), 4 (equal) to 7 (second much better).

    Parsed like `preference`; a 4 is unparsable if `tie` is false."""
    return _spoken(text, {step: by for step, by in STRENGTHS.items() if tie or by})


def _spoken(text: str, known: dict[str, float]) -> ParsedReply[float]:
    text = without_thinking(text) or ""
    plain = strip_quotes(text)
    found = [word.lower() for word in _BRACKETS.findall(plain)]
    if not found:
        lines = [line for line in map(_plain, plain.splitlines()) if line]
        found = [verdict for line in lines if (verdict := _alone(line)) in known]
        found = found if lines and _alone(lines[-1]) in known else []
    if set(found) == {"abstain"}:
        return ParsedReply(Outcome.ABSTAIN)
    values = {known.get(word) for word in found}
    if len(values) != 1 or None in values:
        return ParsedReply(Outcome.UNPARSABLE if found else outcome_without_verdict(text))
    (value,) = values
    return ParsedReply(Outcome.VERDICT if value else Outcome.TIE, value)


def _plain(line: str) -> str:
    return line.strip(_EDGE)


def _alone(line: str) -> str | None:
    """The verdict word of a line that contains nothing else, in lower case; None for any other line."""
    match = _WHOLE.fullmatch(line) if len(line) < 80 else None
    return match and match[1].lower()


def verdict_from_logprobs(
    logprobs: Sequence[float | None], values: Sequence[float]
) -> tuple[ParsedReply[float], float | None]:
    """(verdict, probability that the first answer is better) from the first token's distribution.

    `logprobs` has the natural log-probability of each choice, None if it was not returned; `values` has its value, above 0 if it means
    that the first is better. The probability is 0..1, normalised over the choices, with half of a tie's share, rounded to 4 digits. The
    verdict is the value with the highest probability. Two equally probable values: abstain; no choice returned: unparsable and None."""
    shares: dict[float, float] = {}
    for value, logprob in zip(values, logprobs, strict=True):
        shares[value] = shares.get(value, 0.0) + (0.0 if logprob is None else math.exp(logprob))
    total = sum(shares.values())
    if total == 0:
        return ParsedReply(Outcome.UNPARSABLE), None
    prob = round(sum(p if value > 0 else p / 2 for value, p in shares.items() if value >= 0) / total, 4)
    top = max(shares.values())
    modes = [value for value, p in shares.items() if p == top]
    if len(modes) > 1:
        return ParsedReply(Outcome.ABSTAIN), prob
    return ParsedReply(Outcome.VERDICT if modes[0] else Outcome.TIE, modes[0]), prob


def ratings(
    text: str, axes: Sequence[str], count: int, low: int, high: int
) -> ParsedReply[dict[str, tuple[float, ...]]]:
    """Per axis, `count` integer ratings from `low` to `high`, from the only JSON object that has all `axes` as keys.

    Unparsable: no such object or several, a different number of ratings, non-integers, values out of range. Nothing is rounded or clipped."""
    found = _object(without_thinking(text) or "", axes)
    if isinstance(found, Outcome):
        return ParsedReply(found)
    for axis in axes:
        given = found.get(axis)
        if not isinstance(given, list) or len(given) != count or not all(_whole(r, low, high) for r in given):
            return ParsedReply(Outcome.UNPARSABLE)
    return ParsedReply(Outcome.VERDICT, {axis: tuple(map(float, found[axis])) for axis in axes})


def ranking(text: str, count: int) -> ParsedReply[tuple[int, ...]]:
    """The indices (from 0) of `count` answers, best first, from the JSON `{"ranking": [2, 1, 3]}` or a line `2 > 1 > 3` (numbered from 1).

    Anything but exactly one permutation is unparsable."""
    text = without_thinking(text) or ""
    found = [o["ranking"] for o in _having(text, ("ranking",))] + _chains(text)
    if len(found) != 1:
        return ParsedReply(Outcome.UNPARSABLE if found else outcome_without_verdict(text))
    (order,) = found
    if not isinstance(order, list) or len(order) != count or not all(_whole(n, 1, count) for n in order):
        return ParsedReply(Outcome.UNPARSABLE)
    places = tuple(n - 1 for n in order)
    return ParsedReply(Outcome.VERDICT, places) if len(set(places)) == count else ParsedReply(Outcome.UNPARSABLE)


def error_spans(text: str, answer: str, classes: Sequence[str], worst: int) -> ParsedReply[tuple[Span, ...]]:
    """The faulty spans of `answer`, in order, from the only JSON object `{"faults": [{"text", "class", "severity", "correction"}]}`.

    A span is located by its exact text; repeated text maps to successive occurrences. The reply is unparsable if a text is not in the
    answer, a class is not in `classes`, or a severity is not an integer from 1 to `worst`. An empty list is a verdict without spans."""
    found = _object(without_thinking(text) or "", ("faults",))
    if isinstance(found, Outcome):
        return ParsedReply(found)
    marked = found["faults"]
    if not isinstance(marked, list):
        return ParsedReply(Outcome.UNPARSABLE)
    spans: list[Span] = []
    after: dict[str, int] = {}
    for fault in marked:
        if not isinstance(fault, dict):
            return ParsedReply(Outcome.UNPARSABLE)
        words, kind, severity, correction = (fault.get(k) for k in ("text", "class", "severity", "correction"))
        good = isinstance(words, str) and words.strip() and kind in classes and _whole(severity, 1, worst)
        start = answer.find(words, after.get(words, 0)) if good else -1
        if start < 0 or not isinstance(correction, str | None):
            return ParsedReply(Outcome.UNPARSABLE)
        after[words] = start + len(words)
        spans.append(Span(start, after[words], None, kind, float(severity), correction or None))
    return ParsedReply(Outcome.VERDICT, tuple(sorted(spans, key=lambda s: s[:2])))


def outcome_without_verdict(text: str) -> Outcome:
    """The outcome of a reply without a verdict: `refused` or `abstain` if it says so explicitly, else `unparsable`."""
    if _REFUSAL.match(text):
        return Outcome.REFUSED
    return Outcome.ABSTAIN if _ABSTAINS.fullmatch(text.strip(_EDGE)) else Outcome.UNPARSABLE


def strip_quotes(text: str) -> str:
    """`text` with every quoted passage replaced by a space."""
    return _QUOTED.sub(" ", _FENCED.sub(" ", text))


def _object(text: str, keys: Sequence[str]) -> dict[str, Any] | Outcome:
    """The only JSON object that has all `keys`; if there is not exactly one, the outcome of the reply."""
    found = _having(text, keys)
    if len(found) == 1:
        return found[0]
    return Outcome.UNPARSABLE if found else outcome_without_verdict(text)


def _having(text: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects outside fences that have all `keys`."""
    return [o for o in _objects(_FENCED.sub(" ", text)) if all(k in o for k in keys)]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text; truncated ones and those with a duplicate key are skipped. Stops after MAX_FAILED_STARTS."""
    end, failed = 0, 0
    for start in _OPENING.finditer(text):
        if start.start() < end:
            continue
        try:
            found, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            failed += 1
            if failed == MAX_FAILED_STARTS:
                return
        else:
            yield found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate key")
    return dict(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _chains(text: str) -> list[list[int]]:
    """The numbers of each line outside fences that has the form `2 > 1 > 3`."""
    lines = [_plain(line) for line in _FENCED.sub(" ", text).splitlines()]
    return [[int(n) for n in line.split(">")] for line in lines if _CHAIN.fullmatch(line)]


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
