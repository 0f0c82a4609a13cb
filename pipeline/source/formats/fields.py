"""Fields of a row: each of the type it must have, or a RowError that names it."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

from schemas.errors import bad_row
from schemas.records import MEDIA_KINDS

Row = Mapping[str, Any]
Media = dict[str, list]  # by kind, what names them


class Cell(str):
    """A cell of a CSV file, which has only texts: it may stand for a number or a flag."""

    __slots__ = ()


def text(value: Any, name: str) -> str:
    """A text, which may be empty. RowError for anything else, and for what cannot be written as UTF-8."""
    if not isinstance(value, str):
        raise bad_row(f"{name} is {kind(value)}; make it a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise bad_row(f"{name} holds half a character at {error.start}; mend its encoding") from None
    return str(value)


def maybe_text(value: Any, name: str) -> str | None:
    """A text, or None where there is none; whole numbers, as ids often are, become text."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # thousands of digits
            raise bad_row(f"{name} is a number of too many digits; make it a text") from None
    return text(value, name)


def number(value: Any, name: str) -> float | None:
    """A finite number, or None where there is none. A text is none, unless it is a CSV cell."""
    value = _cell(value, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_row(f"{name} is {kind(value)}; make it a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise bad_row(f"{name} is {found}; make it a finite number or leave it out")
    return found


def flag(value: Any, name: str) -> bool | None:
    """True, False, or None where there is none. A CSV cell may say true or false in any case."""
    value = _cell(value, name)
    if value is None or isinstance(value, bool):
        return value
    raise bad_row(f"{name} is {kind(value)}; make it true or false")


def exact(value: Any, name: str) -> None:
    """RowError where a JSON value holds what cannot be written as JSON again, or not as what it is: NaN, an infinity, a number beyond 64
    bits, half of a surrogate pair."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float() | int() as number if not -(2**63) <= number < 2**64:
                raise bad_row(
                    f"{name} hold NaN, an infinity or a number beyond 64 bits; write it as a text or leave it out"
                )
            case str() as found:
                text(found, name)
            case list() as found:
                waiting.extend(found)
            case dict() as found:
                waiting.extend((*found, *found.values()))


def _cell(value: Any, name: str) -> Any:
    if not isinstance(value, Cell):
        return value
    try:
        return json.loads(value.strip().lower()) if value.strip() else None
    except ValueError:
        raise bad_row(f"{name} is the text {value[:40]!r}; make it a number, true or false") from None


def listed(value: Any) -> list:
    """A list as it is, one thing as a list of it, nothing as an empty one."""
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def media_of(row: Row, before: str = "") -> Media:
    """What the columns image, images, video ... name, by kind; `before` stands before their names."""
    found: Media = {}
    for medium in MEDIA_KINDS:
        for column in (f"{before}{medium}", f"{before}{medium}s"):
            if values := [named(value, column) for value in listed(row.get(column))]:
                found.setdefault(medium, []).extend(values)
    return found


def named(value: Any, name: str) -> Any:
    """What names a medium: a path or URL, bytes, or `{bytes, path}`. A `data:` URL is its bytes."""
    if isinstance(value, dict) and (isinstance(value.get("bytes"), bytes) or isinstance(value.get("path"), str)):
        return {"bytes": value.get("bytes"), "path": maybe_text(value.get("path"), f"{name}.path")}
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise bad_row(f"{name} holds {kind(value)}; give a path or {{bytes, path}}")
    if value.startswith("data:"):
        return encoded(value.partition(",")[2], name)
    return text(value, name)


def encoded(value: str, name: str) -> bytes:
    """The bytes behind base64."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad_row(f"{name} is no base64; encode the file anew or give its path") from None


def both(first: float | None, second: float | None, names: tuple[str, str]) -> tuple[float, float] | None:
    """Two numbers that only mean something together; None where there are none. RowError names the one that is missing."""
    if first is None and second is None:
        return None
    if first is None or second is None:
        missing, there = names if first is None else names[::-1]
        raise bad_row(f"{missing} is missing while {there} is there; give both or none")
    return first, second


def kind(value: Any) -> str:
    return "missing" if value is None else "empty" if value == "" else f"a {type(value).__name__}"
