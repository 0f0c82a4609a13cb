"""`pairwright read-replies`: what judge replies are read as, to debug a judge or a prompt of one's own. No model is asked."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from annotators.judge import _parse, segments
from annotators.judge._parse import ParsedReply
from annotators.split._list import list_items
from pipeline.source.reading import row_files
from schemas.errors import RowError, bad_row
from schemas.finish import CONTENT_FILTER, STOP, finish_name
from schemas.records import Outcome
from schemas.text import did_you_mean

Read = dict[str, Any]
TYPES: dict[type, str] = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}


def read_replies(path: str) -> Iterator[Read | str]:
    """What each row of a file is read as: the row with `outcome`, and with `value` if it has one; a line that says what is wrong for a row
    that cannot be used. InputError if the file cannot be read.

    A row has `form` (a name of FORMS) and `text`, and what the form needs. A reply whose `finish` is not "stop" is not read, as in a run: it is
    refused if a filter ended it, else unparsable."""
    for row in row_files.read(path):
        try:
            yield _read(row.values())
        except RowError as error:
            yield f"{row.place}: {error.detail}"


def _read(row: dict[str, Any]) -> Read:
    name, text, finish = (
        _field(row, "form", str),
        _field(row, "text", str),
        finish_name(_field(row, "finish", str, STOP)),
    )
    if name not in FORMS:
        raise bad_row(f"unknown `form` {name!r}: {did_you_mean(name, FORMS)}")
    read = FORMS[name](row)
    if finish == STOP:
        reply = read(text)
    else:
        reply = ParsedReply[Any](Outcome.REFUSED if finish == CONTENT_FILTER else Outcome.UNPARSABLE)
    found = {key: value for key, value in row.items() if key not in ("outcome", "value")} | {
        "outcome": str(reply.outcome)
    }
    return found if reply.value is None else found | {"value": reply.value}


def _field(row: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """The value of a row's field, or its default. RowError if it is missing without one, or of another type."""
    value = row.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        what = TYPES[kind]
        raise bad_row(f"`{name}` is {'missing' if name not in row else 'not ' + what}; set it to {what}")
    if kind is list and (not value or not all(isinstance(item, str) for item in value)):
        raise bad_row(f"`{name}` is not a list of texts; set it to a list of texts")
    return value


def _count(row: dict[str, Any]) -> int:
    count = _field(row, "n", int)
    if count < 1:
        raise bad_row("`n` is below 1; set it to the number of answers")
    return count


Parser = Callable[[str], ParsedReply[Any]]


def _pairwise(row: dict[str, Any]) -> Parser:
    tie = _field(row, "tie", bool, True)
    return lambda text: _parse.preference(text, tie)


def _strength(row: dict[str, Any]) -> Parser:
    tie = _field(row, "tie", bool, True)
    return lambda text: _parse.strength(text, tie)


def _pointwise(row: dict[str, Any]) -> Parser:
    count, low, high, axes = _count(row), _field(row, "low", int), _field(row, "high", int), _field(row, "axes", list)
    if low >= high:
        raise bad_row("`low` is not below `high`; set the ends of the scale")

    def read(text: str) -> ParsedReply[Any]:
        found = _parse.ratings(text, axes, count, low, high)
        if found.value is None:
            return ParsedReply(found.outcome)
        rated = [[int(n) for n in found.value[axis]] for axis in axes]
        return ParsedReply(found.outcome, rated[0] if len(rated) == 1 else rated)

    return read


def _listwise(row: dict[str, Any]) -> Parser:
    count = _count(row)

    def read(text: str) -> ParsedReply[Any]:
        found = _parse.ranking(text, count)
        return ParsedReply(found.outcome, found.value and list(found.value))

    return read


def _segments(row: dict[str, Any]) -> Parser:
    answer, default = _field(row, "answer", str), segments.Settings(model="")
    classes, worst = _field(row, "classes", list, list(default.classes)), _field(row, "worst", int, default.worst)

    def read(text: str) -> ParsedReply[Any]:
        found = _parse.error_spans(text, answer, classes, worst)
        if found.value is None:
            return ParsedReply(found.outcome)
        return ParsedReply(found.outcome, ",".join(f"{span.start}-{span.end}" for span in found.value) or [])

    return read


FORMS: dict[str, Callable[[dict[str, Any]], Parser]] = {
    "pairwise": _pairwise, "strength": _strength, "pointwise": _pointwise, "listwise": _listwise, "segments": _segments,
    "claims": lambda row: list_items,
}  # fmt: skip
"""the forms of a reply and what makes their parser from a row, which names the fields that are missing"""


def line_of(read: Read) -> str:
    """A row as a JSON line."""
    return json.dumps(read, ensure_ascii=False)
