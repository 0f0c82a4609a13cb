"""What all judges of a pair, an answer or a claim say together: a jury of people and models alike.

On preferences a judge's vote is which answer is better; a model that rated answers on an axis of `also` votes on each pair by the
sign of the difference. Judges are fitted once over all votes, each with the errors they make; then every sample is worked out from its
own votes. Who abstains, cannot be read or contradicts themselves has no vote."""

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
    on_candidates,
    on_claims,
    on_pairs,
    pair_key,
    speaker,
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
VERSION = 1
FITTED = {"dawid_skene": aggregation.dawid_skene, "mace": aggregation.mace}
WEIGHED = ("weighted", "rank_mix")
SIDES = (-1.0, 0.0, 1.0)  # labels of preferences: the second is better, a tie, the first is better


class Settings(Base):
    method: Literal[
        "dawid_skene", "mace", "bradley_terry", "majority", "mean", "weighted", "round_robin", "rank_mix"
    ] = "dawid_skene"
    """dawid_skene and mace weigh judges by the errors they are estimated to make, weighted by `weights`; the others take all alike. bradley_terry and
    round_robin look at all comparisons of a sample's answers, rank_mix at each judge's ranking of them"""
    axis: str = PREFERENCE
    """the judgements that are votes: preference on pairs, claim on claims, any other on answers"""
    also: tuple[str, ...] = ()
    """axes on which models judged answers, whose differences are votes on pairs as well; of rank_mix more axes that rank"""
    of: Literal["pairs", "answers"] = "pairs"
    """what a preference gives a score: each pair, or (bradley_terry, round_robin) each answer by all its pairs"""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field({})
    """of weighted and rank_mix: what a vote counts, by the judge's step or person:N, 1 where not named. Without any, weighted takes the log odds
    that the judge is right where the truth is known"""
    quorum: int = Field(1, ge=1, le=1_000)
    """fewer votes than this on an item give no verdict"""

    @model_validator(mode="after")
    def _fitting(self):
        preferences = self.axis == PREFERENCE
        if self.also and not preferences and self.method != "rank_mix":
            raise ValueError(f"`also` adds votes on pairs; leave it out, or say `axis: {PREFERENCE}`")
        if self.method == "round_robin" and (self.of == "pairs" or not preferences):
            raise ValueError(f"round_robin scores answers by their pairs; say `of: answers` and `axis: {PREFERENCE}`")
        if self.of == "answers" and (self.method not in ("round_robin", "bradley_terry") or not preferences):
            raise ValueError("`of: answers` is for bradley_terry and round_robin on preferences")
        if self.method == "rank_mix" and self.axis in (PREFERENCE, CLAIM):
            raise ValueError("rank_mix mixes rankings of answers; name the axis on which judges rated or ranked them")
        if self.method == "bradley_terry" and self.axis == CLAIM:
            raise ValueError("bradley_terry compares answers; claims are not compared")
        if self.weights and self.method not in WEIGHED:
            raise ValueError(f"`weights` are for {' and '.join(WEIGHED)}")
        if self.method == "weighted" and not self.weights and self.axis not in (PREFERENCE, CLAIM):
            raise ValueError("nothing measures how right a rating is: give `weights`")
        return self


class Judges(NamedTuple):
    """All judges, fitted."""

    places: dict[str, int]  # judge -> number in the model
    labels: tuple[float, ...]
    model: aggregation.Model


def reads(settings: Settings) -> tuple[str, ...]:
    return ("claims",) if settings.axis == CLAIM else ()


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The judges by their votes in all samples: memory grows with the different ways in which an item is voted on, not with the items.
    Methods that take all judges alike, and a run without a vote, have nothing to fit. RecipeError where weights are to be measured
    and no truth is known, or name somebody without a vote."""
    if settings.method == "weighted" and not settings.weights:
        return _measured(seen, settings, context)
    if settings.weights:
        _named(seen, settings, context)
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
    if settings.axis == PREFERENCE:
        votes = aggregation.mirrored(votes, len(SIDES))
    model = aggregation.Model(*(part.round(6) for part in FITTED[settings.method](votes, len(labels))))
    key = digest(settings.method, list(places), list(labels), *(part.tolist() for part in model))
    return Fitted(key, Judges(places, labels, model))


def _named(seen: Iterable[SampleRows], settings: Settings, context: Context) -> None:
    """That everybody in `weights` votes somewhere."""
    speakers = {speaker(name) for rows in seen for votes in _voted(rows, settings).values() for name in votes}
    for name in settings.weights:
        if name not in speakers:
            raise RecipeError(
                f"{context.step}: `weights` name '{name}', who has no vote: {did_you_mean(name, speakers)}"
            )


def _measured(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The weight of each judge: log(p / (1 - p)), which is best for independent judges (S. Nitzan, J. Paroush, "Optimal Decision Rules in
    Uncertain Dichotomous Choice Situations", 1982); p counts one right and one wrong vote more, and who is worse than a coin has no weight. Judges of
    whom nothing is known have the weight of all together."""
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
        detail = "no truth is known to measure the judges by; give `weights`, or put `judge.rule` before"
        raise RecipeError(f"{context.step}: {detail}")
    weigh = lambda hits, n: max(0.0, math.log((hits + 1) / (n - hits + 1)))
    others = weigh(right.total(), asked.total())
    weights = {name: round(weigh(right[name], asked[name]) if asked[name] else others, 4) for name in sorted(names)}
    return Fitted(digest(settings.method, weights), weights)


def _truth(rows: SampleRows, settings: Settings) -> dict[Any, float]:
    """What is known of the items: of pairs the side that is better, of claims 1 or 0."""
    if settings.axis == CLAIM:
        slips = [s for s in rows.judgements if s.axis == TRUTH and s.target == "claim"]
        known = {s.items[0]: value for s in slips if (value := value_of(s)) is not None}
        return {(c.candidate, c.question, c.wanted): known[c.id] for c in rows.claims if c.id in known}
    return {o.pair: float(o.sign) for o in preferences(s for s in rows.judgements if s.axis == TRUTH) if o.value}


def score(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement a pair; a candidate when the axis is on answers or `of` says so; a claim when it is on claims. It abstains where fewer than
    `quorum` have a verdict.

    Of a pair (items in the order of their ids): `prob` that the first is better, ties shared; `value` from -2 to 2, (p(first) - p(second)) x
    the mean strength of the votes that grade it; with `mean` the mean of the votes, which then count by their strength.
    Of a candidate: the (weighted) mean, the most frequent value (of several their mean), the posterior's mean, the log strength among the sample's
    candidates, of round_robin wins less losses (LLaVA-Critic), of rank_mix minus the weighted mean of its ranks, 1 the best (CSR).
    Of a claim: `prob` that it stands, and whether that is more than one half."""
    if settings.of == "answers":
        return _compared(rows, settings, context)
    if settings.axis == PREFERENCE:
        return _pairs(rows, settings, context)
    return _claims(rows, settings, context) if settings.axis == CLAIM else _candidates(rows, settings, context)


def _voted(rows: SampleRows, settings: Settings) -> dict[Any, Ballots]:
    """The ballots on each pair, candidate, or claim (by what it says of which candidate) of one sample; on preferences live pairs may have none."""
    if settings.axis == CLAIM:
        return on_claims(rows.judgements, rows.claims, settings.axis)
    if settings.axis != PREFERENCE:
        return on_candidates(rows.judgements, (settings.axis, *settings.also))
    live = [pair_key(p.chosen_id, p.rejected_id) for p in rows.pairs if p.chosen_id and p.rejected_id]
    return on_pairs(rows.judgements, live, settings.axis, settings.also)


def _pairs(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    voted = _voted(rows, settings)
    strengths = _strengths(voted) if settings.method == "bradley_terry" else None
    out = []
    for pair, votes in voted.items():
        if not _enough(votes, settings, context):
            out.append(_slip(rows, context, settings, "pair", pair, votes.values(), Finding(Outcome.ABSTAIN)))
            continue
        if strengths:
            of, nu = strengths
            first, tie, second = aggregation.davidson(of[pair[0]], of[pair[1]], nu)
        else:
            second, tie, first = _shares(votes, settings, context.fitted, SIDES)
        value = (first - second) * fmean([abs(v.value) for v in votes.values() if v.graded and v.value] or [1.0])
        if settings.method == "mean":
            value = fmean(v.value for v in votes.values())
        outcome = Outcome.TIE if tie > max(first, second) else Outcome.VERDICT
        out.append(
            _slip(rows, context, settings, "pair", pair, votes.values(), Finding(outcome, value, first + tie / 2))
        )
    return out


def _compared(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Each answer by all the pairs that it is in."""
    voted = {pair: votes for pair, votes in _voted(rows, settings).items() if _enough(votes, settings, context)}
    values = _strengths(voted)[0] if settings.method == "bradley_terry" else _points(voted)
    out = []
    for c in rows.candidates:
        mine = [vote for pair, votes in voted.items() if c.id in pair for vote in votes.values()]
        outcome = Outcome.VERDICT if mine else Outcome.ABSTAIN
        finding = Finding(outcome, values[c.id] if mine else None)
        out.append(_slip(rows, context, settings, "candidate", (c.id,), mine, finding))
    return out


def _candidates(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    voted = {item: votes for item, votes in _voted(rows, settings).items() if _enough(votes, settings, context)}
    among = {"bradley_terry": _ranked, "rank_mix": _mixed}.get(settings.method)
    values = among(rows.candidates, voted, settings) if among else {}
    out = []
    for c in rows.candidates:
        votes = voted.get(c.id, {})
        given = [v.value for v in votes.values()]
        if not given:
            value = None
        elif among:
            value = values[c.id]
        elif settings.method == "majority":
            value = fmean(multimode(given))
        elif settings.method in FITTED:
            value = float(_posterior(votes, context.fitted, settings) @ np.array(context.fitted.labels))
        else:
            value = fmean(given, _weights(votes, settings, context.fitted))
        outcome = Outcome.ABSTAIN if value is None else Outcome.VERDICT
        out.append(_slip(rows, context, settings, "candidate", (c.id,), votes.values(), Finding(outcome, value)))
    return out


def _claims(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """The same claim of several steps is one item; each of their rows gets its verdict."""
    voted, out = _voted(rows, settings), []
    for c in rows.claims:
        votes = voted.get((c.candidate, c.question, c.wanted), {})
        if not _enough(votes, settings, context):
            out.append(_slip(rows, context, settings, "claim", (c.id,), votes.values(), Finding(Outcome.ABSTAIN)))
            continue
        labels = context.fitted.labels if settings.method in FITTED else (0.0, 1.0)
        prob = float(_shares(votes, settings, context.fitted, labels) @ np.array(labels))
        finding = Finding(Outcome.VERDICT, float(prob > 0.5), prob)
        out.append(_slip(rows, context, settings, "claim", (c.id,), votes.values(), finding))
    return out


def _slip(rows: SampleRows, context: Context, settings: Settings, target: str, items: tuple[str, ...], votes: Iterable[Ballot],
          finding: Finding) -> Judgement:  # fmt: skip
    """The Judgement of what the votes come to, its figures rounded to 4 digits."""
    value, prob = (None if figure is None else round(figure, 4) for figure in (finding.value, finding.prob))
    return judgement(
        rows.sample.id, context.step, target, items, SCORE, Finding(finding.outcome, value, prob),
        Provenance(f"consensus.{settings.method}", context.version), parents=tuple(i for v in votes for i in v.slips),
    )  # fmt: skip


def _enough(votes: Ballots, settings: Settings, context: Context) -> bool:
    """Whether the votes make a verdict: a quorum, of whom somebody counts."""
    return len(votes) >= settings.quorum and any(_weights(votes, settings, context.fitted))


def _weights(votes: Ballots, settings: Settings, fitted: Any) -> list[float]:
    """What each vote counts."""
    if settings.method not in WEIGHED:
        return [1.0] * len(votes)
    if settings.weights or settings.method == "rank_mix":
        return [settings.weights.get(speaker(name), 1.0) for name in votes]
    return [fitted[name] for name in votes]


def _shares(votes: Ballots, settings: Settings, fitted: Any, labels: tuple[float, ...]) -> np.ndarray:
    """Probabilities of the labels of one item."""
    if settings.method in FITTED:
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
    """Log strengths of a sample's answers from the votes on its pairs, and how readily they tie."""
    names = sorted({name for pair in voted for name in pair})
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (first, second), votes in voted.items():
        for vote in votes.values():
            _note(wins, ties, names.index(first), names.index(second), vote.value)
    strengths, nu = aggregation.bradley_terry(wins, ties)
    return dict(zip(names, strengths.tolist(), strict=True)), nu


def _points(voted: dict[PairKey, Ballots]) -> dict[str, float]:
    """Wins less losses of a sample's answers, each judge once a pair."""
    points: dict[str, float] = defaultdict(float)
    for (first, second), votes in voted.items():
        for vote in votes.values():
            side = float(np.sign(vote.value))
            points[first] += side
            points[second] -= side
    return points


def _ranked(candidates: list[Candidate], voted: dict[str, Ballots], settings: Settings) -> dict[str, float]:
    """Log strengths of the answers that have votes: each judge compares every two they judged."""
    names = [c.id for c in candidates if c.id in voted]
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for (i, a), (j, b) in combinations(enumerate(names), 2):
        for judge in voted[a].keys() & voted[b].keys():
            _note(wins, ties, i, j, voted[a][judge].value - voted[b][judge].value)
    return dict(zip(names, aggregation.bradley_terry(wins, ties)[0].tolist(), strict=True))


def _mixed(candidates: list[Candidate], voted: dict[str, Ballots], settings: Settings) -> dict[str, float]:
    """Minus the weighted mean of the ranks that judges give each answer among those that have votes; equals share the mean of their places."""
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
