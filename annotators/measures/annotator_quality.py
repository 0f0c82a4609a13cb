"""What the people of a campaign are worth: their answers as the votes that `agreement.quality` weighs, judges and people alike."""

from collections.abc import Iterator
from itertools import combinations, groupby
from typing import Any

from annotators.measures.agreement import Vote, quality
from annotators.people.ledger import Answer, Ledger
from annotators.people.plan import SWAPPED
from annotators.people.question import MAIN_AXIS, PERSON, Task
from schemas.axes import PREFERENCE


def report(ledger: Ledger, settings) -> dict[str, Any] | None:
    """What `agreement.quality` says of everybody who answered, named `person:N`; None before anybody did, and of a review,
    whose pre-labels anchor: it measures nobody."""
    if settings.prelabels:
        return None
    votes = sorted(_votes(ledger, settings), key=lambda found: found[0])
    return quality((vote for _, vote in votes), axis_of(settings)) if votes else None


def axis_of(settings) -> str:
    """The axis that people are compared on: the one that the task decides, of ratings the first."""
    return MAIN_AXIS.get(settings.task) or settings.axes[0]


def _votes(ledger: Ledger, settings) -> Iterator[tuple[str, Vote]]:
    """(when, vote), sample by sample."""
    axes = set(settings.axes) if settings.task == Task.RATINGS else {axis_of(settings)}
    for _, of_sample in groupby(ledger.answers(), key=lambda a: a.question.sample):
        answers = list(of_sample)
        first = {(a.question.items, a.question.desk): a.question.uid for a in answers if a.question.ask != SWAPPED}
        for answer in answers:
            q = answer.question
            repeats = first.get((q.items, q.desk)) if q.ask == SWAPPED else None
            if repeats is None and q.ask == SWAPPED:
                continue  # what it repeats was not answered
            gold = _right(answer, settings)
            for axis, items, value in _said(answer, axes):
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


def _said(answer: Answer, axes: set[str]) -> Iterator[tuple[str, tuple[str, ...], float | None]]:
    """(axis, what is judged, value); without a value where it was skipped or could not be judged."""
    q = answer.question
    if answer.reply is None:
        yield min(axes), q.items, None
        return
    for said in answer.reply.said:
        if said.axis in axes:
            yield said.axis, tuple(q.items[i] for i in said.items), said.value


def _right(answer: Answer, settings) -> bool | None:
    """Of a gold question: whether every two answers that are known to differ were put in the right order; a tie is wrong."""
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
