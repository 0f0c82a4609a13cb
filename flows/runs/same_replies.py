"""Pairs that rest only on judges that gave one and the same reply to nearly every question: the place of the answers chose, not the answers."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from annotators.measures.same_reply import SameReplies
from schemas.arrow import from_batch
from schemas.operator import Tables
from schemas.records import Judgement, Pair, Reason, Rejection


def records(tables: Tables, table: str) -> Iterator:
    """All rows of a table."""
    return (row for batch in tables.batches(table) for row in from_batch(table, batch))


def grouped_by_sample(rows: Iterable, sample: Callable[[Any], str]) -> Callable[[str], list]:
    """Groups rows that are in sample order: the result gives the rows of each sample and must be called in that order. Holds one sample
    in memory."""
    groups = groupby(rows, key=sample)
    head = next(groups, None)

    def rows_of(name: str) -> list:
        nonlocal head
        if head is None or head[0] != name:
            return []
        found = list(head[1])
        head = next(groups, None)
        return found

    return rows_of


def judges_by_place(tables: Tables, steps: Collection[str]) -> dict[str, str]:
    """{step: its reply, in words} for those judging `steps` whose preferences nearly all come from the place of the answers. Streams the
    judgements; nothing is read without `steps`."""
    replies = SameReplies()
    if steps:
        for _, rows in groupby(records(tables, "judgements"), key=attrgetter("sample")):
            replies.add(rows)
    figures = {step: replies.figure(step) for step in steps}
    return {step: figure["reply"] for step, figure in figures.items() if figure and figure["by_place"]}


def rejected_pairs(tables: Tables, replies: Mapping[str, str]) -> Iterator[Rejection]:
    """A Rejection for each pair all of whose judgements, followed to those that no score is based on, are by steps in `replies`."""
    judged = grouped_by_sample(records(tables, "judgements"), attrgetter("sample"))
    paired = grouped_by_sample(records(tables, "pairs"), attrgetter("sample"))
    for batch in tables.batches("samples", ["id"]):
        for sample in batch.column("id").to_pylist():
            rows = {row.id: row for row in judged(sample)}
            for pair in paired(sample):
                if (steps := _judges(pair, rows)) and replies.keys() >= steps:
                    detail = "; ".join(f"{step} nearly always replied: {replies[step]}" for step in sorted(steps))
                    yield Rejection(pair.id, "pairs", pair.step, Reason.SAME_REPLY, detail, sample)


def _judges(pair: Pair, rows: Mapping[str, Judgement]) -> set[str]:
    """The steps of the judgements on which a pair is based."""
    waiting, steps = list(pair.judgements), set()
    while waiting:
        row = rows.get(waiting.pop())
        if row is not None and row.parents:
            waiting += row.parents
        else:
            steps.add(row.step if row else "")
    return steps
