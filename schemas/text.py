"""Words and sentences of a text, and whether two texts are the same; one-line texts of library errors and of unknown words for messages."""

import difflib
import re
from collections.abc import Iterable

_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]+[\"')\]]*\s*|[^.!?。！？]+$")


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, each with trailing white space; empty for an empty text. The period in 3.5 ends one too."""
    return [m[0] for m in _SENTENCE.finditer(text) if m[0].strip()]


def word_count(text: str) -> int:
    """Number of words, separated by white space."""
    return len(text.split())


def text_key(text: str) -> str:
    """The text with each run of white space as one space and none at its ends: what "the same text" means wherever texts are compared."""
    return " ".join(text.split())


def same_text(a: str, b: str) -> bool:
    """Whether two texts differ in white space only, or not at all."""
    return a == b or text_key(a) == text_key(b)


def longer(a: str, b: str) -> int:
    """1 if `a` has more words, -1 if `b` has, 0 if equal."""
    first, second = word_count(a), word_count(b)
    return (first > second) - (first < second)


def first_line(text: str) -> str:
    """The first line of `text` that is not blank, stripped; empty if there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def error_line(error: BaseException, named: bool = False) -> str:
    """A library's error as one line: the first line of its text, at most 300 characters, after the name of its class if `named`. The name of
    its class alone if it has no text."""
    line, kind = first_line(str(error))[:300], type(error).__name__
    return (f"{kind}: {line}" if named else line) if line else kind


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the closest known word, if one is close, and the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1)
    return (f"did you mean '{close[0]}'? " if close else "") + f"available: {', '.join(known) or 'none'}"
