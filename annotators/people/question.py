"""What people are asked and what they answer, whichever program shows it to them.

A Question is one task on one desk. People see its answers in an order drawn by a seed and numbered by place; `order` takes
places back to answers, and stays with us: what is shown says nothing of models, judges, gold or the order."""

import random
from enum import StrEnum
from typing import NamedTuple

from schemas.axes import FAULTS, PREFERENCE, RANK, SAFE
from schemas.records import Outcome, Span, digest


class Task(StrEnum):
    """What is asked."""

    PAIRWISE = "pairwise"  # which of two answers is better, in five steps, and whether both are bad
    RANKING = "ranking"  # n answers, best first, some of them unacceptable
    RATINGS = "ratings"  # one answer, 1 to 5 on each axis
    CORRECT = "correct"  # one answer: mark what is wrong, say of what kind, rewrite (RLHF-V)
    SAFETY = "safety"  # one answer: safe or not, what harm, how bad


PERSON = "person:"
"""How an annotator who is a person is called: this and the server's number, no name."""


class Question(NamedTuple):
    uid: str  # names it everywhere, also in the labeling server
    task: str  # one of Task
    sample: str
    kind: str  # one of SAMPLE_KINDS
    items: tuple[str, ...]  # Candidates asked about, in their canonical order
    order: tuple[int, ...]  # place on the screen -> index into `items`
    desk: str  # whose project it is put into; "" for the one that all share
    ask: int  # 0, or 1 for the repeat with the answers in reversed order
    gold: tuple[float, ...] | None  # of a gold question how good each item is known to be; higher is better
    prompt: str
    media: tuple[tuple[str, str], ...]  # (Media id, mime), in the order of the prompt
    texts: tuple[str, ...]  # the answers as shown, by place
    people: int = 1  # who are to answer it
    prelabel: float | None = None  # of a review, what judges say: pairwise > 0 the first item is better; ratings 1 to 5


class Said(NamedTuple):
    """One thing that a person said, with places mapped back to the Question's `items`."""

    axis: str
    items: tuple[int, ...]  # indices into Question.items
    outcome: str  # verdict, tie, abstain
    value: float | None = None


class Reply(NamedTuple):
    """One annotation, understood.

    pairwise: `preference` on (0, 1): 2, 1 the first item is (much) better, -1, -2 the second; 0 and outcome tie for a tie
    ranking:  `rank` on each item: 0 the best, -1 the next ...; unacceptable ones share the last place
    ratings:  each axis on (0,): 1 to 5
    correct:  `faults` on (0,): minus the number of spans, at least one where the answer was rewritten; `text` when it was,
              `spans` on the answer as shown
    safety:   `safe` on (0,): 1 or 0; `severity` 0 to 3, 0 when safe; `harm:KIND` with value 1 for each kind of harm
    all:      `both_bad`, `unsafe`, `media_broken` on all items, with value 1 where they were ticked; `unacceptable` on each
              item that was put there or cannot be corrected
    Who cannot judge abstains on the main axis (of ratings on every axis, of a ranking on every item)."""

    said: tuple[Said, ...]
    text: str | None = None
    spans: tuple[Span, ...] = ()
    rationale: str | None = None


MAIN_AXIS = {Task.PAIRWISE: PREFERENCE, Task.RANKING: RANK, Task.CORRECT: FAULTS, Task.SAFETY: SAFE}
"""The axis that a vote of each task is on; of ratings it is the first of the axes asked."""


class Unusable(Exception):
    """An annotation that cannot be counted; it is kept in quarantine with this reason, from a closed list."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def uid(campaign: str, task: str, sample: str, items: tuple[str, ...], desk: str, ask: int) -> str:
    """32 hex characters; the same question of the same campaign has the same, so that a push can be repeated."""
    return digest("question", campaign, task, sample, items, desk, ask)


def order(uid: str, count: int, seed: int, swapped: bool = False) -> tuple[int, ...]:
    """In which order `count` answers are shown, drawn by seed and `uid`; `swapped` is for repeats: the same, reversed."""
    places = list(range(count))
    random.Random(digest("order", seed, uid)).shuffle(places)
    return tuple(reversed(places)) if swapped else tuple(places)


def back(question: Question, place: int) -> int:
    """The index into `items` of what stood at `place` (0 first)."""
    return question.order[place]


def votes(reply: Reply, axis: str) -> list[Said]:
    """What of a reply counts as a vote on `axis`: verdicts and ties."""
    return [s for s in reply.said if s.axis == axis and s.outcome in (Outcome.VERDICT, Outcome.TIE)]
