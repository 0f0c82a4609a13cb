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
    shown: str | None = None  # id of the answer shown first; None for scores, imported and blind judgements

    @property
    def sign(self) -> int:
        """1 if the first of the pair is better, -1 if the second is, 0 for a tie."""
        return (self.value > 0) - (self.value < 0)


def preferences(judgements: Iterable[Judgement]) -> Iterator[Preference]:
    """The preferences in one sample's Judgements: first those of pairs, then those implied by ratings of single answers.

    Only verdicts and ties on axes of quality (`schemas.axes.is_quality`) count. Of several ratings of an answer by one judge on an axis,
    the last counts."""
    rated: dict[tuple[str, str | None, str], dict[str, float]] = {}
    for s in judgements:
        value = value_of(s)
        if value is None or not is_quality(s.axis):
            continue
        if s.target == "pair" and len(s.items) == 2:
            pair = pair_key(*s.items)
            turned = pair != s.items
            prob = None if s.prob is None else 1 - s.prob if turned else s.prob
            no_order = s.parents or s.version is None or s.axis == BLIND or s.order > 1
            shown = None if no_order else s.items[s.order]
            yield Preference(pair, s.step, s.annotator, s.axis, -value if turned else value, prob, shown)
        elif s.target == "candidate":
            rated.setdefault((s.step, s.annotator, s.axis), {})[s.items[0]] = value
    for (step, annotator, axis), values in rated.items():
        for a, b in combinations(sorted(values), 2):
            yield Preference((a, b), step, annotator, axis, values[a] - values[b])
