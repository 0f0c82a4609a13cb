"""Rules that compare a short answer with the known one: pure functions of the answer's text, in linear time.

A rule returns a RuleResult: 1 right, 0 wrong, and what it extracted as the answer. A text with no answer or several different ones is wrong.
A known answer that the rule cannot compare with is a RowError (see `bad_known_answer`)."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from schemas.errors import RowError, bad_row
from schemas.thinking import without_thinking


class RuleResult(NamedTuple):
    """The result of a rule."""

    value: float  # 0..1, 1 is right
    read: str | None  # the extracted answer; None: no answer, or several


def bad_known_answer(answer: str, why: str) -> RowError:
    """The RowError (BAD_ROW) for a known answer that a rule cannot compare with; `why` completes "the known answer X ..."."""
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


def final_answer(text: str) -> tuple[str | None, bool]:
    """(the final answer in a text, whether it was marked), behind any thought: the content of <answer></answer> (R1-V), else what follows the
    last "Final Answer:" (MPO) or "Answer:", else everything. None if several tags have different contents, or a thought is not closed."""
    rest = without_thinking(text)
    if rest is None:
        return None, False
    tagged = [piece.partition("</answer>")[0].strip() for piece in rest.split("<answer>")[1:]]
    if tagged:
        return (tagged[0] if len(set(tagged)) == 1 else None), True
    markers = [m.end() for m in MARKER.finditer(rest)]
    return rest[markers[-1] if markers else 0 :].strip(), bool(markers)


def exact(text: str, answer: str) -> RuleResult:
    """Equal characters, ignoring surrounding white space (R1-V's string match)."""
    found, _ = final_answer(text)
    return RuleResult(float(bool(found) and found == answer.strip()), _short(found))


def normalised(text: str, answer: str) -> RuleResult:
    """Equal words: `normalise_text` of both is equal and not empty. RowError if the known answer has no letters or digits."""
    found, _ = final_answer(text)
    wanted = normalise_text(answer)
    if not wanted:
        raise bad_known_answer(answer, "has no letters or digits")
    return RuleResult(float(found is not None and normalise_text(found) == wanted), _short(found))


def normalise_text(text: str) -> str:
    """`text` normalised: NFKC, case-folded, without punctuation, articles and extra white space (SQuAD, arXiv 1606.05250); numbers as
    in VQA (3.5 keeps its point, 1,000 loses its comma; arXiv 1505.00468). Text of articles only is kept: "A" may be a choice."""
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


def label(text: str, answer: str, labels: Sequence[str]) -> RuleResult:
    """The right one of a set of labels is named, and no other (R1-Omni's emotions). Whole words; "hot dog" does not name "dog".

    RowError if the known answer is not in `labels`."""
    known = {normalise_text(word): word for word in labels}
    if normalise_text(answer) not in known:
        raise bad_known_answer(answer, f"is not one of the labels {', '.join(labels)}")
    written, _ = final_answer(text)
    rest = f" {normalise_text(written or '')} "
    found = []
    for word in sorted(known, key=len, reverse=True):
        if f" {word} " in rest:
            found.append(word)
            rest = rest.replace(f" {word} ", " | ")
    read = found[0] if len(found) == 1 else None
    return RuleResult(float(read == normalise_text(answer)), read and known[read])


def number(text: str, answer: str, tolerance: float) -> RuleResult:
    """A number with a relative error of at most `tolerance` (ChartQA's relaxed accuracy, arXiv 2203.10244: 0.05).

    Digits with or without thousands separators, a fraction, or a word up to twenty. A marked answer must contain a single number; in
    free text the last one counts (as in GSM8K, arXiv 2110.14168). NaN and infinity do not count. RowError if the known answer is not
    exactly one number."""
    wanted = _numbers(answer)
    if len(wanted) != 1:
        raise bad_known_answer(answer, "is not a single number")
    written, marked = final_answer(text)
    found = _numbers(written or "")
    if not found or (marked and len(set(found)) > 1):
        return RuleResult(0.0, None)
    return RuleResult(float(abs(found[-1] - wanted[0]) <= tolerance * abs(wanted[0])), f"{found[-1]:g}")


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


def refused(text: str, phrases: Iterable[str]) -> RuleResult:
    """1 if the text contains one of the refusal `phrases` (VLGuard's keyword match, arXiv 2402.02207), ignoring case; else 0."""
    folded = " ".join(text.replace("’", "'").casefold().split())
    found = next((p for p in phrases if p.casefold() in folded), None)
    return RuleResult(float(found is not None), found)


def _short(text: str | None) -> str | None:
    """The first 200 characters, which is what a table keeps of an extracted answer."""
    return text and text[:200]
