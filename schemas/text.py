"""Words and sentences of a text; what of a foreign error, or of a wrong word, is said to a person."""

import difflib
import re
from collections.abc import Iterable

_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]+[\"')\]]*\s*|[^.!?。！？]+$")


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, each with the white space behind it; none of an empty text. A point inside 3.5 ends one too."""
    return [m[0] for m in _SENTENCE.finditer(text) if m[0].strip()]


def word_count(text: str) -> int:
    """How many words there are: what white space separates."""
    return len(text.split())


def longer(a: str, b: str) -> int:
    """1: `a` has more words, -1: `b` has, 0: both have as many."""
    first, second = word_count(a), word_count(b)
    return (first > second) - (first < second)


def first_line(text: str) -> str:
    """The first line of `text` that holds more than white space, without the white space around it; empty where there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def error_line(error: BaseException, named: bool = False) -> str:
    """What a library's error says, as one line: the first line of its text, at most 300 characters of it, behind the name of its class where
    `named`. An error without a text is the name of its class alone."""
    line, kind = first_line(str(error))[:300], type(error).__name__
    return (f"{kind}: {line}" if named else line) if line else kind


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """What a message about an unknown word ends with: the known one that it may be meant for, where one is close, and all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"there are: {', '.join(known) or 'none'}"
