"""Pairs of one prompt that contradict each other in training: A over B and B over A, or one answer labelled both good and bad."""

from collections.abc import Iterator, Sequence

from schemas.records import Pair
from schemas.text import text_key

Side = tuple[str, str | bool]


def contradictory(pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Pair]]:
    """Each pair of one sample that contradicts another one, with the first that it contradicts.

    Texts are compared without their white space. Pairs whose rejected side had other media are left out: they compare media too."""
    sides = [(pair, side) for pair in pairs if pair.rejected_media is None and (side := _side(pair)) is not None]
    first: dict[Side, Pair] = {}
    for pair, side in sides:
        first.setdefault(side, pair)
    for pair, side in sides:
        if (other := first.get(_turned(side))) is not None:
            yield pair, other


def _side(pair: Pair) -> Side | None:
    """(chosen, rejected), or (answer, label) without a rejected answer; None if it states no preference."""
    chosen = text_key(pair.chosen)
    if pair.rejected is None:
        return None if pair.label is None else (chosen, pair.label)
    rejected = text_key(pair.rejected)
    return None if chosen == rejected else (chosen, rejected)


def _turned(side: Side) -> Side:
    first, second = side
    return (first, not second) if isinstance(second, bool) else (second, first)
