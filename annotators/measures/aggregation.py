"""What several judges say together: functions over votes coded as whole numbers, which know nothing of records.

Fitting looks at all votes and leaves a small model of the judges; with it the posterior of an item needs only the item's own
votes, so that items are worked through in a stream."""

import math
from typing import NamedTuple

import numpy as np

SHRINK = 10
"""So many votes on each true label count as cast the way all judges together cast theirs: whoever voted little is taken for
the average, and nobody for certain. Without it the model is worse than the majority where people give few votes each."""
WEAK = 1.0
"""Comparisons that every two answers are taken to have had already, a third of them won by either side and a third tied."""
FLOOR = 1e-6


class Votes(NamedTuple):
    """Three arrays of equal length, one entry a vote; codes start at 0. Items with the same votes may be told as one that counts `times`."""

    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    times: np.ndarray | None = None  # [item]: how many items have these very votes; one each without


class Model(NamedTuple):
    """The judges, as confusion matrices."""

    prior: np.ndarray  # [label]: how frequent each true label is
    errors: np.ndarray  # [annotator + 1, true label, label said]; the last is for whoever was not seen when fitting


def coded(items, annotators, labels) -> tuple[Votes, list, list, list]:
    """Votes given as three lists of anything hashable, and what the codes stand for: items and annotators by their first
    appearance, labels sorted."""
    names = list(dict.fromkeys(items)), list(dict.fromkeys(annotators)), sorted(set(labels))
    places = [{name: code for code, name in enumerate(of)} for of in names]
    votes = Votes(
        *(
            np.array([place[name] for name in column], dtype=np.intp)
            for place, column in zip(places, (items, annotators, labels), strict=True)
        )
    )
    return votes, *names


def mirrored(votes: Votes, labels: int) -> Votes:
    """The votes and once more all of them with the labels in reverse, on items of their own: of two answers either may be called the
    first, so a model of preferences must not know which it was."""
    return Votes(
        np.concatenate([votes.item, votes.item + votes.item.max(initial=-1) + 1]),
        np.tile(votes.annotator, 2),
        np.concatenate([votes.label, labels - 1 - votes.label]),
        None if votes.times is None else np.tile(votes.times, 2),
    )


def majority(item: np.ndarray, label: np.ndarray, labels: int) -> np.ndarray:
    """[item, label]: the share of an item's votes for each label. An item without votes has NaN."""
    counts = np.bincount(item * labels + label, minlength=(item.max(initial=-1) + 1) * labels).reshape(-1, labels)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def mean(item: np.ndarray, value: np.ndarray) -> np.ndarray:
    """[item]: the mean of an item's values; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return np.bincount(item, value) / np.bincount(item)


def dawid_skene(votes: Votes, labels: int, shrink: float = SHRINK, rounds: int = 300) -> Model:
    """A. P. Dawid, A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm", 1979, with the
    judges' matrices shrunk towards their common one. `shrink` 0 is their maximum likelihood; rounds end earlier when no
    posterior moves by 1e-4. There must be a vote. Items with only one do not enter: they say nothing of judges, but start
    out as if theirs were always right."""
    count, votes = votes.annotator.max() + 1, _compared(votes)
    posteriors = majority(votes.item, votes.label, labels)
    for _ in range(rounds):
        model = _judges(votes, posteriors, count, shrink)
        before, posteriors = posteriors, _posteriors(model, votes, len(posteriors))
        if np.abs(posteriors - before).max() < 1e-4:
            break
    return _judges(votes, posteriors, count, shrink)


def mace(votes: Votes, labels: int) -> Model:
    """D. Hovy et al., "Learning Whom to Trust with MACE", 2013: a judge either knows the label or draws one as is their habit.
    crowd-kit's, by variational Bayes, which keeps sparse judges from certainty. True labels are equally frequent. Items with only one vote do not enter."""
    import pandas as pd
    from crowdkit.aggregation import MACE

    count, votes = votes.annotator.max() + 1, _apart(_compared(votes))
    # crowd-kit numbers judges and labels by first appearance in one place and sorts them in another: make both the same
    rows = np.lexsort((votes.item, votes.annotator))
    seen = list(dict.fromkeys(votes.label[rows].tolist()))
    place = np.empty(labels, dtype=np.intp)
    place[seen] = np.arange(len(seen))
    frame = {"task": votes.item[rows], "worker": votes.annotator[rows], "label": place[votes.label[rows]]}
    found = MACE(n_restarts=1).fit(pd.DataFrame(frame))  # its restarts all start from the same state
    habits = np.zeros((len(found.thetas_), labels))
    habits[:, seen] = found.thetas_
    fitted = found.spamming_[:, :1, None] * habits[:, None, :] + found.spamming_[:, 1:, None] * np.eye(labels)
    fitted /= fitted.sum(axis=2, keepdims=True)
    errors = np.tile(fitted.mean(axis=0), (count + 1, 1, 1))
    errors[np.unique(votes.annotator)] = fitted
    return Model(np.full(labels, 1 / labels), errors)


def posterior(model: Model, annotator: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[label]: how probable each true label of one item is after its votes; the prior when there are none. An annotator of -1
    was not seen when fitting."""
    logs = np.log(np.maximum(model.prior, FLOOR))
    logs = logs + np.log(np.maximum(model.errors[annotator, :, label], FLOOR)).sum(axis=0)
    likely = np.exp(logs - logs.max())
    return likely / likely.sum()


def skills(model: Model) -> np.ndarray:
    """[annotator]: the estimated probability, 0..1, that a vote of theirs is right."""
    return np.diagonal(model.errors[:-1], axis1=1, axis2=2) @ model.prior


def bradley_terry(wins: np.ndarray, ties: np.ndarray, rounds: int = 1000) -> tuple[np.ndarray, float]:
    """(log strengths with mean 0, nu) of items compared among each other: wins[i, j] says how often i beat j, ties[i, j] and
    ties[j, i] both how often they tied.

    R. R. Davidson, "On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments", JASA 65
    (1970): i beats j, j beats i and a tie are as p_i to p_j to nu sqrt(p_i p_j). Fitted by his iteration, which is an MM
    algorithm (D. R. Hunter, Annals of Statistics 32, 2004), with the WEAK prior: strengths stay finite, and items that were never compared
    still have one. One item has strength 0."""
    count = len(wins)
    others = ~np.eye(count, dtype=bool)
    wins, ties = wins + others * WEAK / 3, ties + others * WEAK / 3
    games = wins + wins.T + ties
    points = (wins + ties / 2).sum(axis=1)
    strength, nu = np.ones(count), 1.0
    for _ in range(rounds if count > 1 else 0):
        root = np.sqrt(np.outer(strength, strength))
        all_of = strength[:, None] + strength + nu * root
        new = points / (games * (1 + nu / 2 * root / strength[:, None]) / all_of).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        root = np.sqrt(np.outer(new, new))
        all_of = new[:, None] + new + nu * root
        nu = float(ties.sum() / (games * root / all_of).sum())
        moved = np.abs(np.log(new / strength)).max()
        strength = new
        if moved < 1e-9:
            break
    return np.log(strength), nu


def davidson(first: float, second: float, nu: float) -> tuple[float, float, float]:
    """(first wins, tie, second wins): probabilities for two log strengths."""
    a, b = math.exp((first - second) / 2), math.exp((second - first) / 2)
    return a / (a + b + nu), nu / (a + b + nu), b / (a + b + nu)


def _compared(votes: Votes) -> Votes:
    """The votes on items that have more than one; all of them where no item has."""
    often = np.bincount(votes.item)[votes.item] > 1
    if not often.any():
        return votes
    items, item = np.unique(votes.item[often], return_inverse=True)
    times = None if votes.times is None else votes.times[items]
    return Votes(item, votes.annotator[often], votes.label[often], times)


def _apart(votes: Votes) -> Votes:
    """The votes with every item told for itself."""
    if votes.times is None:
        return votes
    times = votes.times[votes.item]
    before = (np.cumsum(votes.times) - votes.times)[votes.item]
    copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return Votes(np.repeat(before, times) + copy, np.repeat(votes.annotator, times), np.repeat(votes.label, times))


def _judges(votes: Votes, posteriors: np.ndarray, count: int, shrink: float) -> Model:
    """The M-step: what the judges' matrices are when items are what `posteriors` say."""
    labels = posteriors.shape[1]
    if votes.times is not None:
        posteriors = posteriors * votes.times[:, None]
    said = votes.annotator * labels + votes.label
    counts = np.stack(
        [np.bincount(said, posteriors[votes.item, true], minlength=count * labels) for true in range(labels)]
    )
    counts = counts.reshape(labels, count, labels).transpose(1, 0, 2)
    pooled = counts.sum(axis=0) + 1 / labels
    pooled /= pooled.sum(axis=1, keepdims=True)
    errors = counts + max(shrink, FLOOR) * pooled
    errors /= errors.sum(axis=2, keepdims=True)
    prior = (posteriors.sum(axis=0) + 1) / (posteriors.sum() + labels)
    return Model(prior, np.concatenate([errors, pooled[None]]))


def _posteriors(model: Model, votes: Votes, items: int) -> np.ndarray:
    """The E-step of all items at once."""
    logs = np.log(np.maximum(model.errors, FLOOR))
    sums = [
        np.bincount(votes.item, logs[votes.annotator, true, votes.label], minlength=items)
        for true in range(len(model.prior))
    ]
    likely = np.stack(sums, axis=1) + np.log(model.prior)
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)
