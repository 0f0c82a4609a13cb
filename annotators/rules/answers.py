"""Rules that compare a short answer with the known one: pure functions of the answer's text, in linear time.

A rule returns a RuleResult: 1 right, 0 wrong, and what it extracted as the answer. A text with no answer or several different ones is wrong.
A known answer that the rule cannot compare with is a RowError (see `bad_known_answer`)."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from annotators.rules import values
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


def final_answer(text: str) -> tuple[str | None, bool]:
    """(the final answer in a text, whether it was marked), without any thinking: the content of <answer></answer> (R1-V), else what follows the
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
    one, other = (values.value_of(side.casefold()) for side in (found or "", answer))
    if one is not None and other is not None:
        return RuleResult(float(values.equal(one, other)), _short(found))
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


def token_f1(text: str, answer: str) -> RuleResult:
    """SQuAD's F1 (arXiv 1606.05250): 2PR / (P + R), where P and R are the shares of the answer's and of the known answer's normalised words that the
    other has too, each as often as it occurs there; 0..1. RowError if the known answer has no letters or digits."""
    given, wanted = (Counter(normalise_text(side or "").split()) for side in (final_answer(text)[0], answer))
    if not wanted:
        raise bad_known_answer(answer, "has no letters or digits")
    shared = (given & wanted).total()
    return RuleResult(round(2 * shared / (given.total() + wanted.total()), 4), _short(final_answer(text)[0]))


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
    """A number with a relative error of at most `tolerance` (ChartQA's relaxed accuracy, arXiv 2203.10244: 0.05), of the same unit if both
    have one; a percentage, a time or a ratio only if the known answer is one (see `values`).

    A marked answer must contain a single value; in free text the last one counts (as in GSM8K, arXiv 2110.14168). NaN and infinity do not
    count. RowError if the known answer is not exactly one value."""
    wanted = check_number(answer)
    written, marked = final_answer(text)
    found = _single(written or "")
    if not found or (marked and any(not values.equal(found[0], value) for value in found)):
        return RuleResult(0.0, None)
    return RuleResult(float(values.equal(found[-1], wanted, tolerance)), values.written(found[-1]))


def check_number(answer: str) -> values.Quantity | values.Clock | values.Ratio:
    """The one value of a known answer. RowError if it is not exactly one."""
    wanted = _single(answer)
    if len(wanted) != 1 or isinstance(values.value_of(answer), values.Expression | values.Group):
        raise bad_known_answer(answer, "is not a single number")
    return wanted[0]


def _single(text: str) -> list[values.Quantity | values.Clock | values.Ratio]:
    """The value that the whole of a text is, else those in it."""
    whole = values.value_of(text)
    if isinstance(whole, values.Expression) and "=" not in whole.text:  # 3x+2 is not 2
        return []
    return [whole] if isinstance(whole, values.Quantity | values.Clock | values.Ratio) else values.values_in(text)


def refused(text: str, phrases: Iterable[str]) -> RuleResult:
    """1 if the text contains one of the refusal `phrases` (VLGuard's keyword match, arXiv 2402.02207), ignoring case; else 0."""
    folded = " ".join(text.replace("’", "'").casefold().split())
    found = next((p for p in phrases if p.casefold() in folded), None)
    return RuleResult(float(found is not None), found)


def _short(text: str | None) -> str | None:
    """The first 200 characters, which is what a table keeps of an extracted answer."""
    return text and text[:200]
