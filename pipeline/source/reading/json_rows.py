"""Rows in JSON: read strictly, so that whatever gets in can be written again, and cut out of an array one by one, so that a bad one
costs itself."""

import json
import re
from collections.abc import Iterator
from typing import IO, Any

import orjson

from pipeline.source.reading import bounds
from schemas.errors import RowError, bad_row
from schemas.records import Reason

Item = dict[str, Any] | bytes | RowError

_CHUNK = 1 << 18  # bytes
_BRACES = 64  # that are tried as an object's last one
_EXACT = 2.0**63  # a whole number beyond 64 bits comes as a float, and not as what it was
_LONG_INTEGER = re.compile(rb"[\[:,\s]-?\d{19,}\s*[,}\]]")
_HALF = re.compile("[\ud800-\udfff]")
_SPACE = b" \t\r\n"
_BLANK = re.compile(rb"\s*+")
_QUOTED = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_INNER = rb'(?:[^"\[\]{}]++|' + _QUOTED + rb")*+"
_PIECES = rb"++|%s|\[%s\]|\{%s\})*+" % (_QUOTED, _INNER, _INNER)  # texts, and lists and objects that hold none
_PLAIN = re.compile(rb'(?:[^"\[\]{},]' + _PIECES, re.DOTALL)  # up to another bracket or a comma
_FLAT = re.compile(rb'(?:[^"\[\]{}]' + _PIECES, re.DOTALL)  # up to another bracket
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)  # up to the quote that ends it


def parse(data: bytes, what: str = "row") -> dict[str, Any]:
    """The object that `data` is. RowError: BAD_ROW when it is not one, or holds what JSON or 64 bits cannot (NaN, half of a surrogate
    pair, an integer of 30 digits), naming the column; TOO_LARGE beyond the bounds of a row."""
    heavy = len(data) > bounds.TEXT
    if heavy:
        check_values(data)
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise bad_row(f"the {what} is not JSON ({_why(data) or error}); correct it or drop it") from None
    if not isinstance(found, dict):
        raise bad_row(f"the {what} is {type(found).__name__}, not an object; write it as {{...}}")
    if float in map(type, found.values()) and (name := _long_integer(found, data)):
        raise bad_row(f"{name} is an integer beyond 64 bits; write it as a text")
    if heavy:
        bounds.check(found)
    return found


def check_values(data: bytes) -> None:
    """RowError for JSON that would take many times its own memory: lists of very many values."""
    if len(data) > bounds.LONGEST:
        raise bounds.too_long()
    if sum(map(data.count, (b",", b"[", b"{"))) > bounds.VALUES:
        detail = f"the row holds more than {bounds.VALUES:,} values or commas; shorten it or drop it"
        raise RowError(Reason.TOO_LARGE, detail)


class Items:
    """The items of a JSON array: objects, or bytes as they stand in the file where they are something else or not JSON; a RowError for
    one that is too long. EOFError where the array does not begin, or does not end."""

    def __init__(self, file: IO[bytes]):
        """`file` is at its start."""
        self._file = file
        self._parts: list[bytes] = []  # of the item that is being read
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
                    at += data.startswith(b" ", at)  # as most write it
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
                    if data[at : at + 1] != b'"':  # the chunk ends in it, perhaps behind a backslash
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
                elif mark:  # the item ends
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
        """EOFError where anything but space follows behind the array."""
        if data.strip() or any(chunk.strip() for chunk in iter(lambda: self._file.read(_CHUNK), b"")):
            raise EOFError


def _object(data: bytes, at: int) -> tuple[dict[str, Any], int] | None:
    """The good object that is an item at `at`, and the place behind the mark that follows; None where it is not to be had so easily.

    It ends at a brace that balances it and where the parser agrees, which is found in a third of the time of following its strings."""
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


def _long_integer(found: dict, data: bytes) -> str | None:
    """The column whose integer became a float, and another number."""
    large = [name for name, value in found.items() if value.__class__ is float and not -_EXACT < value < _EXACT]
    if not large or not _LONG_INTEGER.search(data):
        return None
    try:
        exact = json.loads(data)
    except ValueError:  # thousands of digits
        return large[0]
    return next((name for name in large if isinstance(exact[name], int)), None)


def _why(data: bytes) -> str | None:
    """What is wrong with a row that Python's own parser takes, by its column."""
    if len(data) > bounds.TEXT:
        return None
    strange: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, value in pairs:
            if isinstance(value, float) and value - value != 0:  # NaN, infinities
                strange.append(f"{name} is {value}")
            elif isinstance(value, str) and _HALF.search(value):
                strange.append(f"{name} holds half of a surrogate pair")
        return dict(pairs)

    try:
        json.loads(data, object_pairs_hook=seen)
    except (ValueError, RecursionError):
        return None
    return strange[0] if strange else None
