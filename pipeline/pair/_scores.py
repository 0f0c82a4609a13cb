"""What every pair rule starts from: a sample's answers with their scores."""

import random
from typing import NamedTuple

from schemas.operator import Context, SampleRows
from schemas.records import Candidate, Judgement, Outcome, Pair, Reason, Rejection, pair


class Scored(NamedTuple):
    candidate: Candidate
    score: float
    judgement: str  # id of the score


def scored_candidates(rows: SampleRows, axis: str) -> list[Scored]:
    """The candidates that have a verdict on `axis`, in their order; of several verdicts the latest counts."""
    found: dict[str, Judgement] = {}
    for slip in rows.judgements:
        if slip.axis == axis and slip.target == "candidate" and slip.outcome == Outcome.VERDICT:
            found[slip.items[0]] = slip
    return [
        Scored(c, slip.value, slip.id)
        for c in rows.candidates
        if (slip := found.get(c.id)) is not None and slip.value is not None
    ]


def no_pair(rows: SampleRows, context: Context, reason: Reason, detail: str) -> Rejection:
    """The note that this sample gave no pair."""
    return Rejection(rows.sample.id, "pairs", context.step, reason, detail, rows.sample.id)


def make_pair(better: Scored, worse: Scored, rows: SampleRows, context: Context) -> Pair:
    return pair(
        rows.sample.id, context.step, better.candidate, worse.candidate,
        margin=better.score - worse.score, reward_chosen=better.score, reward_rejected=worse.score,
        judgements=(better.judgement, worse.judgement), recipe=context.recipe, seed=better.candidate.seed,
    )  # fmt: skip


def over_cap(found: list[Pair], cap: int | None, rng: random.Random, context: Context) -> list[Pair | Rejection]:
    """The pairs, and behind each that is not among the `cap` drawn ones its Rejection; all stay without a cap."""
    if cap is None or len(found) <= cap:
        return list(found)
    kept = set(rng.sample(range(len(found)), cap))
    out: list[Pair | Rejection] = []
    for place, row in enumerate(found):
        out.append(row)
        if place not in kept:
            out.append(Rejection(row.id, "pairs", context.step, Reason.OVER_CAP, "", row.sample))
    return out
