"""A jury: aggregates the votes of all judges (people and models) on a pair, an answer or a claim.

On preferences a vote is which answer is better; a model that rated answers on an axis of `also` votes on each pair by the sign of the
difference. Judges are fitted once over all votes, each with an error model; each sample is then computed from its own votes. A judge
that abstains, cannot be parsed or contradicts itself has no vote."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from statistics import fmean, multimode
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from annotators.measures import aggregation
from annotators.measures.ballots import (
    Ballot,
    Ballots,
    PairKey,
    candidate_ballots,
    claim_ballots,
    judge_name,
    pair_ballots,
    pair_key,
    value_of,
)
from annotators.measures.preferences import preferences
from schemas.axes import CLAIM, PREFERENCE, SCORE, TRUTH
from schemas.errors import RecipeError
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Finding, Judgement, Outcome, Provenance, digest, judgement
from schemas.text import did_you_mean

READS = ("candidates", "judgements")
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
FITTED = {"dawid_skene": aggregation.dawid_skene, "mace": aggregation.mace}
WEIGHED = ("weighted", "rank_mix")
AS_CAST = "no three judges have items in common, two by two, so nothing tells how reliable each of them is: votes count as cast"
SIDES = (-1.0, 0.0, 1.0)  # labels of preferences: second better, tie, first better


class Settings(Base):
    method: Literal[
        "dawid_skene", "mace", "bradley_terry", "majority", "mean", "weighted", "round_robin", "rank_mix"
    ] = "dawid_skene"
    """dawid_skene and mace weigh judges by their estimated error rates (votes count as cast if too few judges share items to estimate these),
    weighted by `weights`; the others count all judges the same.
    bradley_terry and round_robin use all comparisons of a sample's answers, rank_mix each judge's ranking of them"""
    axis: str = PREFERENCE
    """axis of the judgements that are votes: preference (on pairs), claim (on claims), any other (on answers)"""
    also: tuple[str, ...] = ()
    """axes of ratings of answers whose differences also count as votes on pairs; with rank_mix: further axes to rank by"""
    of: Literal["pairs", "answers"] = "pairs"
    """what gets a score from preferences: each pair, or (bradley_terry, round_robin) each answer, from all its pairs"""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field({})
    """weighted and rank_mix: weight of a vote by the judge's step or person:N; 1 if not named. Without any, weighted uses the log odds of
    being right where the truth is known"""
    quorum: int = Field(1, ge=1, le=1_000)
    """minimum number of votes on an item; with fewer there is no verdict"""

    @model_validator(mode="after")
    def _fitting(self):
        preferences = self.axis == PREFERENCE
        if self.also and not preferences and self.method != "rank_mix":
            raise ValueError(f"`also` adds votes on pairs; remove it, or use `axis: {PREFERENCE}`")
        if self.method == "round_robin" and (self.of == "pairs" or not preferences):
            raise ValueError(f"round_robin scores answers by their pairs; use `of: answers` and `axis: {PREFERENCE}`")
        if self.of == "answers" and (self.method not in ("round_robin", "bradley_terry") or not preferences):
            raise ValueError("`of: answers` needs bradley_terry or round_robin, on preferences")
        if self.method == "rank_mix" and self.axis in (PREFERENCE, CLAIM):
            raise ValueError(
                "rank_mix mixes rankings of answers; set `axis` to one on which judges rated or ranked them"
            )
        if self.method == "bradley_terry" and self.axis == CLAIM:
            raise ValueError("bradley_terry compares answers and cannot score claims; use another method")
        if self.weights and self.method not in WEIGHED:
            raise ValueError(f"`weights` need one of the methods {', '.join(WEIGHED)}")
        if self.method == "weighted" and not self.weights and self.axis not in (PREFERENCE, CLAIM):
            raise ValueError("the accuracy of ratings cannot be measured; set `weights`")
        return self


class Judges(NamedTuple):
    """The fitted judges."""

    places: dict[str, int]  # judge -> index in the model
    labels: tuple[float, ...]
    model: aggregation.Model


def reads(settings: Settings) -> tuple[str, ...]:
    return ("claims",) if settings.axis == CLAIM else ()


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """Fits the judges to the votes in all samples. Memory grows with the number of different vote patterns, not with items.

    Nothing is fitted for methods that count all judges the same, without votes, or if the votes do not overlap enough to tell how reliable
    any judge is (`aggregation.identifiable`): votes then count as cast. RecipeError if weights are to be measured and no
    truth is known, or if `weights` name a judge without a vote."""
    if settings.method == "weighted" and not settings.weights:
        return _measured(seen, settings, context)
    if settings.weights:
        _check_weights(seen, settings, context)
    if settings.method not in FITTED:
        return Fitted(digest(settings.method), None)
    places: dict[str, int] = {}
    patterns: Counter[tuple[tuple[int, float], ...]] = Counter()
    for rows in seen:
        for votes in _voted(rows, settings).values():
            cast = [
                (places.setdefault(name, len(places)), _label(vote.value, settings)) for name, vote in votes.items()
            ]
            patterns[tuple(sorted(cast))] += bool(cast)
    patterns.pop((), None)
    if not places:
        return Fitted(digest(settings.method), None)
    items, judges, given = zip(
        *((i, judge, label) for i, cast in enumerate(patterns) for judge, label in cast), strict=True
    )
    labels = SIDES if settings.axis == PREFERENCE else tuple(sorted(set(given)))
    votes = aggregation.Votes(
        np.array(items),
        np.array(judges),
        np.array([labels.index(label) for label in given]),
        np.array(list(patterns.values())),
    )
    if not aggregation.identifiable(votes).any():
        context.progress(0, None, f"{context.step}: {AS_CAST}")
        return Fitted(digest(settings.method, AS_CAST, list(places), sorted(patterns.items())), None)
    if settings.axis == PREFERENCE:
        votes = aggregation.add_mirrored_votes(votes, len(SIDES))
    model = aggregation.Model(*(part.round(6) for part in FITTED[settings.method](votes, len(labels))))
    key = digest(settings.method, list(places), list(labels), *(part.tolist() for part in model))
    return Fitted(key, Judges(places, labels, model))


def _check_weights(seen: Iterable[SampleRows], settings: Settings, context: Context) -> None:
    """RecipeError if a judge in `weights` has no vote in any sample."""
    speakers = {judge_name(name) for rows in seen for votes in _voted(rows, settings).values() for name in votes}
    for name in settings.weights:
        if name not in speakers:
            raise RecipeError(
                f"{context.step}: `weights` name the judge '{name}', which has no vote; {did_you_mean(name, speakers)}"
            )


def _measured(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The weight of each judge: log(p / (1 - p)), which is optimal for independent judges (S. Nitzan, J. Paroush, "Optimal Decision
    Rules in Uncertain Dichotomous Choice Situations", 1982).

    p is the accuracy with one right and one wrong pseudo-vote; below one half the weight is 0. Judges without a vote on an item of known
    truth get the weight of all judges pooled."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    names: set[str] = set()
    for rows in seen:
        truth = _truth(rows, settings)
        for item, votes in _voted(rows, settings).items():
            names |= votes.keys()
            for name, vote in votes.items() if truth.get(item) is not None else ():
                if settings.axis == CLAIM or vote.value:
                    asked[name] += 1
                    right[name] += _label(vote.value, settings) == truth[item]
    if names and not asked:
        detail = "no ground truth to measure the judges by; set `weights`, or add a `judge.rule` step before"
        raise RecipeError(f"{context.step}: {detail}")
    weigh = lambda hits, n: max(0.0, math.log((hits + 1) / (n - hits + 1)))
    pooled = weigh(right.total(), asked.total())
    weights = {name: round(weigh(right[name], asked[name]) if asked[name] else pooled, 4) for name in sorted(names)}
    return Fitted(digest(settings.method, weights), weights)


def _truth(rows: SampleRows, settings: Settings) -> dict[Any, float]:
    """The known labels of items: for pairs 1 or -1 (first or second better), for claims 1 or 0."""
    if settings.axis == CLAIM:
        judgements = [s for s in rows.judgements if s.axis == TRUTH and s.target == "claim"]
        known = {s.items[0]: value for s in judgements if (value := value_of(s)) is not None}
        return {(c.candidate, c.question, c.wanted): known[c.id] for c in rows.claims if c.id in known}
    return {o.pair: float(o.sign) for o in preferences(s for s in rows.judgements if s.axis == TRUTH) if o.value}


def score(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement per pair, per candidate (axis of answers, or `of: answers`) or per claim (axis `claim`). It abstains with
    fewer than `quorum` votes. If votes count as cast although the method fits judges, the annotator's name and `raw` say so.

    Pair (items in the order of their ids): `prob`, 0..1, that the first is better, with half of a tie's; `value`, -2..2, is
    (p(first) - p(second)) x the mean strength of the graded votes; with `mean`, the mean vote, and votes weighted by strength in `prob`.
    Candidate: the (weighted) mean; majority: the mode (mean of several); dawid_skene, mace: the posterior mean; bradley_terry: the log
    strength; round_robin: wins minus losses (LLaVA-Critic); rank_mix: minus the weighted mean rank, 1 the best (CSR).
    Claim: `prob` that it holds, and `value` 1 if that is above one half, else 0."""
    if settings.of == "answers":
        return _compared(rows, settings, context)
    if settings.axis == PREFERENCE:
        return _pairs(rows, settings, context)
    return _claims(rows, settings, context) if settings.axis == CLAIM else _candidates(rows, settings, context)


def _voted(rows: SampleRows, settings: Settings) -> dict[Any, Ballots]:
    """The ballots on each pair, candidate or claim (by candidate, question and wanted answer) of one sample; live pairs may have none."""
    if settings.axis == CLAIM:
        return claim_ballots(rows.judgements, rows.claims, settings.axis)
    if settings.axis != PREFERENCE:
        return candidate_ballots(rows.judgements, (settings.axis, *settings.also))
    live = [pair_key(p.chosen_id, p.rejected_id) for p in rows.pairs if p.chosen_id and p.rejected_id]
    return pair_ballots(rows.judgements, live, settings.axis, settings.also)


def _pairs(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    voted = _voted(rows, settings)
    strengths = _strengths(voted) if settings.method == "bradley_terry" else None
    out = []
    for pair, votes in voted.items():
        if not _enough(votes, settings, context):
            out.append(_scored(rows, context, settings, "pair", pair, votes.values(), Finding(Outcome.ABSTAIN)))
            continue
        if strengths:
            strength, nu = strengths
            first, tie, second = aggregation.davidson(strength[pair[0]], strength[pair[1]], nu)
        else:
            second, tie, first = _shares(votes, settings, context.fitted, SIDES)
        value = (first - second) * fmean([abs(v.value) for v in votes.values() if v.graded and v.value] or [1.0])
        if settings.method == "mean":
            value = fmean(v.value for v in votes.values())
        outcome = Outcome.TIE if tie > max(first, second) else Outcome.VERDICT
        out.append(
            _scored(rows, context, settings, "pair", pair, votes.values(), Finding(outcome, value, first + tie / 2))
        )
    return out


def _compared(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """The score of each answer from all pairs that contain it."""
    voted = {pair: votes for pair, votes in _voted(rows, settings).items() if _enough(votes, settings, context)}
    values = _strengths(voted)[0] if settings.method == "bradley_terry" else _points(voted)
    out = []
    for c in rows.candidates:
        mine = [vote for pair, votes in voted.items() if c.id in pair for vote in votes.values()]
        outcome = Outcome.VERDICT if mine else Outcome.ABSTAIN
        finding = Finding(outcome, values[c.id] if mine else None)
        out.append(_scored(rows, context, settings, "candidate", (c.id,), mine, finding))
    return out


def _candidates(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    voted = {item: votes for item, votes in _voted(rows, settings).items() if _enough(votes, settings, context)}
    joint = {"bradley_terry": _ranked, "rank_mix": _mixed}.get(
        settings.method
    )  # they score all answers of a prompt together
    values = joint(rows.candidates, voted, settings) if joint else {}
    out = []
    for c in rows.candidates:
        votes = voted.get(c.id, {})
        given = [v.value for v in votes.values()]
        if not given:
            value = None
        elif joint:
            value = values[c.id]
        elif settings.method == "majority":
            value = fmean(multimode(given))
        elif isinstance(context.fitted, Judges):
            value = float(_posterior(votes, context.fitted, settings) @ np.array(context.fitted.labels))
        else:
            value = fmean(given, _weights(votes, settings, context.fitted))
        outcome = Outcome.ABSTAIN if value is None else Outcome.VERDICT
        out.append(_scored(rows, context, settings, "candidate", (c.id,), votes.values(), Finding(outcome, value)))
    return out


def _claims(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Equal claims of several steps are one item; each of their rows gets its verdict."""
    voted, out = _voted(rows, settings), []
    for c in rows.claims:
        votes = voted.get((c.candidate, c.question, c.wanted), {})
        if not _enough(votes, settings, context):
            out.append(_scored(rows, context, settings, "claim", (c.id,), votes.values(), Finding(Outcome.ABSTAIN)))
            continue
        labels = context.fitted.labels if isinstance(context.fitted, Judges) else (0.0, 1.0)
        prob = float(_shares(votes, settings, context.fitted, labels) @ np.array(labels))
        finding = Finding(Outcome.VERDICT, float(prob > 0.5), prob)
        out.append(_scored(rows, context, settings, "claim", (c.id,), votes.values(), finding))
    return out


def _scored(rows: SampleRows, context: Context, settings: Settings, target: str, items: tuple[str, ...], votes: Iterable[Ballot],
          finding: Finding) -> Judgement:  # fmt: skip
    """The aggregated Judgement, with value and probability rounded to 4 digits."""
    value, prob = (None if figure is None else round(figure, 4) for figure in (finding.value, finding.prob))
    as_cast = settings.method in FITTED and context.fitted is None and finding.value is not None
    name = f"consensus.{settings.method}" + (" (votes as cast)" if as_cast else "")
    return judgement(
        rows.sample.id, context.step, target, items, SCORE, Finding(finding.outcome, value, prob, AS_CAST if as_cast else None),
        Provenance(name, context.version), parents=tuple(i for v in votes for i in v.judgements),
    )  # fmt: skip


def _enough(votes: Ballots, settings: Settings, context: Context) -> bool:
    """Whether there are at least `quorum` votes, and one of them has a weight above 0."""
    return len(votes) >= settings.quorum and any(_weights(votes, settings, context.fitted))


def _weights(votes: Ballots, settings: Settings, fitted: Any) -> list[float]:
    """The weight of each vote."""
    if settings.method not in WEIGHED:
        return [1.0] * len(votes)
    if settings.weights or settings.method == "rank_mix":
        return [settings.weights.get(judge_name(name), 1.0) for name in votes]
    return [fitted[name] for name in votes]


def _shares(votes: Ballots, settings: Settings, fitted: Any, labels: tuple[float, ...]) -> np.ndarray:
    """Probabilities of the labels of one item, which sum to 1."""
    if isinstance(fitted, Judges):
        return _posterior(votes, fitted, settings)
    weights = _weights(votes, settings, fitted)
    if settings.method == "mean" and settings.axis == PREFERENCE:
        weights = [abs(v.value) or 1 for v in votes.values()]
    codes = [labels.index(_label(v.value, settings)) for v in votes.values()]
    shares = np.bincount(codes, weights, minlength=len(labels))
    return shares / shares.sum()


def _posterior(votes: Ballots, judges: Judges, settings: Settings) -> np.ndarray:
    codes = [judges.labels.index(_label(v.value, settings)) for v in votes.values()]
    return aggregation.posterior(
        judges.model, np.array([judges.places.get(name, -1) for name in votes]), np.array(codes)
    )


def _label(value: float, settings: Settings) -> float:
    return float(np.sign(value)) if settings.axis == PREFERENCE else value


def _strengths(voted: dict[PairKey, Ballots]) -> tuple[dict[str, float], float]:
    """Davidson's (log strengths of a sample's answers, nu) from the votes on its pairs."""
    names = sorted({name for pair in voted for name in pair})
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (first, second), votes in voted.items():
        for vote in votes.values():
            _note(wins, ties, names.index(first), names.index(second), vote.value)
    strengths, nu = aggregation.bradley_terry(wins, ties)
    return dict(zip(names, strengths.tolist(), strict=True)), nu


def _points(voted: dict[PairKey, Ballots]) -> dict[str, float]:
    """Wins minus losses of a sample's answers; each judge counts once per pair."""
    points: dict[str, float] = defaultdict(float)
    for (first, second), votes in voted.items():
        for vote in votes.values():
            side = float(np.sign(vote.value))
            points[first] += side
            points[second] -= side
    return points


def _ranked(candidates: list[Candidate], voted: dict[str, Ballots], settings: Settings) -> dict[str, float]:
    """Log strengths of the answers that have votes: every two answers rated by the same judge are a comparison."""
    names = [c.id for c in candidates if c.id in voted]
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (i, a), (j, b) in combinations(enumerate(names), 2):
        for judge in voted[a].keys() & voted[b].keys():
            _note(wins, ties, i, j, voted[a][judge].value - voted[b][judge].value)
    return dict(zip(names, aggregation.bradley_terry(wins, ties)[0].tolist(), strict=True))


def _mixed(candidates: list[Candidate], voted: dict[str, Ballots], settings: Settings) -> dict[str, float]:
    """Minus the weighted mean of each answer's ranks (1 the best) by judge, among the answers with votes; ties share their mean rank."""
    from scipy.stats import rankdata

    names = [c.id for c in candidates if c.id in voted]
    ranks: dict[str, dict[str, float]] = {name: {} for name in names}
    for judge in {judge for name in names for judge in voted[name]}:
        mine = [name for name in names if judge in voted[name]]
        for name, rank in zip(mine, rankdata([-voted[name][judge].value for name in mine]), strict=True):
            ranks[name][judge] = float(rank)
    return {
        name: -fmean([ranks[name][judge] for judge in voted[name]], _weights(voted[name], settings, None))
        for name in names
    }


def _note(wins: np.ndarray, ties: np.ndarray, i: int, j: int, value: float) -> None:
    if value > 0:
        wins[i, j] += 1
    elif value < 0:
        wins[j, i] += 1
    else:
        ties[i, j] += 1
        ties[j, i] += 1
