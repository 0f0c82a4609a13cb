"""Typed access to a row's fields: a value of the required type, or a RowError that names the field."""

import ast
import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from schemas.errors import bad_row
from schemas.records import MEDIA_KINDS

_LONGEST_CELL = 256 << 10  # characters of a list or an object in a cell
_NO_COMMA = re.compile(r"""['"]\s+['"]""")
Row = Mapping[str, Any]
Media = dict[str, list]  # kind -> media references


class Cell(str):
    """A cell of a CSV file, which has only texts: it may be read as a number or a boolean."""

    __slots__ = ()


def text(value: Any, name: str) -> str:
    """A text, possibly empty. RowError for another type, or a text that cannot be encoded as UTF-8."""
    if not isinstance(value, str):
        raise bad_row(f"{name} is {type_name(value)}; use a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise bad_row(f"{name} contains an unpaired surrogate at offset {error.start}; fix its encoding") from None
    return str(value)


def maybe_text(value: Any, name: str) -> str | None:
    """A text, or None if missing, empty or NaN; whole numbers, common as ids, are converted to text."""
    if is_missing(value):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # an integer of thousands of digits
            raise bad_row(f"{name} is a number with too many digits; write it as text") from None
    return text(value, name)


def number(value: Any, name: str) -> float | None:
    """A finite number, or None if missing. Texts are refused, except CSV cells."""
    value = _cell(value, name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_row(f"{name} is {type_name(value)}; use a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise bad_row(f"{name} is {found}; use a finite number or leave it out")
    return found


def flag(value: Any, name: str) -> bool | None:
    """True, False, or None if missing. A CSV cell may contain true or false in any case."""
    value = _cell(value, name)
    if value is None or isinstance(value, bool):
        return value
    raise bad_row(f"{name} is {type_name(value)}; use true or false")


def cell(value: Any) -> Any:
    """A cell of a CSV file: the list or object that it contains in JSON or Python notation, otherwise the value unchanged."""
    if (
        not isinstance(value, str)
        or not value
        or value[0] not in "[{"
        or value[-1:] not in ("]", "}")
        or len(value) > _LONGEST_CELL
    ):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    if _NO_COMMA.search(value):  # as numpy writes lists: Python would join the texts
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def is_messages(value: Any) -> bool:
    """Whether a value is a message, or a list of messages."""
    found = value if isinstance(value, list) else [value]
    return bool(found) and all(isinstance(entry, dict) and ("role" in entry or "from" in entry) for entry in found)


def check_exact(value: Any, name: str) -> None:
    """Raises RowError if a JSON value contains anything that JSON cannot represent exactly: NaN, infinities, numbers beyond 64 bits,
    unpaired surrogates."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case float() | int() as number if not -(2**63) <= number < 2**64:
                raise bad_row(
                    f"{name} contain NaN, an infinity or a number beyond 64 bits; write it as text or leave it out"
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
        raise bad_row(f"{name} is the text {value[:40]!r}; use a number, true or false") from None


def as_list(value: Any) -> list:
    """A list unchanged, a single value as a list of one, a missing or empty value or NaN as an empty list."""
    if is_missing(value):
        return []
    return value if isinstance(value, list) else [value]


def is_missing(value: Any) -> bool:
    """Whether a value is missing, an empty text, or NaN, as pandas writes what is missing."""
    return value is None or value == "" or (isinstance(value, float) and value != value)


def media_of(row: Row, before: str = "") -> Media:
    """Media references in the columns image, images, video ..., by kind; `before` is a prefix of the column names. A kind's two columns may
    repeat each other. RowError if they differ."""
    found: Media = {}
    for medium in MEDIA_KINDS:
        for column in (f"{before}{medium}", f"{before}{medium}s"):
            values = [media_reference(value, column) for value in as_list(row.get(column))]
            if values and found.setdefault(medium, values) != values:
                raise bad_row(f"{before}{medium} and {column} name different files; keep one of them")
    return found


def media_reference(value: Any, name: str) -> Any:
    """A media reference: a path or URL, bytes, or `{bytes, path}`. A `data:` URL is decoded to bytes. RowError for anything else."""
    if isinstance(value, dict) and (isinstance(value.get("bytes"), bytes) or isinstance(value.get("path"), str)):
        return {"bytes": value.get("bytes"), "path": maybe_text(value.get("path"), f"{name}.path")}
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and isinstance(value.get("bytes"), str):
        raise bad_row(f"{name}.bytes is a text; write embedded bytes as data:image/png;base64,...")
    if isinstance(value, dict):
        other = ", ".join([str(key) for key, inner in value.items() if inner is not None][:5])
        raise bad_row(
            f"{name} has {f'{other}, but ' if other else ''}no path or bytes; give a path, {{bytes, path}} or a data: URL"
        )
    if isinstance(value, list):
        raise bad_row(
            f"{name} has a list within a list; give a path for each file, and the frames of a video as images"
        )
    if not isinstance(value, str) or not value:
        raise bad_row(f"{name} is {type_name(value)}; give a path or {{bytes, path}}")
    if value.startswith("data:"):
        return decode_base64(value.partition(",")[2], name)
    return text(value, name)


def decode_base64(value: str, name: str) -> bytes:
    """Decodes base64. RowError if it is invalid."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise bad_row(f"{name} is not valid base64; encode the file again or give its path") from None


def both_or_neither(first: float | None, second: float | None, names: tuple[str, str]) -> tuple[float, float] | None:
    """Two numbers that are only meaningful together; None if both are missing. RowError if one is missing."""
    if first is None and second is None:
        return None
    if first is None or second is None:
        missing, present = names if first is None else names[::-1]
        raise bad_row(f"{missing} is missing, but {present} is given; give both or neither")
    return first, second


def type_name(value: Any) -> str:
    """The type of a value, for messages."""
    return (
        "missing"
        if value is None
        else "empty"
        if value == ""
        else "missing (NaN)"
        if isinstance(value, float) and value != value
        else f"{'an' if type(value) is int else 'a'} {type(value).__name__}"
    )
