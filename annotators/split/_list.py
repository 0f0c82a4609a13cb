"""The items of a list in a model's reply: marked lines, a JSON list, or plain sentences."""

import re
from typing import Any

from annotators.judge import _objects
from annotators.judge._reply import ParsedReply, folded, outcome_without_verdict
from schemas.records import Outcome
from schemas.text import sentences
from schemas.thinking import without_thinking

_MARK = re.compile(
    r"(?:[-*+•–·①-⑳]|\[\d{1,3}\]|(?:fact|claim|Fact|Claim) \d{1,3}[.:]|[(（]?\d{1,3}[.)）:、]|\(?[a-z][.)])\s{1,8}(?=\S)"
)
_GLUED = re.compile(r"(?:[•①-⑳]|[(（]\d{1,3}[)）]|\d{1,3}、)(?=\S)|-(?=[^\W\d])")
_RULE = re.compile(r"[-*_=#`\s]*(?:json|text|markdown)?")
_INTRODUCES = re.compile(r"[^.!?。]{0,120}[:：]")
_ENDS = (".", "!", "?", "。", "！", "？")


_INTERJECTION = re.compile(r"(?:sure|ok(?:ay)?|certainly|of course|yes|alright|here you go|got it)\W*", re.IGNORECASE)
_NO_FACTS = re.compile(
    r"(?:[\w ]{1,40} )?(?:no|not any|not state any|not contain any) (?:\w+ )?(?:facts|claims)\b[^.\n]{0,40}\.?",
    re.IGNORECASE,
)
_INLINE = re.compile(r"(?:(?<=[.!?;])\s+|(?<=[。；])\s*)[(（]?(\d{1,3})[.)）、]\s*(?=[^\W\d])")


def list_items(text: str) -> ParsedReply[list[str]]:
    """The items of a list, after any thought: lines with a mark ("- ", "* ", "1. ", "(1) "), else the texts of a JSON list, else sentences,
    at least one of which ends with a full stop, or the word none (["none"] for a sentence that says so, too).

    Unparsable if there is none (`refused` or `abstain` if the reply says so), if a thought is not closed, or if the last item is cut off: the
    beginning of an earlier whole one, or a marked line without a full stop if all others end with one."""
    reply = (without_thinking(text) or "").strip()
    lines = [line.strip() for line in reply.splitlines()]
    items = [
        line[mark.end() :].strip()
        for line in lines
        if (mark := _MARK.match(line) or _GLUED.match(line)) and not _RULE.fullmatch(line)
    ]
    is_marked = bool(items)
    if len(items) == 1:
        items = _numbered_in_line(items[0])
    items = items or _of_json(reply)
    if not items:
        outcome = outcome_without_verdict(text)
        if outcome in (Outcome.REFUSED, Outcome.ABSTAIN):
            return ParsedReply(outcome)
        items = _sentences([line for line in lines if not _RULE.fullmatch(line)])
        if len(items) == 1 and _NO_FACTS.fullmatch(items[0]):
            return ParsedReply(Outcome.VERDICT, ["none"])
        if not any(item.endswith(_ENDS) for item in items) and reply.lower() != "none":
            items = []
    if not items or _is_cut_off(items, is_marked):
        return ParsedReply(Outcome.UNPARSABLE)
    return ParsedReply(Outcome.VERDICT, items)


def _numbered_in_line(item: str) -> list[str]:
    """The items of "a. 2. b. 3. c", which are numbered in one line; else the item itself."""
    pieces = _INLINE.split(item)
    numbers = pieces[1::2]
    return pieces[::2] if numbers == [str(n) for n in range(2, len(numbers) + 2)] else [item]


def _of_json(reply: str) -> list[str]:
    """The texts of the only JSON list, or of the only list in an object."""
    found = [found.value for found in _objects.values_in(_objects.own_words(folded(reply) or ""))]
    lists: list[Any] = [value for one in found for value in (one.values() if isinstance(one, dict) else [one])]
    lists = [
        value for value in lists if isinstance(value, list) and value and all(isinstance(item, str) for item in value)
    ]
    return [item.strip() for item in lists[0] if item.strip()] if len(lists) == 1 else []


def _sentences(lines: list[str]) -> list[str]:
    """The sentences of lines without marks; a first line that only introduces the list is left out, one that ends with a colon is joined with the next."""
    if len(lines) > 1 and _INTRODUCES.fullmatch(lines[0]):
        lines = lines[1:]
    joined = ""
    for line in lines:
        joined += line + (" " if line.endswith((":", "：", ",", "，")) else "\n")
    found = [sentence.strip() for line in joined.splitlines() for sentence in _whole(line)]
    return [sentence for sentence in found if not _INTERJECTION.fullmatch(sentence)]


def _whole(line: str) -> list[str]:
    """The sentences of a line; the point in 3.5 or after an initial does not end one."""
    found: list[str] = []
    for sentence in sentences(line):
        if found and (
            not found[-1].endswith((" ", "。", "！", "？"))
            or re.search(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|e\.g|i\.e|etc|approx|No)\. $", found[-1])
        ):
            found[-1] += sentence
        else:
            found.append(sentence)
    return found


def _is_cut_off(items: list[str], is_marked: bool) -> bool:
    """Whether the last item is the beginning of a whole one, or the last marked line lacks the point that all others, two at least, have."""
    *others, last = items
    if not last.endswith(_ENDS) and any(item.endswith(_ENDS) and item.startswith(last) for item in others):
        return True
    return is_marked and len(others) > 1 and not last.endswith(_ENDS) and all(item.endswith(_ENDS) for item in others)
