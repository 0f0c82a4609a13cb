"""The rows that were left out, counted by step and reason."""

from collections.abc import Iterable

from schemas.operator import Tables
from schemas.records import Reason, Rejection

Reasons = dict[str, dict[str, int]]  # {step: {reason: n}}


def counted(found: Iterable[tuple[str, str, int]]) -> Reasons:
    """{step: {reason: n}} of (step, reason, rows), steps and reasons in the order in which they first come; empty of none."""
    out: Reasons = {}
    for step, reason, n in found:
        reasons = out.setdefault(step, {})
        reasons[str(reason)] = reasons.get(str(reason), 0) + n
    return out


def of_rows(rows: Iterable[Rejection]) -> Reasons:
    """Those of rows that are about to be written. ValueError for a reason that is not on the list: an operator made it up."""
    return counted((row.step, Reason(row.reason), 1) for row in rows)


def in_tables(tables: Tables) -> Reasons:
    """Those of the live rows of the table `rejections`. Memory does not grow with the rows."""
    batches = tables.batches("rejections", ["step", "reason"])
    rows = (
        row for batch in batches for row in zip(batch["step"].to_pylist(), batch["reason"].to_pylist(), strict=True)
    )
    return counted((step, reason, 1) for step, reason in rows)


def together(parts: Iterable[Reasons]) -> Reasons:
    """The sums of several counts."""
    return counted(
        (step, reason, n) for part in parts for step, reasons in part.items() for reason, n in reasons.items()
    )


def lines(found: Reasons) -> list[str]:
    """What is said of them, a line a step: `make: 3 too_long, 1 engine_failed`; no line of none."""
    return [f"{step}: {', '.join(f'{n} {reason}' for reason, n in reasons.items())}" for step, reasons in found.items()]
