"""Which of two answers a judge prefers, from judgements of the pair or of each single answer."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from annotators.measures.ballots import PairKey, pair_key, value_of
from schemas.axes import BLIND, is_quality
from schemas.records import Judgement


class Preference(NamedTuple):
    """One judge's preference between two answers."""

    pair: PairKey
    step: str
    annotator: str | None
    axis: str
    value: float  # above 0 the first of the pair is better, 0 is a tie
    prob: float | None = None  # 0..1, probability that the first of the pair is better
    shown: str | None = (
        None  # id of the answer shown before the other; None for scores, imported and blind judgements, and apart
    )

    @property
    def sign(self) -> int:
        """1 if the first of the pair is better, -1 if the second is, 0 for a tie."""
        return (self.value > 0) - (self.value < 0)


def preferences(judgements: Iterable[Judgement]) -> Iterator[Preference]:
    """The preferences in one sample's Judgements: first those of pairs, then those implied by ratings of single answers.

    Only verdicts and ties on axes of quality (`schemas.axes.is_quality`) count. Of several ratings of an answer by one judge on an axis,
    the last counts."""
    rated: dict[tuple[str, str | None, str], dict[str, Judgement]] = {}
    for s in judgements:
        value = value_of(s)
        if value is None or not is_quality(s.axis):
            continue
        if s.target == "pair" and len(s.items) == 2:
            pair = pair_key(*s.items)
            turned = pair != s.items
            prob = None if s.prob is None else 1 - s.prob if turned else s.prob
            shown = s.items[s.order] if _was_shown(s) and s.order <= 1 else None
            yield Preference(pair, s.step, s.annotator, s.axis, -value if turned else value, prob, shown)
        elif s.target == "candidate":
            rated.setdefault((s.step, s.annotator, s.axis), {})[s.items[0]] = s
    for (step, annotator, axis), found in rated.items():
        for a, b in combinations(sorted(found), 2):
            first, second = found[a], found[b]
            shown = None
            if first.order != second.order and _was_shown(first) and _was_shown(second):
                shown = a if first.order < second.order else b
            value = (value_of(first) or 0.0) - (value_of(second) or 0.0)
            yield Preference((a, b), step, annotator, axis, value, shown=shown)


def _was_shown(s: Judgement) -> bool:
    """Whether its `order` is a place at which the item was shown to a judge; answers that were judged alone all have 0."""
    return not s.parents and s.version is not None and s.axis != BLIND
