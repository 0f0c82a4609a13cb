"""Ratings of answers: JSON in the layouts that judges use, and marked numbers ("Rating: 8/10", "Answer 1: 4")."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from annotators.judge import _objects
from annotators.judge._labels import NOUNS, NUMBER_WORDS
from annotators.judge._reply import (
    LONGEST,
    REPORTS,
    REVISES,
    TAKES_BACK,
    ParsedReply,
    folded,
    is_conditional,
    is_denied,
    is_hedged,
    is_order,
    outcome_without_verdict,
    sentences,
    strip_quotes,
)
from schemas.records import Outcome

Ratings = dict[str, tuple[float, ...]]
_OVERALL = {"ratings", "rating", "scores", "score", "overall", "overall_rating", "overall_score", "final_score", "final_rating", "overall_ratings",
            "overall_scores", "result", "judgement", "judgment", "grade"}  # fmt: skip
_NOUN = rf"(?:{NOUNS}|text|no\.?|回答|答案)"
_ITEM = re.compile(
    rf"(?:{_NOUN})?[ _#]{{0,2}}(?:(\d{{1,3}})|([A-J])|(one|two|three|four|five|six|seven|eight|nine|ten))",
    re.IGNORECASE,
)


def ratings(text: str, axes: Sequence[str], count: int, low: int, high: int) -> ParsedReply[Ratings]:
    """Per axis, `count` integer ratings from `low` to `high`, from the only JSON value that has them, else from marked numbers.

    JSON: each axis a list, an object of the answers, or a number if there is one answer; or an object of axes for each answer. 4.0 and "4"
    are 4. A single axis may be called rating, score and the like. Unparsable: none or several, a different number of ratings,
    non-integers, values out of range. Nothing is rounded or clipped."""
    reply = folded(text)
    if reply is None:
        return ParsedReply(Outcome.UNPARSABLE)
    own = _objects.own_words(reply)
    found = _objects.values_in(own)
    objects = [_unwrapped(f.value, axes) for f in found if isinstance(f.value, dict)]
    having = [o for o in objects if _has_any(o, axes, count)]
    if len(having) > 1 and len(having) == len(axes):
        having = [_merged(having)]
    if having:
        rated = _of_object(having[0], axes, count, low, high) if len(having) == 1 else None
        return ParsedReply(Outcome.VERDICT, rated) if rated else ParsedReply(Outcome.UNPARSABLE)
    if len(objects) == 1 and count > 1 and len(objects[0]) == 1:
        rated = _of_rows(next(iter(objects[0].values())), axes, count, low, high)
        return ParsedReply(Outcome.VERDICT, rated) if rated else ParsedReply(Outcome.UNPARSABLE)
    lists = [f.value for f in found if isinstance(f.value, list)]
    lists = [one[0] if len(one) == 1 and isinstance(one[0], list) else one for one in lists]
    alone = re.fullmatch(
        r"(?:```\w*\s*)?\[{1,2}[^\[\]]*\]{1,2}(?:\s*```)?|\[\{.*\}\]",
        own.strip().strip("`").removeprefix("json").strip(),
        re.DOTALL,
    )
    if alone and len(lists) == 1:
        rated = (
            _of_object({axes[0]: lists[0]}, axes, count, low, high)
            if len(axes) == 1
            else _of_rows(lists[0], axes, count, low, high)
        )
        return ParsedReply(Outcome.VERDICT, rated) if rated else ParsedReply(Outcome.UNPARSABLE)
    marked = _marked(strip_quotes(_objects.without_objects(own, found, " ")), axes, count, low, high)
    if marked is None:
        return ParsedReply(outcome_without_verdict(text))
    return ParsedReply(Outcome.VERDICT, marked) if marked else ParsedReply(Outcome.UNPARSABLE)


# JSON --------------------------------------------------------------------------------------------------------------------


def _unwrapped(value: dict[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    """`value` with its keys as they are compared; the object inside it if that is all it has ({"result": {...}})."""
    named = {_objects.name_of(key): inner for key, inner in value.items()}
    wanted = {_objects.name_of(axis) for axis in axes}
    if len(named) == 1 and not wanted & set(named):
        (inner,) = named.values()
        if isinstance(inner, dict) and not _place(next(iter(named))):
            return _unwrapped(inner, axes)
    return named


def _key_of(named: dict[str, Any], axis: str, alone: bool) -> str | None:
    """The key of an axis; an overall rating may have any of its usual names, if only one of them is there."""
    name = _objects.name_of(axis)
    if name in named:
        return name
    others = [key for key in named if key in _OVERALL or key in (f"{name}_score", f"{name}_rating")]
    return (
        others[0]
        if len(others) == 1 and ((alone and axis in ("ratings", "rating")) or others[0].startswith(name))
        else None
    )


def _has_any(named: dict[str, Any], axes: Sequence[str], count: int) -> bool:
    if any(_key_of(named, axis, len(axes) == 1) for axis in axes):
        return True
    return bool(named) and count > 1 and sorted(filter(None, map(_place, named))) == list(range(1, count + 1))


def _merged(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Objects with one axis each, merged; empty if two of them have the same key."""
    keys = [key for one in objects for key in one]
    return {} if len(keys) != len(set(keys)) else {key: value for one in objects for key, value in one.items()}


def _place(key: str) -> int | None:
    """The number (from 1) of the answer that a key names."""
    found = _ITEM.fullmatch(re.sub(r"^(?:score|rating)_(?:of_|for_)?|_(?:score|rating)$", "", key))
    if not found:
        return None
    return int(found[1]) if found[1] else ord(found[2].upper()) - 64 if found[2] else NUMBER_WORDS[found[3].lower()]


def _of_object(named: dict[str, Any], axes: Sequence[str], count: int, low: int, high: int) -> Ratings | None:
    keys = [_key_of(named, axis, len(axes) == 1) for axis in axes]
    if not any(keys):
        return _of_answers(named, axes, count, low, high)
    out: Ratings = {}
    for axis, key in zip(axes, keys, strict=True):
        numbers = _numbers(named[key], count, low, high) if key else None
        if numbers is None:
            return None
        out[axis] = numbers
    return out


def _numbers(value: Any, count: int, low: int, high: int) -> tuple[float, ...] | None:
    if isinstance(value, dict):
        places = {_place(_objects.name_of(key)): inner for key, inner in value.items()}
        if set(places) == set(range(1, count + 1)):
            value = [places[n] for n in sorted(n for n in places if n)]
        else:
            value = [value] if count == 1 else None
        if count == 1 and value:
            value = [_inner(value[0])]
    if isinstance(value, str) and count > 1:
        value = [piece.strip() for piece in value.split(",")]
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        rows = _of_rows(value, ("ratings",), count, low, high)
        return rows["ratings"] if rows else None
    if not isinstance(value, list):
        value = [value] if count == 1 else []
    numbers = [_objects.whole(_inner(one), low, high) for one in value]
    return tuple(float(n) for n in numbers if n is not None) if len(numbers) == count and None not in numbers else None


def _inner(value: Any) -> Any:
    """The rating of {"rating": 4, "reason": "..."}."""
    if isinstance(value, dict):
        named = {_objects.name_of(key): inner for key, inner in value.items()}
        key = _key_of(named, "ratings", True)
        return named[key] if key else None
    return value


def _of_answers(named: dict[str, Any], axes: Sequence[str], count: int, low: int, high: int) -> Ratings | None:
    """Ratings of {"answer 1": 4, "answer 2": 2}, or of {"answer 1": {axis: 4, ...}, ...}."""
    rows = {_place(key): value for key, value in named.items() if _place(key)}
    return _of_rows([rows[n] for n in sorted(n for n in rows if n)], axes, count, low, high)


def _of_rows(rows: Any, axes: Sequence[str], count: int, low: int, high: int) -> Ratings | None:
    """Ratings of a list with an entry for each answer: a number, or an object of its axes, which may number it."""
    if not isinstance(rows, list) or len(rows) != count:
        return None
    numbered = [_number_of(row) for row in rows]
    if any(numbered):
        if sorted(n or 0 for n in numbered) != list(range(1, count + 1)):
            return None
        rows = [row for _, row in sorted(zip(numbered, rows, strict=True), key=lambda pair: pair[0] or 0)]
    out: dict[str, list[float]] = {axis: [] for axis in axes}
    for row in rows:
        named = {_objects.name_of(key): value for key, value in row.items()} if isinstance(row, dict) else None
        for axis in axes:
            key = _key_of(named, axis, len(axes) == 1) if named else None
            given = named[key] if named and key else row if len(axes) == 1 else None
            number = _objects.whole(given, low, high)
            if number is None:
                return None
            out[axis].append(float(number))
    return {axis: tuple(numbers) for axis, numbers in out.items()}


def _number_of(row: Any) -> int | None:
    if not isinstance(row, dict):
        return None
    given = next(
        (
            value
            for key, value in row.items()
            if _objects.name_of(key) in ("answer", "id", "index", "response", "number", "answer_id", "answer_number")
        ),
        None,
    )
    return given if isinstance(given, int) else _place(_objects.name_of(given)) if isinstance(given, str) else None


# marked numbers ----------------------------------------------------------------------------------------------------------

_N = r"(?P<n>[-+]?\d{1,4}(?:\.\d{1,4})?|one|two|three|four|five|six|seven|eight|nine|ten|zero)"
_OF = r"(?:\s{0,2}/\s{0,2}(?P<of>\d{1,4})\b|\s{1,2}(?:out )?of (?:a possible )?(?P<of2>\d{1,4}|five|ten|hundred)\b|\s{0,2}分)?"
_AFTER = r"(?!\s{0,2}[/%]|\s{0,2}-\s{0,2}\d|[.,]\d|\s+(?:or|to|and|out)\b|,\s*\d)(?=\s*(?:$|[.!;:,)\]|(*。]|- |because\b|since\b|as\b|stars?\b|points?\b|for\b|due\b|\ufffc))"
_NAME = (
    r"(?:(?:the|my|a|revised|new|updated|corrected|overall|final|total|whole|quality|answer|response|given|numerical|of) ){0,4}(?:rating|score|grade|judge?ment|result|verdict|evaluation|overall|assessment|(?:最终|综合|总体|总|最后|我的)?(?:评分|得分|分数|打分|总分))"
    r"(?: (?:for|of) (?:the|this) (?:answer|response|caption|description))?(?:\s?\(?(?:\d{1,4}\s?(?:-|to)\s?\d{1,4}|out of \d{1,4})\)?)?"
)
_RATED = re.compile(
    rf"{_NAME}(?:\s{{0,2}}(?::|=|is|of|是|为|- )+\s{{0,3}}|(?<=score)\s|(?<=rating)\s)(?:a |an )?(?:\[\[?\s?)?{_N}(?:\s?\]\]?)?{_OF}{_AFTER}",
    re.IGNORECASE,
)
_GIVEN = re.compile(
    r"(?:(?:so|thus|therefore|overall|hence|in conclusion|finally|based on this)[, ]+){0,2}(?:i (?:would |will |'d |'ll )?(?:rate|give|score|assign|grade)|i'(?:d|ll) (?:rate|give|score|assign|grade)"
    r"|(?:the|this|it|answer)(?: (?:answer|response|caption|description|one|1))? (?:deserves|earns|gets|receives|scores|merits|is rated|should be rated|would get)|我(?:会)?(?:给|打|评)(?:出|它|(?:这个|该|此)?(?:回答|答案))?(?:打|评)?|(?:这个|该|此)?(?:回答|答案|描述)(?:应该?|可以?|可)?得)"
    rf"(?: |(?<=[\u4e00-\u9fff]))(?:(?:it|the|this|answer|response|caption|description|one|1|a|an|as|at|with|overall|rating|score|of|solid|strong) ){{0,6}}(?:\[\[?\s?)?{_N}(?:\s?\]\]?)?{_OF}{_AFTER}",
    re.IGNORECASE,
)
_BARE = re.compile(rf"(?:\[\[?\s?|\((?=[^()]*\)))?{_N}(?:\s?\]\]?|\))?{_OF}(?: stars?| points?)?[.!]?", re.IGNORECASE)
_BRACKET = re.compile(rf"\[\[\s?{_N}{_OF}\s?\]\]", re.IGNORECASE)
_SCALE = re.compile(
    r"\b(?:on|using|in) (?:a|the) scale (?:of|from) \d{1,4} ?(?:to|-) ?\d{1,4}(?: \([^()\n]{0,60}\))*,?|\(?\bfrom \d{1,4} (?:\(\w+\) )?to \d{1,4}\b(?: \(\w+\))?\)?,?",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\*{1,3}|__|~~|</?(?:b|i|strong|em|br|p)\s?/?>", re.IGNORECASE)
_RESULT = re.compile(r"\[(?:RESULT|RATING|SCORE|VERDICT)\]:?\s{0,3}(?:\((?=\d{1,3}\)))?", re.IGNORECASE)
_TAG = re.compile(
    r"<(rating|score|answer|result|final_score|judge?ment)>\s{0,20}([^<>]{1,40}?)\s{0,20}</\1>", re.IGNORECASE
)
_BOX = re.compile(r"\$?\\boxed\s?\{(?:\s*\\text\s?\{)?([^{}\n]{1,40})\}{1,2}\$?")
_HEAD = re.compile(
    rf"(?:[#>\-*+| ]{{0,6}}(?:\d{{1,2}}[.)] )?)(?:(?:rating|score|overall|ratings|scores)(?: for| of)? )?(?:{_NOUN}(?: for annotation)?|text|rating|score)[ _#]{{0,2}}(?P<i>\d{{1,3}}|[A-J]\b|one\b|two\b|three\b|four\b)(?:'s)?(?: (?:rating|score))?(?P<rest>[^\n]{{0,200}})",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\W{0,6}(?P<i>(?-i:[A-J]))\s?(?=[:=|])(?P<rest>[^\n]{0,200})")
_VALUE = re.compile(
    rf"(?:[\s|:=()-]{{0,6}}| (?:gets|receives|deserves|earns|scores|merits|is|is rated)(?: an?)? )(?:{_NAME}\s{{0,2}}(?::|=|is|- )+\s{{0,3}})?(?:\[\[?\s?)?{_N}(?:\s?\]\]?)?{_OF}{_AFTER}",
    re.IGNORECASE,
)


def _marked(text: str, axes: Sequence[str], count: int, low: int, high: int) -> Ratings | None:
    """Ratings in words; None if there are none, {} if they cannot be read or differ."""
    text = _RESULT.sub("\nrating: ", _BOX.sub(r"\nrating: \1\n", _TAG.sub(r"\nrating: \2\n", text)))
    lines = [line.strip() for line in _SCALE.sub(" ", _MARKUP.sub("", text)).splitlines() if line.strip()]
    if len(axes) > 1 or axes[0] not in ("ratings", "rating"):
        found = _by_axis(lines, axes, count, low, high)
        if found is not None or len(axes) > 1:
            return found
    numbers = _one(lines, low, high) if count == 1 else _several(lines, count, low, high)
    if numbers is None:
        return None
    return {axes[0]: tuple(numbers)} if len(numbers) == count else {}


def _read(found: re.Match, low: int, high: int) -> float | None:
    """The rating of a match; None if it is outside the scale or on another one."""
    of = found["of"] or found["of2"] if "of" in found.groupdict() else None
    if of and str({"five": 5, "ten": 10, "hundred": 100}.get(of.lower(), of)) != str(high):
        return None
    word = found["n"].lower()
    number = _objects.whole(str(NUMBER_WORDS.get(word, word)), low, high)
    return None if number is None else float(number)


def _one(lines: list[str], low: int, high: int) -> list[float] | None:
    """The rating of a single answer; [] if there are several, or one outside the scale; None without any."""
    if len(lines) == 1 and (found := _BARE.fullmatch(lines[0])):
        number = _read(found, low, high)
        return [] if number is None else [number]
    lines = _with_headings(lines)
    found_numbers: list[float | None] = []
    revised = False
    for line in lines:
        if len(lines) > 1 and (bare := _BARE.fullmatch(line)) and (bare["of"] or bare["of2"] or line.startswith("[[")):
            found_numbers.append(_read(bare, low, high))
            continue
        for sentence in sentences(line):
            here = list(_in_sentence(sentence, low, high))
            if revised := revised or bool(TAKES_BACK.match(sentence)):  # waits for the next rating
                found_numbers = []
            if here and (revised or REVISES.match(sentence)):
                found_numbers, revised = [], False
            found_numbers += here
    if not found_numbers:
        return None
    number = found_numbers[0]
    return [number] if len(set(found_numbers)) == 1 and number is not None else []


def _with_headings(lines: list[str]) -> list[str]:
    """`lines`, a heading like "Rating" joined with the number below it."""
    joined: list[str] = []
    for line in lines:
        if joined and _BARE.fullmatch(line) and re.fullmatch(rf"[# ]{{0,8}}{_NAME}:?", joined[-1], re.IGNORECASE):
            joined[-1] = f"{joined[-1].rstrip(':')}: {line}"
        else:
            joined.append(line)
    return joined


def _in_sentence(sentence: str, low: int, high: int) -> Iterator[float | None]:
    """The rating in a sentence by the judge itself: after a marker, after a verb, or in [[ ]]."""
    if len(sentence) > LONGEST or is_conditional(sentence):
        return
    starts = [0, *(m.end() for m in re.finditer(r"[,;:]\s|\s-\s|\s(?=(?:so|therefore|thus)\s)|\.\s", sentence))]
    plain = sentence.lstrip("#->*+| ")
    for start in starts:
        clause = sentence[start:].lstrip("#->*+| ") if start else plain
        clause = re.sub(
            r"^(?:so|therefore|thus|hence|overall|and|but|finally|in conclusion|因此|所以|综上)[, ]+",
            "",
            clause,
            flags=re.IGNORECASE,
        )
        before = sentence[:start]
        if REPORTS.search(before) or is_order(clause) or is_hedged(before) or is_denied(before):
            continue
        if found := _RATED.match(clause) or _GIVEN.match(clause):
            yield _read(found, low, high)
            return
    for found in _BRACKET.finditer(sentence):
        before = sentence[: found.start()]
        if not (REPORTS.search(before) or is_order(before) or is_hedged(before) or is_denied(before)):
            yield _read(found, low, high)


def _several(lines: list[str], count: int, low: int, high: int) -> list[float] | None:
    """The ratings of several answers: "Answer 1: 4" for each, a rating below the heading of each, or all in one line."""
    lines = [_NTH.sub(lambda m: f"answer {_NTHS[(m[1] or m[2]).lower()]}", line) for line in lines]
    listed = [re.fullmatch(rf"(\d{{1,2}})[.):] (?:\[\[?)?{_N}(?:\]\]?)?{_OF}", line, re.IGNORECASE) for line in lines]
    if len(listed) == count and [found and int(found[1]) for found in listed] == list(range(1, count + 1)):
        values = [_read(found, low, high) for found in listed if found]
        return [] if None in values else [n for n in values if n is not None]
    if rows := _table(lines, count):
        values = [_read(found, low, high) if (found := _BARE.fullmatch(row)) else None for row in rows]
        return [] if None in values else [n for n in values if n is not None]
    rated: dict[int, float | None] = {}
    current, twice = None, False
    for line in lines:
        if len(line) > LONGEST or is_conditional(line) or is_hedged(line):
            continue
        pieces = [
            p
            for p in re.split(
                r"[,;.]\s+(?=(?:and |while |whereas |but )?(?:(?:the )?(?:answer|response|assistant|model|option|output|candidate)\b|[A-J]\s?[:=]))",
                line,
                flags=re.IGNORECASE,
            )
            if p
        ]
        for piece in pieces:
            piece = re.sub(r"^(?:and|while|whereas|but) ", "", piece)
            head = _HEAD.match(piece) or _LETTER.match(piece)
            if head:
                current = _place(head["i"])
                found = _VALUE.match(head["rest"])
            else:
                found = _RATED.match(line.lstrip("#->*+| ")) if current else None
            if found and current:
                twice |= current in rated
                rated[current] = _read(found, low, high)
    if rated:
        numbers = [rated.get(n) for n in range(1, count + 1)]
        return [] if twice or len(rated) != count or None in numbers else [n for n in numbers if n is not None]
    return _in_a_row(lines, count, low, high)


_NTHS = {"first": 1, "second": 2, "third": 3, "fourth": 4}
_NTH = re.compile(
    rf"\b(?:the )?(first|second|third|fourth) {_NOUN}\b|\bthe (first|second|third|fourth)\b(?= (?:gets|receives|deserves|a|an)\b)",
    re.IGNORECASE,
)
_DOUBLE = re.compile(r"\[\[(\d{1,3})\]\]")


def _table(lines: list[str], count: int) -> list[str]:
    """The ratings in a table of two columns, the answers and their ratings, with a row for each; [] if there is none."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.count("|") in (1, 3)]
    rows = [row for row in rows if not re.fullmatch(r"[-: ]*", row[0])]
    wide = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if not re.fullmatch(r"[-:| ]*", line)
    ]
    if (
        len(wide) == 2 == len([line for line in lines if not re.fullmatch(r"[-:| ]*", line)])
        and len(wide[0]) == len(wide[1]) == count
    ):
        return wide[1] if [_place(cell) for cell in wide[0]] == list(range(1, count + 1)) else []
    if len(rows) != count + 1 or any(len(row) != 2 for row in rows):
        return []
    head, *body = rows
    if not re.fullmatch(rf"(?:{_NOUN}|#|id)?", head[0], re.IGNORECASE) or not re.fullmatch(
        _NAME + "s?", head[1], re.IGNORECASE
    ):
        return []
    return [row[1] for row in body] if [_place(row[0]) for row in body] == list(range(1, count + 1)) else []


_ROW = re.compile(
    r"(?:(?:the |my |final |overall )*(?:ratings?|scores?|评分|得分)(?: are)?\s{0,2}[:=]?\s{0,3})?[\[(]?(?P<row>\d{1,4}(?:\.0)?(?:/\d{1,4})?(?:(?:\s{0,2}(?:,|\band\b|、)\s{0,2}|\s{1,5})\d{1,4}(?:\.0)?(?:/\d{1,4})?){1,20})[\])]?\.?",
    re.IGNORECASE,
)


def _in_a_row(lines: list[str], count: int, low: int, high: int) -> list[float] | None:
    """Exactly `count` numbers that are a line of their own ("8 6", "Ratings: 4, 2"), the first line or marked, or the only lines."""
    lines = [_DOUBLE.sub(r"\1", line) for line in lines]
    if len(lines) == count and all(re.fullmatch(r"\d{1,3}(?:/\d{1,3})?", line) for line in lines):
        lines = [" ".join(lines)]
    rows = [(place, found) for place, line in enumerate(lines) if len(line) < 200 and (found := _ROW.fullmatch(line))]
    rows = [(place, found) for place, found in rows if place == 0 or found.start("row") > 1]
    if not rows:
        return None
    given = {tuple(re.split(r"\s*(?:,|and|、|\s)\s*", found["row"])) for _, found in rows}
    if len(given) != 1:
        return []
    numbers = [_objects.whole(one, low, high) for one in given.pop()]
    return [float(n) for n in numbers if n is not None] if len(numbers) == count and None not in numbers else []


def _by_axis(lines: list[str], axes: Sequence[str], count: int, low: int, high: int) -> Ratings | None:
    """A line "helpfulness: 4, 2" for each axis."""
    out: Ratings = {}
    named = {_objects.name_of(axis): axis for axis in axes}
    for line in lines:
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        line = ": ".join(cells) if len(cells) == 2 else line
        key, colon, rest = line.lstrip("#->*+| 0123456789.)").partition(":")
        axis = (
            named.get(re.sub(r"_(?:score|rating)s?$", "", _objects.name_of(key))) if colon and len(key) < 80 else None
        )
        if axis is None:
            continue
        numbers = [
            _objects.whole(one, low, high)
            for one in re.split(r"\s*(?:,|\band\b)\s*", rest.split(" (")[0].split(" - ")[0].strip(" []|.")[:200])
        ]
        if axis in out or len(numbers) != count or None in numbers:
            return {}
        out[axis] = tuple(float(n) for n in numbers if n is not None)
    return None if not out else out if len(out) == len(axes) else {}
