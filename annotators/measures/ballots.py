"""Ballots: what each judge says of an item, read from Judgements.

A pair of answers is named by their two ids in order, whichever was asked about first; above 0 its first is better. Who was asked about a
pair more than once says the mean, and nothing where they contradict themselves."""

from collections.abc import Iterable
from statistics import fmean
from typing import NamedTuple

from annotators.people.question import PERSON
from schemas.records import Claim, Judgement, Outcome

PairKey = tuple[str, str]


class Ballot(NamedTuple):
    """What one judge says of one item."""

    value: float
    slips: tuple[str, ...]  # ids of the Judgements it is read from
    graded: bool = True  # its value says by how much


Ballots = dict[str, Ballot]  # by judge


def pair_key(a: str, b: str) -> PairKey:
    """The name of a pair."""
    return (a, b) if a < b else (b, a)


def on_pairs(
    slips: Iterable[Judgement], live: Iterable[PairKey], axis: str, also: tuple[str, ...]
) -> dict[PairKey, Ballots]:
    """The ballots on each pair of one sample that is judged on `axis` or `live`, which may be none. Whoever judged both answers on an axis
    of `also` says by the sign of the difference which is better."""
    compared: dict[PairKey, dict[str, list[tuple[float, str]]]] = {}
    scores: dict[str, dict[str, tuple[float, str]]] = {}
    for s in slips:
        if s.target == "pair" and s.axis == axis:
            of = compared.setdefault(pair_key(*s.items), {})
            if (value := value_of(s)) is not None:
                sign = 1 if s.items == pair_key(*s.items) else -1
                of.setdefault(_judge(s), []).append((sign * value, s.id))
        elif s.target == "candidate" and s.axis in also and (value := value_of(s)) is not None:
            scores.setdefault(_judge(s), {})[s.items[0]] = value, s.id
    for pair in live:
        compared.setdefault(pair, {})
    out: dict[PairKey, Ballots] = {}
    for pair, of in compared.items():
        votes = out[pair] = {}
        for name, found in of.items():
            value = fmean(v for v, _ in found)
            if value or not any(v for v, _ in found):
                votes[name] = Ballot(value, tuple(i for _, i in found))
        for name, scored in scores.items():
            if pair[0] in scored and pair[1] in scored:
                (a, first), (b, second) = scored[pair[0]], scored[pair[1]]
                votes[name] = Ballot(float((a > b) - (a < b)), (first, second), graded=False)
    return out


def on_candidates(slips: Iterable[Judgement], axes: tuple[str, ...]) -> dict[str, Ballots]:
    """The ballots on each candidate of one sample that has any on one of `axes`; of several Judgements by one judge the latest counts."""
    out: dict[str, Ballots] = {}
    for s in slips:
        if s.target == "candidate" and s.axis in axes and (value := value_of(s)) is not None:
            out.setdefault(s.items[0], {})[_judge(s)] = Ballot(value, (s.id,))
    return out


def on_claims(slips: Iterable[Judgement], claims: Iterable[Claim], axis: str) -> dict[tuple[str, str, bool], Ballots]:
    """The ballots on what is claimed: (candidate, question, wanted), which several steps may have found, each as a Claim of its own."""
    names = {c.id: (c.candidate, c.question, c.wanted) for c in claims}
    out: dict[tuple[str, str, bool], Ballots] = {name: {} for name in names.values()}
    for s in slips:
        if s.target == "claim" and s.axis == axis and s.items[0] in names and (value := value_of(s)) is not None:
            out[names[s.items[0]]][_judge(s)] = Ballot(value, (s.id,))
    return out


def speaker(judge: str) -> str:
    """What a recipe calls a judge of Ballots: the person, or the step in which a model speaks."""
    return judge if judge.startswith(PERSON) else judge.partition(".")[0]


def value_of(s: Judgement) -> float | None:
    """The value of a verdict, 0 of a tie, None of everything else."""
    if s.outcome == Outcome.TIE:
        return 0.0
    return s.value if s.outcome == Outcome.VERDICT else None


def _judge(s: Judgement) -> str:
    """Who speaks: a person is the same in every step, a model is another judge in another step or on another axis."""
    person = s.annotator is not None and s.annotator.startswith(PERSON)
    return s.annotator if person else f"{s.step}.{s.axis} {s.annotator}"
