"""Reliability of a campaign's annotators: their annotations as votes for `agreement.reliability`."""

from collections.abc import Iterator
from itertools import combinations, groupby
from typing import Any

from annotators.measures.agreement import Vote, reliability
from annotators.people.ledger import LatestAnnotation, Ledger
from annotators.people.plan import SWAPPED
from annotators.people.question import MAIN_AXIS, PERSON, Task
from schemas.axes import PREFERENCE


def report(ledger: Ledger, settings) -> dict[str, Any] | None:
    """The result of `agreement.reliability` for all annotators, named `person:N`.

    None without annotations, and for a review: its pre-labels bias annotators, so their quality is not measured."""
    if settings.prelabels:
        return None
    votes = sorted(_votes(ledger, settings), key=lambda found: found[0])
    return reliability((vote for _, vote in votes), axis_of(settings)) if votes else None


def axis_of(settings) -> str:
    """The axis on which annotators are compared: the task's main axis; for ratings the first of `axes`."""
    return MAIN_AXIS.get(settings.task) or settings.axes[0]


def _votes(ledger: Ledger, settings) -> Iterator[tuple[str, Vote]]:
    """(time, vote), sample by sample."""
    axes = set(settings.axes) if settings.task == Task.RATINGS else {axis_of(settings)}
    for _, group in groupby(ledger.answers(), key=lambda a: a.question.sample):
        answers = list(group)
        first = {(a.question.items, a.question.desk): a.question.uid for a in answers if a.question.ask != SWAPPED}
        for answer in answers:
            q = answer.question
            repeats = first.get((q.items, q.desk)) if q.ask == SWAPPED else None
            if repeats is None and q.ask == SWAPPED:
                continue  # the repeated question was not answered
            gold = _right(answer, settings)
            for axis, items, value in _values(answer, axes):
                left = None if axis != PREFERENCE or not value else (value > 0) == (q.order[0] == 0)
                yield (
                    answer.updated,
                    Vote(
                        q.uid,
                        "|".join(items),
                        f"{PERSON}{answer.person}",
                        axis,
                        value,
                        answer.seconds,
                        left,
                        gold,
                        repeats,
                    ),
                )


def _values(answer: LatestAnnotation, axes: set[str]) -> Iterator[tuple[str, tuple[str, ...], float | None]]:
    """(axis, ids of the judged items, value); the value is None if it was skipped or could not be judged."""
    q = answer.question
    if answer.reply is None:
        yield min(axes), q.items, None
        return
    for said in answer.reply.said:
        if said.axis in axes:
            yield said.axis, tuple(q.items[i] for i in said.items), said.value


def _right(answer: LatestAnnotation, settings) -> bool | None:
    """Whether a gold question was answered right: every two answers of different known quality in the right order; a tie is wrong.

    None if it is not a gold question or has no verdict."""
    q = answer.question
    if q.gold is None or answer.reply is None:
        return None
    given: dict[tuple[int, ...], float] = {
        s.items: s.value for s in answer.reply.said if s.axis == axis_of(settings) and s.value is not None
    }
    if q.task == Task.PAIRWISE:
        value = given.get((0, 1))
        return None if value is None else value * (q.gold[0] - q.gold[1]) > 0
    known = [(a, b) for a, b in combinations(range(len(q.items)), 2) if q.gold[a] != q.gold[b]]
    if any((i,) not in given for pair in known for i in pair):
        return None
    return all((given[(a,)] - given[(b,)]) * (q.gold[a] - q.gold[b]) > 0 for a, b in known)
