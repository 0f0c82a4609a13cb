"""Ballots: each judge's vote on an item, computed from Judgements.

A pair of answers is identified by their two ids in ascending order; above 0 the first is better. Several judgements of a pair by one
judge count as their mean; a judge that contradicts itself has no vote."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from annotators.people.question import PERSON
from schemas.records import Claim, Judgement, Outcome

PairKey = tuple[str, str]


class Ballot(NamedTuple):
    """One judge's vote on one item."""

    value: float
    judgements: tuple[str, ...]  # ids of the Judgements it was computed from
    graded: bool = True  # whether the size of its value says by how much


Ballots = dict[str, Ballot]  # judge -> vote


def pair_key(a: str, b: str) -> PairKey:
    """The two ids in ascending order: the key of a pair."""
    return (a, b) if a < b else (b, a)


def pair_ballots(
    judgements: Iterable[Judgement], live: Iterable[PairKey], axis: str, also: tuple[str, ...]
) -> dict[PairKey, Ballots]:
    """The ballots on each pair of one sample that was judged on `axis` or is `live`; a pair may have none.

    A judge that judged both answers on an axis of `also` votes by the sign of the difference."""
    compared: dict[PairKey, dict[str, list[tuple[float, str]]]] = {}
    scores: dict[str, dict[str, tuple[float, str]]] = {}
    for s in judgements:
        if s.target == "pair" and s.axis == axis:
            by_judge = compared.setdefault(pair_key(*s.items), {})
            if (value := value_of(s)) is not None:
                sign = 1 if s.items == pair_key(*s.items) else -1
                by_judge.setdefault(_judge(s), []).append((sign * value, s.id))
        elif s.target == "candidate" and s.axis in also and (value := value_of(s)) is not None:
            scores.setdefault(_judge(s), {})[s.items[0]] = value, s.id
    for pair in live:
        compared.setdefault(pair, {})
    out: dict[PairKey, Ballots] = {}
    for pair, by_judge in compared.items():
        votes = out[pair] = {}
        for name, found in by_judge.items():
            value = fmean(v for v, _ in found)
            if value or not any(v for v, _ in found):
                votes[name] = Ballot(value, tuple(i for _, i in found))
        for name, scored in scores.items():
            if pair[0] in scored and pair[1] in scored:
                (a, first), (b, second) = scored[pair[0]], scored[pair[1]]
                votes[name] = Ballot(float((a > b) - (a < b)), (first, second), graded=False)
    return out


def candidate_ballots(judgements: Iterable[Judgement], axes: tuple[str, ...]) -> dict[str, Ballots]:
    """The ballots on each candidate of one sample, from Judgements on `axes`; candidates without a ballot are left out.

    Of several Judgements of a candidate by one judge the last counts."""
    out: dict[str, Ballots] = {}
    for s in judgements:
        if s.target == "candidate" and s.axis in axes and (value := value_of(s)) is not None:
            out.setdefault(s.items[0], {})[_judge(s)] = Ballot(value, (s.id,))
    return out


def claim_ballots(
    judgements: Iterable[Judgement], claims: Iterable[Claim], axis: str
) -> dict[tuple[str, str, bool], Ballots]:
    """The ballots on each claim of one sample, keyed by (candidate, question, wanted): equal Claims of several steps are one item."""
    names = {c.id: (c.candidate, c.question, c.wanted) for c in claims}
    out: dict[tuple[str, str, bool], Ballots] = {name: {} for name in names.values()}
    for s in judgements:
        if s.target == "claim" and s.axis == axis and s.items[0] in names and (value := value_of(s)) is not None:
            out[names[s.items[0]]][_judge(s)] = Ballot(value, (s.id,))
    return out


def judge_name(judge: str) -> str:
    """The name by which a recipe refers to a judge of Ballots: `person:N`, or the judging step of a model."""
    return judge if judge.startswith(PERSON) else judge.partition(".")[0]


def value_of(s: Judgement) -> float | None:
    """The value of a verdict, 0 for a tie, None for any other outcome."""
    if s.outcome == Outcome.TIE:
        return 0.0
    return s.value if s.outcome == Outcome.VERDICT else None


def _judge(s: Judgement) -> str:
    """The key of a judge: a person is one judge across all steps, a model is a different judge per step and axis."""
    person = s.annotator is not None and s.annotator.startswith(PERSON)
    return s.annotator if person else f"{s.step}.{s.axis} {s.annotator}"
