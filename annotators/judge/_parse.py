"""What a judge's words say: each parser is a pure function of a text, and none raises whatever the text is.

A reply is data from a model that read hostile answers. What it quotes (fences, double quotes, backticks, lines after `>`) is not its
verdict, and two different verdicts are none: that is `unparsable`, never a score. Time grows with the length of the text alone."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from schemas.records import Outcome, Span

T = TypeVar("T")
STRENGTHS = {
    str(n): 4.0 - n for n in range(1, 8)
}  # 1 the first answer is much better, 4 equally good, 7 the second is much better
STARTS = 64  # of objects that are none: each may take as long as the text

# no part of these can match in two ways, and each stops at the next opening mark: time is linear
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


class Reply(NamedTuple, Generic[T]):
    """What a text says: a value where the outcome is a verdict or a tie, else None."""

    outcome: Outcome
    value: T | None = None


def preference(text: str, tie: bool = True) -> Reply[float]:
    """Which of two answers is better: 1 the first, -1 the second, 0 and outcome tie.

    Read from `[[1]]`, `[[two]]`, `[[A]]`, `[[tie]]` anywhere outside quotes; without brackets from a reply, or its last line, that is
    nothing but a verdict. A tie where none is allowed cannot be read."""
    sides = _SIDES if tie else {word: side for word, side in _SIDES.items() if side}
    return _spoken(text, sides)


def strength(text: str, tie: bool = True) -> Reply[float]:
    """By how much the first of two answers is better, from a rating of 1 (much) over 4 (equal) to 7 (the second much): 3 to -3."""
    return _spoken(text, {step: by for step, by in STRENGTHS.items() if tie or by})


def _spoken(text: str, known: dict[str, float]) -> Reply[float]:
    plain = strip_quotes(text)
    found = [word.lower() for word in _BRACKETS.findall(plain)]
    if not found:
        lines = [line for line in map(_plain, plain.splitlines()) if line]
        found = [said for line in lines if (said := _alone(line)) in known]
        found = found if lines and _alone(lines[-1]) in known else []
    if set(found) == {"abstain"}:
        return Reply(Outcome.ABSTAIN)
    said = {known.get(word) for word in found}
    if len(said) != 1 or None in said:
        return Reply(Outcome.UNPARSABLE if found else is_unread(text))
    (value,) = said
    return Reply(Outcome.VERDICT if value else Outcome.TIE, value)


def _plain(line: str) -> str:
    return line.strip(_EDGE)


def _alone(line: str) -> str | None:
    """The verdict of a line that says nothing else."""
    match = _WHOLE.fullmatch(line) if len(line) < 80 else None
    return match and match[1].lower()


def weighed(logprobs: Sequence[float | None], values: Sequence[float]) -> tuple[Reply[float], float | None]:
    """(verdict, probability 0..1 that the first is better) of first tokens: of each choice its log-probability, and its value, above 0 where it
    says that the first is better.

    The probability is among the choices, ties shared, rounded to 4 digits; the verdict is the likeliest value. Where two values are
    exactly as likely the judge prefers none and abstains; where no choice was among the tokens, there is nothing to read."""
    shares: dict[float, float] = {}
    for value, logprob in zip(values, logprobs, strict=True):
        shares[value] = shares.get(value, 0.0) + (0.0 if logprob is None else math.exp(logprob))
    total = sum(shares.values())
    if total == 0:
        return Reply(Outcome.UNPARSABLE), None
    prob = round(sum(p if value > 0 else p / 2 for value, p in shares.items() if value >= 0) / total, 4)
    top = max(shares.values())
    likeliest = [value for value, p in shares.items() if p == top]
    if len(likeliest) > 1:
        return Reply(Outcome.ABSTAIN), prob
    return Reply(Outcome.VERDICT if likeliest[0] else Outcome.TIE, likeliest[0]), prob


def ratings(text: str, axes: Sequence[str], count: int, low: int, high: int) -> Reply[dict[str, tuple[float, ...]]]:
    """For each axis as many whole numbers from `low` to `high` as there are answers, from the one JSON object that has the axes.

    None or several such objects, other numbers than asked for, broken or out-of-range ones cannot be read; nothing is rounded or clipped."""
    said = _object(text, axes)
    if isinstance(said, Outcome):
        return Reply(said)
    for axis in axes:
        given = said.get(axis)
        if not isinstance(given, list) or len(given) != count or not all(_whole(r, low, high) for r in given):
            return Reply(Outcome.UNPARSABLE)
    return Reply(Outcome.VERDICT, {axis: tuple(map(float, said[axis])) for axis in axes})


def ranking(text: str, count: int) -> Reply[tuple[int, ...]]:
    """The places (0 first) of `count` answers, best first: from the JSON `{"ranking": [2, 1, 3]}`, else from one line `2 > 1 > 3`.

    Anything but a permutation cannot be read."""
    said = [o["ranking"] for o in _having(text, ("ranking",))] + _chains(text)
    if len(said) != 1:
        return Reply(Outcome.UNPARSABLE if said else is_unread(text))
    (order,) = said
    if not isinstance(order, list) or len(order) != count or not all(_whole(n, 1, count) for n in order):
        return Reply(Outcome.UNPARSABLE)
    places = tuple(n - 1 for n in order)
    return Reply(Outcome.VERDICT, places) if len(set(places)) == count else Reply(Outcome.UNPARSABLE)


def error_spans(text: str, answer: str, classes: Sequence[str], worst: int) -> Reply[tuple[Span, ...]]:
    """The faulty stretches of `answer`, in order, from the one JSON object `{"faults": [{"text", "class", "severity", "correction"}]}`.

    A stretch is found by its exact words: of equal ones the first that is not taken yet. One whose words are not in the answer, whose
    class is none of `classes` or whose severity is not a whole number from 1 to `worst`, makes the reply unparsable. No fault at all is
    a verdict with no span."""
    said = _object(text, ("faults",))
    if isinstance(said, Outcome):
        return Reply(said)
    marked = said["faults"]
    if not isinstance(marked, list):
        return Reply(Outcome.UNPARSABLE)
    spans: list[Span] = []
    after: dict[str, int] = {}
    for fault in marked:
        if not isinstance(fault, dict):
            return Reply(Outcome.UNPARSABLE)
        words, kind, severity, correction = (fault.get(k) for k in ("text", "class", "severity", "correction"))
        good = isinstance(words, str) and words.strip() and kind in classes and _whole(severity, 1, worst)
        start = answer.find(words, after.get(words, 0)) if good else -1
        if start < 0 or not isinstance(correction, str | None):
            return Reply(Outcome.UNPARSABLE)
        after[words] = start + len(words)
        spans.append(Span(start, after[words], None, kind, float(severity), correction or None))
    return Reply(Outcome.VERDICT, tuple(sorted(spans, key=lambda s: s[:2])))


def is_unread(text: str) -> Outcome:
    """What became of a reply without a verdict: refused or abstained in so many words, else unparsable."""
    if _REFUSAL.match(text):
        return Outcome.REFUSED
    return Outcome.ABSTAIN if _ABSTAINS.fullmatch(text.strip(_EDGE)) else Outcome.UNPARSABLE


def strip_quotes(text: str) -> str:
    """`text` without what it quotes."""
    return _QUOTED.sub(" ", _FENCED.sub(" ", text))


def _object(text: str, keys: Sequence[str]) -> dict[str, Any] | Outcome:
    """The one JSON object that has all `keys`; else what became of the reply."""
    found = _having(text, keys)
    if len(found) == 1:
        return found[0]
    return Outcome.UNPARSABLE if found else is_unread(text)


def _having(text: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects outside fences that have all `keys`."""
    return [o for o in _objects(_FENCED.sub(" ", text)) if all(k in o for k in keys)]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text; what is cut off or says a key twice is none. Gives up after STARTS that led to none."""
    end, failed = 0, 0
    for start in _OPENING.finditer(text):
        if start.start() < end:
            continue
        try:
            found, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            failed += 1
            if failed == STARTS:
                return
        else:
            yield found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


_DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _chains(text: str) -> list[list[int]]:
    """The numbers of each line outside fences that is a chain like `2 > 1 > 3`."""
    lines = [_plain(line) for line in _FENCED.sub(" ", text).splitlines()]
    return [[int(n) for n in line.split(">")] for line in lines if _CHAIN.fullmatch(line)]


def _whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
