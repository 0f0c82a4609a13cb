"""What people are asked and what they answer, independent of the labeling program.

A Question is one task in one annotator group. Its answers are shown in an order drawn by a seed and numbered by position. `order` maps
positions back to answers and never leaves our side: what is shown reveals no models, judges, gold or order."""

import random
from enum import StrEnum
from typing import NamedTuple

from schemas.axes import FAULTS, PREFERENCE, RANK, SAFE
from schemas.records import Outcome, Span, digest


class Task(StrEnum):
    """Kinds of question."""

    PAIRWISE = "pairwise"  # which of two answers is better, in five steps, and whether both are bad
    RANKING = "ranking"  # n answers, best first, some of them unacceptable
    RATINGS = "ratings"  # one answer, 1 to 5 on each axis
    CORRECT = "correct"  # one answer: mark what is wrong, say of what kind, rewrite (RLHF-V)
    SAFETY = "safety"  # one answer: safe or not, what harm, how bad


PERSON = "person:"
"""Prefix of a person's annotator name: `person:3`, the server's user id instead of a name."""


class Question(NamedTuple):
    uid: str  # its id everywhere, also on the labeling server
    task: str  # one of Task
    sample: str
    kind: str  # one of SAMPLE_KINDS
    items: tuple[str, ...]  # Candidates asked about, in their canonical order
    order: tuple[int, ...]  # position on the screen -> index into `items`
    desk: str  # annotator group whose project it belongs to; "" if all share one
    ask: int  # 0, or 1 for the repeat with the answers in reverse order
    gold: tuple[float, ...] | None  # gold question: the known quality of each item, higher is better
    prompt: str
    media: tuple[tuple[str, str], ...]  # (Media id, mime), in the order of the prompt
    texts: tuple[str, ...]  # the answers as shown, by position
    people: int = 1  # number of annotators wanted
    prelabel: float | None = (
        None  # review: the judges' verdict; pairwise: > 0 if the first item is better; ratings: 1 to 5
    )


class AxisVerdict(NamedTuple):
    """One verdict of a person, with positions mapped back to the Question's `items`."""

    axis: str
    items: tuple[int, ...]  # indices into Question.items
    outcome: str  # verdict, tie, abstain
    value: float | None = None


class ParsedAnnotation(NamedTuple):
    """One parsed annotation.

    pairwise: `preference` on (0, 1): 2 or 1 if the first item is (much) better, -2 or -1 if the second is; 0 and outcome tie for a tie
    ranking:  `rank` on each item: 0 the best, -1 the next ...; unacceptable ones share the last rank
    ratings:  each axis on (0,): 1 to 5
    correct:  `faults` on (0,): minus the number of spans, at most -1 if the answer was rewritten; `text` is the rewritten answer,
              `spans` refer to the answer as shown
    safety:   `safe` on (0,): 1 or 0; `severity` 0 to 3, 0 if safe; `harm:KIND` with value 1 for each kind of harm
    all:      `both_bad`, `unsafe`, `media_broken` on all items, with value 1 if ticked; `unacceptable` on each item that was sorted
              there or cannot be corrected
    "Cannot judge" is an abstention on the main axis (ratings: on every axis; ranking: on every item)."""

    said: tuple[AxisVerdict, ...]
    text: str | None = None
    spans: tuple[Span, ...] = ()
    rationale: str | None = None


MAIN_AXIS = {Task.PAIRWISE: PREFERENCE, Task.RANKING: RANK, Task.CORRECT: FAULTS, Task.SAFETY: SAFE}
"""The main axis of each task, on which people are compared; for ratings it is the first of the step's axes."""


class Unusable(Exception):
    """An annotation that cannot be counted. It is kept in quarantine with its reason, one of a closed list, and a detail."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def uid(campaign: str, task: str, sample: str, items: tuple[str, ...], desk: str, ask: int) -> str:
    """The id of a question, 32 hex digits. It is deterministic, so a push can be repeated without creating a second task."""
    return digest("question", campaign, task, sample, items, desk, ask)


def order(uid: str, count: int, seed: int, swapped: bool = False) -> tuple[int, ...]:
    """Position -> index of `count` answers, a permutation drawn by seed and `uid`; reversed if `swapped` (for repeats)."""
    places = list(range(count))
    random.Random(digest("order", seed, uid)).shuffle(places)
    return tuple(reversed(places)) if swapped else tuple(places)


def item_index(question: Question, place: int) -> int:
    """The index into `items` of the answer shown at position `place`, from 0. IndexError beyond the last."""
    return question.order[place]


def votes(reply: ParsedAnnotation, axis: str) -> list[AxisVerdict]:
    """The verdicts and ties of a reply on `axis`; empty if it abstains or has none."""
    return [s for s in reply.said if s.axis == axis and s.outcome in (Outcome.VERDICT, Outcome.TIE)]
