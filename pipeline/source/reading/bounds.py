"""How much one row may hold. Everything behind a source holds some hundred rows at a time, so a bound on rows alone bounds no memory."""

from typing import Any

from schemas.errors import InputError, RowError
from schemas.records import MEDIA_KINDS, Reason

LONGEST = 64 << 20  # bytes of a row, media in it included
TEXT = (
    256 << 10
)  # bytes of a row beside its media: 60,000 tokens; the 512 rows of a shard are held at once, in several forms
VALUES = 1 << 20  # values of a row of JSON: each may take 90 bytes where it is 3 in the file
COLUMNS = 10_000  # of a table
MEDIA_COLUMNS = tuple(column for kind in MEDIA_KINDS for column in (kind, f"{kind}s"))


def too_long(what: str = "row") -> RowError:
    return RowError(Reason.TOO_LARGE, f"the {what} is longer than {LONGEST:,} bytes; put media in files or drop it")


def check(row: dict) -> None:
    """RowError TOO_LARGE for a row that holds more than LONGEST bytes, or more than TEXT that are not media."""
    media, text = _weight(row)
    if media + text > LONGEST:
        raise too_long()
    if text > TEXT:
        raise RowError(
            Reason.TOO_LARGE, f"the row holds {text:,} bytes of text, more than {TEXT:,}; shorten it or drop it"
        )


def check_columns(name: str, count: int) -> None:
    if count > COLUMNS:
        raise InputError(f"{name} has {count:,} columns, more than {COLUMNS:,}; keep those that are needed")


def _weight(row: dict) -> tuple[int, int]:
    """Bytes of media, bytes of all texts beside them."""
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
