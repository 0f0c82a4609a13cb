import pytest

from schemas.errors import RowError, bad_row
from schemas.records import Reason


def test_a_bad_row_is_an_error_of_that_row_with_its_detail():
    error = bad_row("its facts are not JSON; correct them")
    assert isinstance(error, RowError)
    assert (error.reason, error.detail) == (Reason.BAD_ROW, "its facts are not JSON; correct them")


@pytest.mark.parametrize("detail", ["", "two\nlines"])
def test_whatever_its_detail_is_it_is_one_line(detail):
    assert "\n" not in bad_row(detail).detail
