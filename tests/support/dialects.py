"""What the tests of every dialect do alike."""

import pytest

from pipeline.source.formats.draft import Draft, Turn
from schemas.errors import RowError
from schemas.records import Reason

BAD, EMPTY, EQUAL, MEDIA = Reason.BAD_ROW, Reason.EMPTY_ANSWER, Reason.EQUAL_ANSWERS, Reason.UNSUPPORTED_MEDIA
NAN, INF, HALF = float("nan"), float("inf"), "\ud800"  # the last is half a character: no UTF-8 says it


def refused(module, row: dict, reason: Reason, word: str) -> None:
    """`row` is a RowError of this reason, which says `word` on one line."""
    with pytest.raises(RowError) as error:
        module.read(row)
    assert error.value.reason == reason
    assert word in error.value.detail
    assert "\n" not in error.value.detail


def without(row: dict, *names: str) -> dict:
    return {name: value for name, value in row.items() if name not in names}


def asked(*pieces) -> tuple[Turn, ...]:
    """One user's message; a plain string is a text."""
    return (Turn("user", tuple(("text", piece) if isinstance(piece, str) else piece for piece in pieces)),)


def texts(draft: Draft) -> list[tuple[str, str | None]]:
    return [(answer.text, answer.role) for answer in draft.answers]
