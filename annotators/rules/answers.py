"""Short answers against the known one: pure functions of an answer's text, each linear in its length.

A rule gives a Checked: 1 right, 0 wrong, and what it took for the answer. An answer that says none, or several different
ones, is wrong: who answers everything has answered nothing. `LookupError` says that the *known* answer is of another kind."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.errors import RowError, bad_row


class Checked(NamedTuple):
    value: float  # 0..1
    read: str | None  # what was taken for the answer; None: nothing, or several


def unfit(answer: str, why: str) -> RowError:
    """What a rule raises of a known answer that it cannot compare with."""
    return bad_row(f"the known answer {answer[:100]!r} {why}")


MARKER = re.compile(r"final answer is\b|answer\*{0,2}\s?:\*{0,2}", re.IGNORECASE)
ARTICLES = frozenset(("a", "an", "the"))
NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,4})?(?:\s?/\s?\d+(?:\.\d+)?)?"
)
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
WORDS = re.compile(rf"\b(?:{'|'.join(NUMBERS)})\b", re.IGNORECASE)


def final(text: str) -> tuple[str | None, bool]:
    """What of an answer is the answer, and whether it was marked as such: inside <answer></answer> (R1-V), else behind the
    last "Final Answer:" (MPO) or "Answer:", else all behind </think>. None: different ones in several tags."""
    tagged = [piece.partition("</answer>")[0].strip() for piece in text.split("<answer>")[1:]]
    if tagged:
        return (tagged[0] if len(set(tagged)) == 1 else None), True
    rest = text.rpartition("</think>")[2]
    markers = [m.end() for m in MARKER.finditer(rest)]
    return rest[markers[-1] if markers else 0 :].strip(), bool(markers)


def exact(text: str, answer: str) -> Checked:
    """The same characters, but for white space around them (R1-V's string match)."""
    said, _ = final(text)
    return Checked(float(bool(said) and said == answer.strip()), _short(said))


def normalised(text: str, answer: str) -> Checked:
    """The same words: `plain` of both is equal and not empty."""
    said, _ = final(text)
    wanted = plain(answer)
    if not wanted:
        raise unfit(answer, "has no letter and no digit")
    return Checked(float(said is not None and plain(said) == wanted), _short(said))


def plain(text: str) -> str:
    """`text` without case, accents' ways of writing, punctuation, articles and doubled white space: SQuAD's normalisation
    (arXiv 1606.05250), with VQA's care for numbers (3.5 keeps its point, 1,000 loses its comma; arXiv 1505.00468). What is
    articles only stays: "A" may be a letter."""
    kept = []
    folded = unicodedata.normalize("NFKC", text).casefold()
    for i, c in enumerate(folded):
        before_digit = folded[i + 1 : i + 2].isdigit()
        if unicodedata.category(c)[0] not in "PS" or (c in "+-." and before_digit):
            kept.append(c)
        elif c not in ".'’" and not (c == "," and before_digit):
            kept.append(" ")
    words = "".join(kept).split()
    return " ".join([word for word in words if word not in ARTICLES] or words)


def label(text: str, answer: str, labels: Sequence[str]) -> Checked:
    """Of a set of labels the right one, and no other, is named (R1-Omni's emotions). Whole words; "hot dog" is no "dog"."""
    known = {plain(word): word for word in labels}
    if plain(answer) not in known:
        raise unfit(answer, f"is none of the labels {', '.join(labels)}")
    said, _ = final(text)
    rest = f" {plain(said or '')} "
    found = []
    for word in sorted(known, key=len, reverse=True):
        if f" {word} " in rest:
            found.append(word)
            rest = rest.replace(f" {word} ", " | ")
    read = found[0] if len(found) == 1 else None
    return Checked(float(read == plain(answer)), read and known[read])


def number(text: str, answer: str, tolerance: float) -> Checked:
    """At most `tolerance` times the right number beside it (ChartQA's relaxed accuracy, arXiv 2203.10244: 0.05).

    Digits with or without thousands' commas, a fraction, or a word up to twenty; a marked answer must hold a single number, of
    free text the last one counts (as with GSM8K, arXiv 2110.14168). NaN and infinities are no numbers."""
    wanted = _numbers(answer)
    if len(wanted) != 1:
        raise unfit(answer, "is not one number")
    said, marked = final(text)
    found = _numbers(said or "")
    if not found or (marked and len(set(found)) > 1):
        return Checked(0.0, None)
    return Checked(float(abs(found[-1] - wanted[0]) <= tolerance * abs(wanted[0])), f"{found[-1]:g}")


def _numbers(text: str) -> list[float]:
    text = text.replace("−", "-")
    found = [(m.start(), _value(m[0])) for m in NUMBER.finditer(text)]
    found += [(m.start(), float(NUMBERS.index(m[0].lower()))) for m in WORDS.finditer(text)]
    return [value for _, value in sorted(found) if math.isfinite(value)]


def _value(written: str) -> float:
    above, _, below = written.replace(",", "").partition("/")
    try:
        return float(above) / float(below or 1)
    except (ZeroDivisionError, OverflowError):
        return math.nan


def refused(text: str, phrases: Iterable[str]) -> Checked:
    """1 where the text holds one of the phrases of a refusal (VLGuard's keyword match, arXiv 2402.02207), whatever its case."""
    said = " ".join(text.replace("’", "'").casefold().split())
    found = next((p for p in phrases if p.casefold() in said), None)
    return Checked(float(found is not None), found)


def _short(said: str | None) -> str | None:
    """What is kept of what was read: nobody reads more of it in a table."""
    return said and said[:200]
