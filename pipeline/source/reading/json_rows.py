"""Parses JSON rows strictly, so that every accepted value can be written again. Splits arrays into items, so that an invalid item
affects only itself."""

import json
import re
from collections import deque
from collections.abc import Collection, Iterator
from typing import IO, Any

import orjson

from pipeline.source.reading import bounds
from schemas.errors import RowError, bad_row
from schemas.records import Reason

Item = dict[str, Any] | bytes | RowError

_TABLES = frozenset(
    {
        "data",
        "rows",
        "train",
        "test",
        "validation",
        "dev",
        "val",
        "examples",
        "items",
        "samples",
        "records",
        "pairs",
        "instances",
        "entries",
        "dataset",
        "annotations",
        "results",
    }
)  # names under which files hold their rows
_ASKED = frozenset(
    {"prompt", "question", "query", "instruction", "messages", "conversations", "chosen", "rejected"}
)  # names of a row itself
_NOT_ROWS = frozenset({"role", "from", "type"})  # keys of messages and their parts
_CHUNK = 1 << 18  # bytes read at a time
_BRACES = 64  # closing braces tried as the end of an object
_EXACT = 2.0**63  # orjson parses integers beyond 64 bits as floats, which loses digits
_LONG_INTEGER = re.compile(rb"[\[:,\s]-?\d{19,}\s*[,}\]]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = b" \t\r\n"
_BLANK = re.compile(rb"\s*+")
_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_INNER = rb'(?:[^"\[\]{}]++|' + _QUOTED + rb")*+"
_PIECES = rb"++|%s|\[%s\]|\{%s\})*+" % (_QUOTED, _INNER, _INNER)  # strings, and lists and objects without nested ones
_PLAIN = re.compile(rb'(?:[^"\[\]{},]' + _PIECES, re.DOTALL)  # up to a bracket or comma
_FLAT = re.compile(rb'(?:[^"\[\]{}]' + _PIECES, re.DOTALL)  # up to a bracket
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)  # up to the closing quote


def parse(data: bytes, what: str = "row", reads: Collection[str] | None = None) -> dict[str, Any]:
    """Parses a JSON object. RowError BAD_ROW if it is not an object, or if a column in `reads` (None: any column) contains a value that
    JSON or 64 bits cannot represent (NaN, an unpaired surrogate, a 30-digit integer), with the column. RowError TOO_LARGE if it exceeds
    the limits for rows."""
    heavy = len(data) > bounds.TEXT
    if heavy:
        check_values(data)
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        found = _lenient(data)
        strange = next(_strange(found, reads), None)
        if not isinstance(found, dict) or strange:
            raise bad_row(f"the {what} is not valid JSON ({strange or error}); correct or remove it") from None
    if not isinstance(found, dict):
        raise bad_row(f"the {what} is {type(found).__name__}, not an object; write it as {{...}}")
    if float in map(type, found.values()) and (name := _long_integer(found, data, reads)):
        raise bad_row(f"{name} is an integer beyond 64 bits; write it as text")
    if heavy:
        bounds.check(found)
    return found


def is_object(data: bytes) -> bool:
    """Whether `data` is a whole JSON object."""
    return isinstance(_lenient(data), dict)


def rows_of_object(data: bytes) -> list[bytes]:
    """The rows in a JSON object: those of the list of objects under one of the names that files use for it, under its only key, or that
    have a question; else the object itself. ValueError if it is not valid JSON, or holds several such lists, a row under each key, or
    columns, with a remedy."""
    found = json.loads(data)
    lists = [
        name
        for name, value in found.items()
        if _is_table(value) and (name.lower() in _TABLES or len(found) == 1 or not _ASKED.isdisjoint(value[0]))
    ]
    if not _ASKED.isdisjoint(found):
        if all(map(_is_column, found.values())):
            raise ValueError("it holds columns, so write each row as an object of its own")
        return [data]
    if len(found) > 1 and all(isinstance(value, dict) and not _ASKED.isdisjoint(value) for value in found.values()):
        raise ValueError("it holds a row under each of its names, so write the rows as an array")
    if not lists or isinstance(found.get("data"), dict):  # a single task of Label Studio has lists of its own
        return [data]
    if len(lists) > 1:
        raise ValueError(f"it holds rows under {', '.join(lists)}, so write each list to a file of its own")
    return [json.dumps(row).encode() for row in found[lists[0]]]


def _is_table(value: Any) -> bool:
    """Whether a value is a list of objects that are not messages or their parts."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) and _NOT_ROWS.isdisjoint(row) for row in value)
    )


def _is_column(value: Any) -> bool:
    """Whether a value holds a column as pandas writes it: a list without objects, or an object with numbers for names."""
    if isinstance(value, dict):
        return bool(value) and all(map(str.isdecimal, value))
    return isinstance(value, list) and bool(value) and not any(isinstance(entry, dict) for entry in value)


def check_values(data: bytes) -> None:
    """Raises RowError TOO_LARGE for JSON that would take many times its own size in memory: very many values."""
    if len(data) > bounds.LONGEST:
        raise bounds.too_long()
    if sum(map(data.count, (b",", b"[", b"{"))) > bounds.VALUES:
        detail = f"the row has more than {bounds.VALUES:,} values or commas; shorten or remove it"
        raise RowError(Reason.TOO_LARGE, detail)


class Items:
    """Iterates over the items of a JSON array. An item is the parsed object, or its bytes if it is something else or invalid, or a
    RowError if it is too long. EOFError if the array does not start or end properly."""

    def __init__(self, file: IO[bytes]):
        """`file` is positioned at its start."""
        self._file = file
        self._parts: list[bytes] = []  # of the current item
        self._size = 0

    def __iter__(self) -> Iterator[Item]:
        depth, in_string, rest, any_item = 0, False, b"", False
        while chunk := self._file.read(_CHUNK):
            data, at, start, rest = rest + chunk, 0, 0, b""
            if not depth:
                data = data.lstrip(_SPACE)
                if not data:
                    continue
                if data[:1] != b"[":
                    raise EOFError
                depth, at, start = 1, 1, 1
            while at < len(data):
                if at == start and depth == 1 and not self._size:
                    at += data.startswith(b" ", at)  # the usual layout
                    if data.startswith(b"\n", at):
                        at = _end(_BLANK, data, at)
                    if data.startswith(b"{", at) and (quick := _object(data, at)):
                        found, at = quick
                        yield found
                        any_item, start = True, at
                        if data[at - 1 : at] == b",":
                            continue
                        self._close(data[at:])
                        return
                if in_string:
                    at = _end(_STRING, data, at)
                    if data[at : at + 1] != b'"':  # the chunk ends inside the string, possibly after a backslash
                        rest = data[at:]
                        break
                    at, in_string = at + 1, False
                at = _end(_PLAIN if depth == 1 else _FLAT, data, at)
                mark = data[at : at + 1]
                at += 1
                if mark == b'"':
                    in_string = True
                elif mark in (b"[", b"{"):
                    depth += 1
                elif mark and depth > 1:
                    depth -= 1
                elif mark == b"}":
                    raise EOFError
                elif mark:  # end of the item
                    self._keep(data[start : at - 1])
                    if mark == b"," or any_item or not self._is_blank():
                        yield self._item()
                    any_item, start = True, at
                    if mark == b"]":
                        self._close(data[at:])
                        return
            self._keep(data[start : len(data) - len(rest)])
        raise EOFError

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > bounds.LONGEST:
            self._parts = []
        elif data:
            self._parts.append(data)

    def _item(self) -> bytes | RowError:
        item = b"".join(self._parts).strip() if self._size <= bounds.LONGEST else bounds.too_long()
        self._parts, self._size = [], 0
        return item

    def _is_blank(self) -> bool:
        return self._size <= bounds.LONGEST and not any(map(bytes.strip, self._parts))

    def _close(self, data: bytes) -> None:
        """Raises EOFError if anything but white space follows the array."""
        if data.strip() or any(chunk.strip() for chunk in iter(lambda: self._file.read(_CHUNK), b"")):
            raise EOFError


def _object(data: bytes, at: int) -> tuple[dict[str, Any], int] | None:
    """Fast path: the valid object that starts at `at`, and the position after the mark that follows it; None to use the slow path.

    The end is the first balancing brace at which the parser succeeds: found in a third of the time of scanning strings."""
    end = at
    for braces in range(1, _BRACES):
        end = data.find(b"}", end) + 1
        if not end:
            return None
        if data.count(b"{", at, end) == braces:
            if end - at > bounds.TEXT or data[end : end + 1] not in (b",", b"]"):
                return None
            item = data[at:end]
            try:
                found = orjson.loads(item)
            except orjson.JSONDecodeError:
                return None
            if float in map(type, found.values()) and _long_integer(found, item):
                return None
            return found, end + 1
    return None


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    found = pattern.match(data, at)
    return found.end() if found else at


def _long_integer(found: dict, data: bytes, reads: Collection[str] | None = None) -> str | None:
    """The column whose integer was parsed as a float and changed its value."""
    large = [name for name, value in found.items() if value.__class__ is float and not -_EXACT < value < _EXACT]
    large = [name for name in large if reads is None or name in reads]
    if not large or not _LONG_INTEGER.search(data):
        return None
    exact = _lenient(data)
    if exact is None:  # an integer of thousands of digits
        return large[0]
    return next((name for name in large if isinstance(exact[name], int)), None)


def _lenient(data: bytes) -> Any:
    """The value by Python's more lenient parser, which accepts NaN, infinities and unpaired surrogates; None if it does not accept it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _strange(found: Any, reads: Collection[str] | None) -> Iterator[str]:
    """What JSON cannot represent in the columns in `reads` (None: all) of a leniently parsed row, such as `score is nan`."""
    columns = found.items() if isinstance(found, dict) else ()
    waiting = deque((name, value) for name, value in columns if reads is None or name in reads)
    while waiting:
        name, value = waiting.popleft()
        if isinstance(value, float) and value - value != 0:  # NaN, infinities
            yield f"{name} is {value}"
        elif isinstance(value, str) and _SURROGATE.search(value):
            yield f"{name} contains an unpaired surrogate"
        elif isinstance(value, dict):
            waiting += [(f"{name}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(name, inner) for inner in value]
