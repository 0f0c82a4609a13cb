"""What all judges of a pair, or of an answer, say together; people and models alike.

On preferences a judge's vote is which answer is better; a model that rated answers on an axis of `also` votes on each pair by the
sign of the difference. Judges are fitted once over all votes, each with the errors they make; then every sample is worked out from its
own votes."""

from collections.abc import Iterable
from itertools import combinations
from statistics import fmean, multimode
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import model_validator

from schemas.operator import Context, Fitted, Rows
from schemas.operator import Settings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, Outcome, digest, judgement

from .. import consensus
from ..agreement import PREFERENCE
from ..votes import Ballots, Two, on_candidates, on_pairs, two

READS = ("candidates", "judgements")
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
FITTED = {"dawid_skene": consensus.dawid_skene, "mace": consensus.mace}
SIDES = (-1.0, 0.0, 1.0)  # labels of preferences: the second is better, a tie, the first is better


class Settings(Base):
    method: Literal["dawid_skene", "mace", "bradley_terry", "majority", "mean"] = "dawid_skene"
    """dawid_skene and mace weigh judges by the errors they are estimated to make; the others take all alike"""
    axis: str = PREFERENCE
    """the judgements that are votes: preference on pairs, any other on answers"""
    also: tuple[str, ...] = ()
    """axes on which models judged answers, whose differences are votes on pairs as well"""

    @model_validator(mode="after")
    def _pairs_only(self):
        if self.also and self.axis != PREFERENCE:
            raise ValueError(f"`also` adds votes on pairs; leave it out, or say `axis: {PREFERENCE}`")
        return self


class Judges(NamedTuple):
    """All judges, fitted."""

    places: dict[str, int]  # judge -> number in the model
    labels: tuple[float, ...]
    model: consensus.Model


def fit(seen: Iterable[Rows], settings: Settings, context: Context) -> Fitted:
    """The judges by their votes in all samples: memory grows with the votes here, and with the judges only from then on. Methods that
    take all judges alike, and a run without a vote, have nothing to fit."""
    if settings.method not in FITTED:
        return Fitted(digest(settings.method), None)
    items, names, labels = [], [], []
    for rows in seen:
        for item, votes in _voted(rows, settings).items():
            for name, vote in votes.items():
                items.append(item)
                names.append(name)
                labels.append(_label(vote.value, settings))
    if not items:
        return Fitted(digest(settings.method), None)
    votes, _, judges, values = consensus.coded(items, names, labels)
    if settings.axis == PREFERENCE:
        votes = consensus.mirrored(votes._replace(label=np.array(labels, dtype=np.intp) + 1), len(SIDES))
        values = SIDES
    model = consensus.Model(*(part.round(6) for part in FITTED[settings.method](votes, len(values))))
    key = digest(settings.method, judges, list(values), *(part.tolist() for part in model))
    return Fitted(key, Judges({name: i for i, name in enumerate(judges)}, tuple(values), model))


def score(rows: Rows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement a pair, or a candidate when the axis is on answers. It abstains where nobody has a verdict.

    Of a pair (items in the order of their ids): `prob` that the first is better, ties shared; `value` from -2 to 2, (p(first) - p(second)) x
    the mean strength of the votes that grade it; with `mean` the mean of the votes, which then count by their strength.
    Of a candidate: the mean, the most frequent value (of several their mean), the posterior's mean, or the log strength among the sample's candidates."""
    if settings.axis == PREFERENCE:
        return _pairs(rows, settings, context)
    return _candidates(rows, settings, context)


def _voted(rows: Rows, settings: Settings) -> dict[Any, Ballots]:
    """The ballots on each pair, or on each candidate, of one sample; on preferences live pairs may have none."""
    if settings.axis != PREFERENCE:
        return on_candidates(rows.judgements, settings.axis)
    live = [two(p.chosen_id, p.rejected_id) for p in rows.pairs if p.chosen_id and p.rejected_id]
    return on_pairs(rows.judgements, live, settings.axis, settings.also)


def _pairs(rows: Rows, settings: Settings, context: Context) -> list[Judgement]:
    voted = _voted(rows, settings)
    strengths = _strengths(voted) if settings.method == "bradley_terry" else None
    out = []
    for pair, votes in voted.items():
        if not votes:
            out.append(_slip(rows, context, settings, "pair", pair, votes, Outcome.ABSTAIN))
            continue
        if strengths:
            of, nu = strengths
            first, tie, second = consensus.davidson(of[pair[0]], of[pair[1]], nu)
        else:
            second, tie, first = _sides(votes, settings, context.fitted)
        value = (first - second) * fmean([abs(v.value) for v in votes.values() if v.graded and v.value] or [1.0])
        if settings.method == "mean":
            value = fmean(v.value for v in votes.values())
        outcome = Outcome.TIE if tie > max(first, second) else Outcome.VERDICT
        out.append(_slip(rows, context, settings, "pair", pair, votes, outcome, value, first + tie / 2))
    return out


def _candidates(rows: Rows, settings: Settings, context: Context) -> list[Judgement]:
    voted = _voted(rows, settings)
    strengths = _ranked(rows.candidates, voted) if settings.method == "bradley_terry" else {}
    out = []
    for c in rows.candidates:
        votes = voted.get(c.id, {})
        said = [v.value for v in votes.values()]
        if not said:
            value = None
        elif settings.method == "bradley_terry":
            value = strengths[c.id]
        elif settings.method == "mean":
            value = fmean(said)
        elif settings.method == "majority":
            value = fmean(multimode(said))
        else:
            value = float(_posterior(votes, context.fitted, settings) @ np.array(context.fitted.labels))
        outcome = Outcome.ABSTAIN if value is None else Outcome.VERDICT
        out.append(_slip(rows, context, settings, "candidate", (c.id,), votes, outcome, value))
    return out


def _slip(rows: Rows, context: Context, settings: Settings, target: str, items: tuple[str, ...], votes: Ballots, outcome: str,
          value: float | None = None, prob: float | None = None) -> Judgement:  # fmt: skip
    return judgement(
        rows.sample.id, context.step, target, items, "score", outcome,
        value=None if value is None else round(value, 4), prob=None if prob is None else round(prob, 4),
        annotator=f"consensus.{settings.method}", version=context.version,
        parents=tuple(i for v in votes.values() for i in v.slips),
    )  # fmt: skip


def _sides(votes: Ballots, settings: Settings, judges: Judges) -> np.ndarray:
    """Probabilities of SIDES."""
    if settings.method in FITTED:
        return _posterior(votes, judges, settings)
    weights = [abs(v.value) or 1 if settings.method == "mean" else 1 for v in votes.values()]
    shares = np.bincount([int(np.sign(v.value)) + 1 for v in votes.values()], weights, minlength=len(SIDES))
    return shares / shares.sum()


def _posterior(votes: Ballots, judges: Judges, settings: Settings) -> np.ndarray:
    said = [judges.labels.index(_label(v.value, settings)) for v in votes.values()]
    return consensus.posterior(judges.model, np.array([judges.places.get(name, -1) for name in votes]), np.array(said))


def _label(value: float, settings: Settings) -> float:
    return float(np.sign(value)) if settings.axis == PREFERENCE else value


def _strengths(voted: dict[Two, Ballots]) -> tuple[dict[str, float], float]:
    """Log strengths of a sample's answers from the votes on its pairs, and how readily they tie."""
    names = sorted({name for pair in voted for name in pair})
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (first, second), votes in voted.items():
        for vote in votes.values():
            _note(wins, ties, names.index(first), names.index(second), vote.value)
    strengths, nu = consensus.bradley_terry(wins, ties)
    return dict(zip(names, strengths.tolist(), strict=True)), nu


def _ranked(candidates: list[Candidate], voted: dict[str, Ballots]) -> dict[str, float]:
    """Log strengths of the answers that have votes: each judge compares every two they judged."""
    names = [c.id for c in candidates if c.id in voted]
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (i, a), (j, b) in combinations(enumerate(names), 2):
        for judge in voted[a].keys() & voted[b].keys():
            _note(wins, ties, i, j, voted[a][judge].value - voted[b][judge].value)
    return dict(zip(names, consensus.bradley_terry(wins, ties)[0].tolist(), strict=True))


def _note(wins: np.ndarray, ties: np.ndarray, i: int, j: int, value: float) -> None:
    if value > 0:
        wins[i, j] += 1
    elif value < 0:
        wins[j, i] += 1
    else:
        ties[i, j] += 1
        ties[j, i] += 1
