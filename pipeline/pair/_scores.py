"""Shared by the pair operators: scored answers, pairs made of them, and the cap on their number."""

import random
from typing import NamedTuple

from schemas.operator import Context, SampleRows
from schemas.records import Candidate, Judgement, Outcome, Pair, Reason, Rejection, pair


class Scored(NamedTuple):
    """An answer with its score."""

    candidate: Candidate
    score: float
    judgement: str  # id of the judgement that gave the score


def scored_candidates(rows: SampleRows, axis: str) -> list[Scored]:
    """The candidates with a verdict on `axis`, in the order of `rows.candidates`; of several verdicts the latest counts."""
    latest: dict[str, Judgement] = {}
    for judgement in rows.judgements:
        if judgement.axis == axis and judgement.target == "candidate" and judgement.outcome == Outcome.VERDICT:
            latest[judgement.items[0]] = judgement
    return [
        Scored(c, judgement.value, judgement.id)
        for c in rows.candidates
        if (judgement := latest.get(c.id)) is not None and judgement.value is not None
    ]


def no_pair(rows: SampleRows, context: Context, reason: Reason, detail: str) -> Rejection:
    """The Rejection that says why this sample has no pair."""
    return Rejection(rows.sample.id, "pairs", context.step, reason, detail, rows.sample.id)


def make_pair(better: Scored, worse: Scored, rows: SampleRows, context: Context) -> Pair:
    """The Pair with `better` as chosen; its margin is the difference of the scores."""
    return pair(
        rows.sample.id, context.step, better.candidate, worse.candidate,
        margin=better.score - worse.score, reward_chosen=better.score, reward_rejected=worse.score,
        judgements=(better.judgement, worse.judgement), recipe=context.recipe, seed=better.candidate.seed,
    )  # fmt: skip


def over_cap(found: list[Pair], cap: int | None, rng: random.Random, context: Context) -> list[Pair | Rejection]:
    """The pairs; each that is not among the `cap` ones drawn by `rng` is followed by its Rejection OVER_CAP. No cap: all stay."""
    if cap is None or len(found) <= cap:
        return list(found)
    kept = set(rng.sample(range(len(found)), cap))
    out: list[Pair | Rejection] = []
    for place, row in enumerate(found):
        out.append(row)
        if place not in kept:
            out.append(Rejection(row.id, "pairs", context.step, Reason.OVER_CAP, "", row.sample))
    return out
