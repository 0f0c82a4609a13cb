"""Counts of rejected rows by step and reason."""

from collections.abc import Iterable

from schemas.operator import Tables
from schemas.records import Reason, Rejection

Reasons = dict[str, dict[str, int]]  # {step: {reason: n}}


def counted(found: Iterable[tuple[str, str, int]]) -> Reasons:
    """{step: {reason: n}} from (step, reason, rows); steps and reasons in order of first occurrence."""
    out: Reasons = {}
    for step, reason, n in found:
        reasons = out.setdefault(step, {})
        reasons[str(reason)] = reasons.get(str(reason), 0) + n
    return out


def count_rows(rows: Iterable[Rejection]) -> Reasons:
    """Counts of rows about to be written. ValueError for a reason that is not in Reason, which is a bug of an operator."""
    return counted((row.step, Reason(row.reason), 1) for row in rows)


def in_tables(tables: Tables) -> Reasons:
    """Counts of the live rows of the table `rejections`. Memory does not grow with the rows."""
    batches = tables.batches("rejections", ["step", "reason"])
    rows = (
        row for batch in batches for row in zip(batch["step"].to_pylist(), batch["reason"].to_pylist(), strict=True)
    )
    return counted((step, reason, 1) for step, reason in rows)


def sum_counts(parts: Iterable[Reasons]) -> Reasons:
    """The sums of several counts."""
    return counted(
        (step, reason, n) for part in parts for step, reasons in part.items() for reason, n in reasons.items()
    )


def lines(found: Reasons) -> list[str]:
    """A line per step, such as `make: 3 too_long, 1 engine_failed`; empty if there are none."""
    return [f"{step}: {', '.join(f'{n} {reason}' for reason, n in reasons.items())}" for step, reasons in found.items()]
