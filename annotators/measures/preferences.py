"""Which of two answers a judge prefers, whatever it judged: the pair itself, or each answer for itself."""

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from annotators.measures.ballots import PairKey, pair_key, value_of
from schemas.axes import BLIND, is_quality
from schemas.records import Judgement


class Preference(NamedTuple):
    """What one judge says of two answers. A pair is named by their ids in order."""

    pair: PairKey
    step: str
    annotator: str | None
    axis: str
    value: float  # above 0 the first of the pair is better, 0 a tie
    prob: float | None = None  # 0..1, that the first of the pair is better
    shown: str | None = (
        None  # the answer that stood first on the judge's page; None of scores, and where nobody asked here
    )

    @property
    def sign(self) -> int:
        return (self.value > 0) - (self.value < 0)


def preferences(slips: Iterable[Judgement]) -> Iterator[Preference]:
    """The orders in one sample's Judgements. Judgements without a verdict give none; of an answer that one judge rated several times on
    an axis the latest counts. What is said of pairs comes first."""
    rated: dict[tuple[str, str | None, str], dict[str, float]] = {}
    for s in slips:
        value = value_of(s)
        if value is None or not is_quality(s.axis):
            continue
        if s.target == "pair" and len(s.items) == 2:
            pair = pair_key(*s.items)
            turned = pair != s.items
            prob = None if s.prob is None else 1 - s.prob if turned else s.prob
            apart = s.parents or s.version is None or s.axis == BLIND or s.order > 1
            shown = None if apart else s.items[s.order]
            yield Preference(pair, s.step, s.annotator, s.axis, -value if turned else value, prob, shown)
        elif s.target == "candidate":
            rated.setdefault((s.step, s.annotator, s.axis), {})[s.items[0]] = value
    for (step, annotator, axis), values in rated.items():
        for a, b in combinations(sorted(values), 2):
            yield Preference((a, b), step, annotator, axis, values[a] - values[b])
