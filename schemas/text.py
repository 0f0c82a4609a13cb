"""Words and sentences of a text."""

import re

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
