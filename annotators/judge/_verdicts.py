"""Verdicts on two answers, as judges write them: which is better, or by how much.

A reply is a list of statements: brackets, marked values ("Verdict: B"), lines that are nothing but a label, and plain sentences ("so answer
one is better"). A statement stands at the beginning of its clause, behind words that only connect; what is quoted, reported, ordered,
denied, hedged or conditional does not count. The verdict is what all statements agree on; one that revises drops those before it."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from annotators.judge import _objects
from annotators.judge._clauses import OPENERS, compared, of_scores, spoken
from annotators.judge._labels import (
    ABSTAIN,
    ADVERBS,
    CHINESE,
    COMPARED,
    EDGE,
    END,
    MARK_SEP,
    MARKER,
    NOUN,
    NUMBERED,
    ORDINAL,
    SIDES,
    STRENGTHS,
    UNKNOWN,
    WINS,
    Value,
    named,
    preference_value,
    side_of,
    step_of,
    strength_value,
)
from annotators.judge._layout import QUOTED_LABEL, lines_of, prepared, unquoted
from annotators.judge._reply import (
    LONGEST,
    REPORTS,
    REVISES,
    TAKES_BACK,
    ParsedReply,
    abstains,
    folded,
    is_conditional,
    is_denied,
    is_hedged,
    is_order,
    outcome_without_verdict,
    sentences,
)
from schemas.records import Outcome

_PENDING = "pending"  # takes back what was said before, without a value of its own
_CONCLUDES = re.compile(
    r"\b(?:so|thus|therefore|hence|overall|conclusion|conclude|summary|end|ultimately|finally|balance|short|consequently|accordingly|result|reasons?)\b",
    re.IGNORECASE,
)
_SCOPED = re.compile(
    r"\b(?:in terms of|regarding|with (?:respect|regard) to|when it comes to|as for|concerning|from the (?:perspective|point of view|standpoint) of|as far as|for (?:accuracy|detail|clarity|style|helpfulness|relevance|fluency)"
    r"|on (?:accuracy|detail|clarity|style|helpfulness|relevance|fluency)|in (?:accuracy|detail|clarity|style)\b)|方面|从.{0,12}(?:来看|角度)",
    re.IGNORECASE,
)


class Statement(NamedTuple):
    """The statement of one part of a reply."""

    value: Value
    revises: bool = False


_BRACKETS = re.compile(r"\[\[\s{0,4}([^\[\]\n]{1,40}?)\s{0,4}\]\]")

# statements --------------------------------------------------------------------------------------------------------------

_CLAUSE = re.compile(
    r"[,;]\s|\s\(|\s-\s|:\s|(?<=\s)(?=(?:because|since|although|though|while|whereas|but|so|therefore|thus|hence|and|which)\s)|(?<=[,;:])(?=[\u4e00-\u9fff])",
    re.IGNORECASE,
)
_CONNECTED = re.compile(
    r"(?:so|therefore|thus|hence|but|and so|overall|i|my|yet|however|consequently)\b", re.IGNORECASE
)
_MARKED = re.compile(rf"{OPENERS}(?P<mark>{MARKER})(?P<sep>{MARK_SEP})(?P<rest>[^\n]{{0,120}})", re.IGNORECASE)
_VALUE = re.compile(
    rf"(?:clearly |therefore |that |i (?:choose|pick|prefer) |(?:i )?go with |is )?(?:not {named(NUMBERED, '8')},? but (?:rather )?|not \(?(?:one|two|[12ab])\)?,? but (?:rather )?)?(?P<value>{NUMBERED}|{named(ORDINAL, '1')}|{CHINESE}|[\[(]?(?P<b>one|two|[12ab])\b[\])]?)(?: ?{WINS})?{END}",
    re.IGNORECASE,
)
_TIE_VALUE = re.compile(
    rf"(?:it's |it is |this is |they are )?(?:a |an )?(?:tie|draw|tied|equal(?:ly good)?|c|both (?:answers |responses )?(?:are )?(?:equally good|equal|of (?:equal|similar|the same|comparable) quality)|even){END}",
    re.IGNORECASE,
)
_COMPARED_VALUE = re.compile(rf"{COMPARED.pattern}{END}", re.IGNORECASE)
_STEP_VALUE = re.compile(
    r"(?P<s>[1-7]|one|two|three|four|five|six|seven)(?![A-Za-z0-9])(?:\.0{1,2}\b)?(?:\s?分|\s{0,2}/\s{0,2}7\b| (?:out )?of (?:7|seven)\b)?(?!\s{0,2}[/%]|\s{0,2}-\s{0,2}\d|[.,]\d|\s+(?:or|to|and|out)\b|,\s*\d)"
    r"(?=\s*(?:$|[.!;:,)\]|(]|- |because\b|since\b|as\b))",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    rf"{OPENERS}(?:(?:on|using) (?:a|the) scale (?:of|from) 1 ?(?:to|-) ?7,? )?(?:(?:i (?:would |'d |'ll |will )?|i'd |i'll )(?:rate|give|score|assign|choose|pick|select|say)|(?:it is|it's)(?= an? ))"
    r"(?: (?:it|this|them|the (?:pair|comparison|two|preference)|a|an|as|at|with|rating|score|strength|number|of))* (?=\w)",
    re.IGNORECASE,
)


def _marked(clause: str, read: "_Form") -> Value | None:
    """The text after a marker at the beginning of a clause ("Final verdict: B", "the better answer is B"); None without one."""
    found = _MARKED.match(clause)
    if not found:
        return None
    mark, is_colon = found["mark"].lower(), bool(re.match(r"\s*(?::|=|->)", found["sep"]))
    if not is_colon and mark.endswith(("final", "overall")):
        return None
    if re.fullmatch(rf"(?:the |a )?{NOUN}|one|the one", mark) and mark not in (
        "answer",
        "the answer",
        "choice",
        "the choice",
        "output",
    ):
        return None  # "Response: 2" is a heading
    return read.marked(found["rest"].lstrip(" *"))


Reading = Callable[[str], Value]


class _Form(NamedTuple):
    """How the values of a form are read."""

    value: Reading  # of a bracket, a tag, a JSON value, a line
    marked: Callable[[str], Value | None]  # at the beginning of the text after a marker
    spoken: bool  # whether plain sentences give a value
    scale: bool  # whether values are numbers


def _preferred(rest: str) -> Value | None:
    if found := _COMPARED_VALUE.match(rest):
        return preference_value(found[0])
    if _TIE_VALUE.match(rest):
        return 0.0
    found = _VALUE.match(rest)
    if not found:
        return None
    word = next(w for name, w in found.groupdict().items() if w and name != "value")
    return SIDES[word.lower()]


def _step(rest: str) -> Value | None:
    found = _STEP_VALUE.match(rest)
    return step_of(found["s"]) if found else None


PREFERENCE = _Form(preference_value, _preferred, True, False)
STRENGTH = _Form(strength_value, _step, False, True)


def _statements(reply: str, form: _Form) -> Iterator[Statement]:
    lines = lines_of(prepared(reply))
    yield from _alone(lines, form)
    for line in lines:
        for sentence in sentences(line):
            yield from _said(sentence, form)


def _said(sentence: str, form: _Form) -> Iterator[Statement]:
    """The statements of one sentence."""
    if "[[" in sentence:
        yield from _bracketed(sentence, form)
        return
    if len(sentence) > LONGEST or is_conditional(sentence) or sentence.endswith("?") or _SAID_BY.search(sentence):
        return
    revises = bool(REVISES.match(sentence))
    if TAKES_BACK.match(sentence):
        yield Statement(_PENDING, True)
    reported = False
    for clause, before in _clauses(sentence):
        reported = bool(REPORTS.search(before)) and not _CONNECTED.match(clause)
        if reported or is_order(clause) or is_hedged(clause):
            continue
        value = _marked(clause, form)
        if value is None and form.scale and (given := _GIVEN.match(clause)):
            value = form.marked(clause[given.end() :])
        if value is None and form.spoken and not _SCOPED.search(before) and not _is_aspect(before):
            value = spoken(clause, before)
            if value == 0 and abstains(before):
                continue
        if value is not None and not _HEADED.match(before):
            yield Statement(value, revises)


_HEADED = re.compile(rf"\W*{NOUN} (?:one|two|[12ab])\s?:", re.IGNORECASE)  # "Answer 2: ..." is said of that answer
_ASPECT = re.compile(r"\W*[\w/-]+(?: [\w/&-]+){0,4}:\s*", re.IGNORECASE)
_NO_ASPECT = re.compile(
    rf"\W*(?:{OPENERS})?(?:{MARKER}|in (?:conclusion|summary|short)|summary|reason(?:ing)?|explanation|analysis|i \w+.*)\W*",
    re.IGNORECASE,
)


def _is_aspect(before: str) -> bool:
    """Whether what stands before a clause only names what it is about: "Accuracy:"."""
    return bool(_ASPECT.fullmatch(before)) and not _NO_ASPECT.fullmatch(before) and not _CONCLUDES.search(before)


_LEADING = re.compile(r"^[^\w(\[|]+")


def _clauses(sentence: str) -> Iterator[tuple[str, str]]:
    """(the text from the beginning of a clause on, the text before it) of each clause."""
    starts = [0, *(m.end() for m in _CLAUSE.finditer(sentence))]
    for start in dict.fromkeys(starts):
        yield _LEADING.sub("", sentence[start:]), sentence[:start]


_LISTING = re.compile(r"[\s,/|()]*(?:or|and|,|/|\||oder|或|、)?[\s,/|()\"'`]*", re.IGNORECASE)
_WRONG_AFTER = re.compile(
    r"\s*(?:is|would be|was|cannot|can't|isn't|seems?|may|might|could)?\s*(?:not\b|wrong\b|incorrect\b|false\b|inappropriate\b|be fair\b|out of\b|be\b|means?\b|stands for\b|if\b|in case\b|when\b|too\b|would\b|\?)"
    rf"|[^.]{{0,60}}?\b(?:in|inside|within|of|by|from|which|that|is what) (?:the )?{NOUN} (?:one|two|[12ab])\b|[^.]{{0,20}}?\b(?:appears|stands|occurs|is written|is hidden|is planted)\b",
    re.IGNORECASE,
)


MANY = 64  # brackets in a sentence: more are a repetitive reply
_OF_SEVERAL = re.compile(
    rf"\b(?:ignor\w+|disregard\w*|despite|string|phrase|command|token)\b|\b{NOUN} (?:one|two|[12ab])(?:'s|s)? (?:just |also |only |simply )?(?:has|had|have|shows?|puts?|gives?|prints?|displays?|uses?|carries|repeats|mentions|quotes|slips in|smuggles in|hides|plants)? ?(?:an? |the |its |in )?(?:\w+ )?$"
    r"|\b(?:one|another|each|any) of\b|\beither\b|如果|要求|声称|不是|并非|不应|可能",
    re.IGNORECASE,
)


def _bracketed(sentence: str, form: _Form) -> Iterator[Statement]:
    """The brackets of a sentence that are its author's verdict; a list of them is the format."""
    found = list(_BRACKETS.finditer(sentence))
    if len(found) > MANY or sentence.endswith("?"):
        return
    values = [form.value(bracket[1]) for bracket in found]
    if len(set(values)) > 1 and all(
        _LISTING.fullmatch(sentence, a.end(), b.start()) for a, b in itertools.pairwise(found)
    ):
        if not sentence[: found[0].start()].strip(EDGE):  # "[[1]] or [[2]]" is two verdicts
            yield from map(Statement, values)
        return
    revises = bool(REVISES.match(sentence))
    for bracket, value in zip(found, values, strict=True):
        before, after = (
            sentence[max(0, bracket.start() - LONGEST) : bracket.start()],
            sentence[bracket.end() :][:LONGEST],
        )
        clause = _CLAUSE.split(before)[-1] if before else ""
        connected = bool(_CONNECTED.match(clause.strip())) or bool(re.search(r"(?:所以|因此|我认为)[^,]*$", before))
        tail = re.split(r"[;.]\s", before)[-1]
        connected = connected or (bool(_CONNECTED.match(tail.strip())) and not REPORTS.search(tail))
        if _IDEAL.match(tail):
            continue
        if is_conditional(before) or is_conditional(after.split(". ")[0]) or _WRONG_AFTER.match(after):
            continue
        if (REPORTS.search(before) and not connected) or is_order(clause) or is_denied(clause) or is_hedged(clause):
            continue
        if _OF_SEVERAL.search(before) and not connected:
            continue
        named = {side_of(label) for label in _NAMED.finditer(clause)}
        if isinstance(value, float) and value and named and value not in named:
            continue  # "Answer 1 was written as [[2]]"
        if not _HEADED.fullmatch(before.rstrip()):
            yield Statement(value, revises)


_SAID_BY = re.compile(
    r"[,;] (?:so )?(?:says?|said|claims?|claimed|argues?|writes?|wrote|thinks?|according to|if you ask)\b",
    re.IGNORECASE,
)
_IDEAL = re.compile(r"\W*(?:better|best|ideal|perfect) would be\b", re.IGNORECASE)  # "Better would be: ..."
_NAMED = re.compile(rf"\b{NUMBERED}", re.IGNORECASE)
_FIRST = re.compile(
    rf"\W{{0,6}}(?:(?P<l>(?-i:[AB]))\s?[).]\s+(?=[^\W\d]|\W)|(?P<w>one|two|[12]|(?-i:[AB])|{NOUN} (?:one|two|[12ab]))\b\s?(?:\(|[,:)]?\s?-?-?\s?(?=(?:because|since|as)\b)|- |, ))"
    rf"(?!\(?(?:[12]|[AB]|one|two)\b(?! is| {NOUN}))",
    re.IGNORECASE,
)
_FIRST_TIE = re.compile(
    r"\W{0,6}(?:a )?(?:tie|draw)(?:\s?\(|, (?=both|they|the two|because|since|as\b)| - |,? (?=because|since)\b)",
    re.IGNORECASE,
)
_ONE_IS = re.compile(
    rf"\W{{0,6}}(?P<w>one|two|[12]|(?-i:[AB]))\b is {ADVERBS}(?:most appropriate|best|better|superior|preferable|correct|right|preferred)(?: (?:{NOUN}|one|choice))?(?! than the other\b){END}",
    re.IGNORECASE,
)


def _alone(lines: list[str], form: _Form) -> Iterator[Statement]:
    """Lines that are nothing but a value; lines with the labels of both sides are headings and have none. The first line may continue with a
    reason ("A) because it is true")."""
    labels = [
        (line, form.value(line)) for line in lines if len(line) < 60 and "[[" not in line and not line.endswith(":")
    ]
    labels = [(line, value) for line, value in labels if value != UNKNOWN]
    numbered = [line for line, _ in labels if re.fullmatch(r"\W*\(?\d[.)]\W*", line)]
    if len(numbered) > 1 or (numbered and len(lines) > 1 and form.scale):
        labels = [(line, value) for line, value in labels if line not in numbered]
    if len({value for _, value in labels}) > 1 and not form.scale:
        if len(labels) == len(lines):
            yield from (Statement(value) for _, value in labels)
        labels = []
    yield from (Statement(value) for _, value in labels)
    if not form.scale and lines:
        first = lines[0][:LONGEST]
        if (found := _ONE_IS.match(first)) and not _SAID_BY.search(first):
            yield Statement(SIDES[found["w"].lower()])
        elif _FIRST_TIE.match(first):
            yield Statement(0.0)
        elif (found := _FIRST.match(first)) and not is_conditional(first):
            label = (found["l"] or found["w"]).lower().split()[-1]
            others = [line for line in lines[1:] if re.match(r"\W{0,4}[A-J]\s?[).:]\s", line)] if found["l"] else []
            if not others and not is_hedged(first[: found.end() + 20]):
                yield Statement(SIDES[label])
    elif lines and (found := re.match(r"\W{0,4}(?P<s>[1-7])\s?(?:\(|- |, |: )(?=[a-z])", lines[0], re.IGNORECASE)):
        yield Statement(STRENGTHS[found["s"]])


_KEYS = re.compile(
    r"(?:final_|overall_|my_|the_)*(?:verdict|winner|better|best|better_(?:answer|response|one)|best_(?:answer|response)|preferred(?:_(?:answer|response))?|preference|choice|chosen|answer|result|decision"
    r"|judge?ment|selected|selection|pick|label|conclusion|rating|score|strength|vote|final|better_index|winner_index|ranking|output)"
)


def _from_objects(values: list[_objects.Found], form: _Form) -> Iterator[Statement]:
    """The verdicts of JSON objects, under any of the keys that judges use."""
    for found in values:
        if not isinstance(found.value, dict):
            continue
        inner = [found.value, *(v for v in found.value.values() if isinstance(v, dict))]
        for key, value in ((k, v) for one in inner for k, v in one.items()):
            if (
                _KEYS.fullmatch(_objects.name_of(key))
                and isinstance(value, str | int | float)
                and not isinstance(value, bool)
            ):
                written = str(int(value)) if isinstance(value, float) and value == value // 1 else str(value)
                if not isinstance(value, str) or len(value) < 60:
                    yield Statement(form.value(written.strip("[] ")))


def preference(text: str, tie: bool = True) -> ParsedReply[float]:
    """Which of two answers is better: 1 the first, -1 the second, 0 (outcome tie) neither.

    Two statements that differ are unparsable, and a tie if `tie` is false."""
    return _agreed(text, PREFERENCE, tie)


def strength(text: str, tie: bool = True) -> ParsedReply[float]:
    """By how much the first of two answers is better, 3 to -3, from a rating of 1 (first much better), 4 (equal) to 7 (second much better).

    Parsed like `preference`, but only from numbers; a 4 is unparsable if `tie` is false."""
    return _agreed(text, STRENGTH, tie)


def _agreed(text: str, form: _Form, tie: bool) -> ParsedReply[float]:
    reply = folded(text)
    if reply is None:
        return ParsedReply(Outcome.UNPARSABLE)
    own = _objects.own_words(QUOTED_LABEL.sub(unquoted, reply))
    objects = [found for found in map(_single, _objects.values_in(own)) if isinstance(found.value, dict)]
    statements = [*_from_objects(objects, form), *_statements(_objects.without_objects(own, objects, "\n"), form)]
    revised = [place for place, statement in enumerate(statements) if statement.revises]
    values = {statement.value for statement in (statements[revised[-1] :] if revised else statements)}
    values -= {_PENDING}
    if values == {ABSTAIN}:
        return ParsedReply(Outcome.ABSTAIN)
    if not statements:
        outcome = outcome_without_verdict(text)
        side = None
        if form.spoken and outcome is Outcome.UNPARSABLE:
            rest = prepared(_objects.without_objects(own, objects, "\n"))
            side = of_scores(objects[0].value) if len(objects) == 1 and not re.search(r"\d", rest) else compared(rest)
        if side is None:
            return ParsedReply(outcome)
        values = {side}
    if len(values) != 1 or UNKNOWN in values:
        return ParsedReply(Outcome.UNPARSABLE)
    (value,) = values
    if not isinstance(value, float) or not (value or tie):
        return ParsedReply(Outcome.UNPARSABLE)
    return ParsedReply(Outcome.VERDICT if value else Outcome.TIE, value)


def _single(found: _objects.Found) -> _objects.Found:
    """The object in a list of one."""
    value = found.value
    return found._replace(value=value[0]) if isinstance(value, list) and len(value) == 1 else found
