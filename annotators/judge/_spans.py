"""Faulty spans of an answer, marked by their words."""

import re
from collections.abc import Sequence
from typing import Any

from annotators.judge import _objects
from annotators.judge._reply import ParsedReply, folded, outcome_without_verdict
from schemas.records import Outcome, Span

_KEYS = ("faults", "fault", "errors", "error", "hallucinations", "mistakes", "issues")
_TEXT = ("text", "span", "words", "phrase", "quote", "segment", "sentence")
_CLASS = ("class", "type", "category", "label", "error_type", "kind")
_NO_FAULTS = re.compile(
    r"(?:\*\*)?(?:(?:there (?:are|is)|i (?:see|find|found)|(?:the|this) answer (?:has|contains)) )?(?:no|not any) (?:faults?|errors?|mistakes?|hallucinations?|issues?)"
    r"(?: (?:found|in (?:the|this) answer|were found|are found|to mark|detected))?[.!]?(?:\*\*)?[.!]?|没有错误。?|无错误。?",
    re.IGNORECASE,
)
_ALIKE = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " ", "\n": " ", "\t": " ", "–": "-", "—": "-"}
)


def error_spans(text: str, answer: str, classes: Sequence[str], worst: int) -> ParsedReply[tuple[Span, ...]]:
    """The faulty spans of `answer`, in order, from the only JSON object `{"faults": [{"text", "class", "severity", "correction"}]}`.

    A span is located by its text, whatever its case, quotation marks and white space; repeated text maps to successive occurrences. The
    reply is unparsable if a text is not in the answer, a class is not in `classes`, or a severity is not an integer from 1 to `worst`. An
    empty list is a verdict without spans."""
    reply = folded(text)
    marked = None if reply is None else _faults(reply)
    if marked is None:
        return ParsedReply(Outcome.UNPARSABLE if reply is None else outcome_without_verdict(text))
    if not isinstance(marked, list):
        return ParsedReply(Outcome.UNPARSABLE)
    kinds = {kind.casefold(): kind for kind in classes}
    spans: list[Span] = []
    after: dict[str, int] = {}
    for fault in marked:
        if not isinstance(fault, dict):
            return ParsedReply(Outcome.UNPARSABLE)
        named = {_objects.name_of(key): value for key, value in fault.items()}
        words, kind, correction = _first(named, _TEXT), _first(named, _CLASS), named.get("correction")
        severity = _objects.whole(named.get("severity"), 1, worst)
        kind = kinds.get(kind.strip().casefold()) if isinstance(kind, str) else None
        place = (
            _place(answer, words.strip(), after)
            if isinstance(words, str) and words.strip() and kind and severity
            else None
        )
        if place is None or kind is None or severity is None or not isinstance(correction, str | None):
            return ParsedReply(Outcome.UNPARSABLE)
        spans.append(Span(*place, None, kind, float(severity), correction or None))
    return ParsedReply(Outcome.VERDICT, tuple(sorted(spans, key=lambda s: s[:2])))


def _faults(reply: str) -> Any:
    """What the reply marks: the list of its only object with one, or the only list if it is the complete reply; None if there is none, () if
    there are several."""
    if _NO_FAULTS.fullmatch(reply.strip()):
        return []
    own = _objects.own_words(reply)
    found = _objects.values_in(own)
    having = []
    for value in (f.value for f in found if isinstance(f.value, dict)):
        named = {_objects.name_of(key): inner for key, inner in value.items()}
        having += [named[key] for key in _KEYS if key in named]
        if not having and len(named) == 1:
            (inner,) = named.values()
            having += [inner[key] for key in _KEYS if isinstance(inner, dict) and key in inner]
    if having:
        marked = having[0] if len(having) == 1 else ()
        return [marked] if isinstance(marked, dict) else marked
    lists = [f for f in found if isinstance(f.value, list)]
    rest = own[: lists[0].start] + own[lists[0].end :] if len(lists) == 1 else "x"
    return lists[0].value if not re.search(r"\w", rest.replace("json", "")) else None


def _first(named: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((named[key] for key in keys if key in named), None)


def _place(answer: str, words: str, after: dict[str, int]) -> tuple[int, int] | None:
    """The position of the next occurrence of `words` in the answer: exact, else ignoring case and typography."""
    for whole, part in (
        (answer, words),
        (_alike(answer), _alike(words)),
        (_alike(answer), _alike(words).strip(" .,;'\"")),
    ):
        start = whole.find(part, after.get(part, 0)) if part and len(whole) == len(answer) else -1
        if start >= 0:
            after[part] = start + len(part)
            return start, start + len(part)
    return None


def _alike(text: str) -> str:
    """`text` in lower case with plain quotation marks, of the same length."""
    return "".join(low if len(low := c.lower()) == 1 else c for c in text.translate(_ALIKE))
