"""Limits on the size of a row. Several hundred rows are in memory at a time, so limiting their number alone would not limit memory."""

from typing import Any

from schemas.errors import InputError, RowError
from schemas.records import MEDIA_KINDS, Reason

LONGEST = 64 << 20  # bytes of a row, including its media
TEXT = (
    256 << 10
)  # bytes of a row without its media, about 60,000 tokens; the 512 rows of a shard are in memory at once, in several forms
VALUES = 1 << 20  # JSON values of a row: each may take 90 bytes of memory for 3 bytes in the file
COLUMNS = 10_000  # columns of a table
MEDIA_COLUMNS = tuple(column for kind in MEDIA_KINDS for column in (kind, f"{kind}s"))


def too_long(what: str = "row") -> RowError:
    """The error for a row (or other `what`) of more than LONGEST bytes."""
    return RowError(
        Reason.TOO_LARGE, f"the {what} is longer than {LONGEST:,} bytes; put its media in files or remove it"
    )


def check(row: dict) -> None:
    """Raises RowError TOO_LARGE for a row of more than LONGEST bytes, or more than TEXT without media."""
    media, text = _weight(row)
    if media + text > LONGEST:
        raise too_long()
    if text > TEXT:
        raise RowError(
            Reason.TOO_LARGE, f"the row has {text:,} bytes of text, more than {TEXT:,}; shorten or remove it"
        )


def check_columns(name: str, count: int) -> None:
    """Raises InputError for a table of more than COLUMNS columns."""
    if count > COLUMNS:
        raise InputError(f"{name} has {count:,} columns, more than {COLUMNS:,}; keep only those needed")


def _weight(row: dict) -> tuple[int, int]:
    """(bytes of media, bytes of all other text)."""
    media = text = 0
    waiting: list[tuple[bool, Any]] = [(title in MEDIA_COLUMNS, value) for title, value in row.items()]
    while waiting:
        shown, value = waiting.pop()
        if isinstance(value, bytes) or (isinstance(value, str) and (shown or value.startswith("data:"))):
            media += len(value)
        elif isinstance(value, str):
            text += len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
        elif isinstance(value, dict):
            text += sum(map(len, value))
            waiting.extend((shown, inner) for inner in value.values())
        elif isinstance(value, list):
            waiting.extend((shown, inner) for inner in value)
    return media, text
