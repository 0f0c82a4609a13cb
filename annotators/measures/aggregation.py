"""Aggregation of votes by several judges: functions over integer-coded votes, independent of records.

Fitting uses all votes and returns a small model of the judges. With it, the posterior of an item needs only that item's votes, so items
can be streamed."""

import math
from typing import NamedTuple

import numpy as np

SHRINK = 10
"""Pseudo-votes per true label, distributed like the votes of all judges together: judges with few votes are shrunk to the average.
Without them the model is worse than the majority when people give few votes each."""
WEAK = 1.0
"""Pseudo-comparisons of every two answers: a third won by each side, a third tied."""
FLOOR = 1e-6


class Votes(NamedTuple):
    """Three integer arrays of equal length with one entry per vote; codes start at 0. Items with identical votes may be merged, see `times`."""

    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    times: np.ndarray | None = None  # [item]: number of items with these votes; None: one each


class Model(NamedTuple):
    """The fitted judges, as confusion matrices; probabilities 0..1."""

    prior: np.ndarray  # [label]: frequency of each true label
    errors: np.ndarray  # [annotator + 1, true label, voted label]; the last row is for annotators not seen in fitting


def encode_votes(items, annotators, labels) -> tuple[Votes, list, list, list]:
    """(Votes, items, annotators, labels) from three equally long lists of hashable values; the last three map codes back to values:
    items and annotators by first appearance, labels sorted."""
    names = list(dict.fromkeys(items)), list(dict.fromkeys(annotators)), sorted(set(labels))
    places = [{name: code for code, name in enumerate(column)} for column in names]
    votes = Votes(
        *(
            np.array([place[name] for name in column], dtype=np.intp)
            for place, column in zip(places, (items, annotators, labels), strict=True)
        )
    )
    return votes, *names


def add_mirrored_votes(votes: Votes, labels: int) -> Votes:
    """The votes, plus a copy on new items with the `labels` reversed. Which of two answers is the first is arbitrary, so a model of
    preferences must be symmetric."""
    return Votes(
        np.concatenate([votes.item, votes.item + votes.item.max(initial=-1) + 1]),
        np.tile(votes.annotator, 2),
        np.concatenate([votes.label, labels - 1 - votes.label]),
        None if votes.times is None else np.tile(votes.times, 2),
    )


def majority(item: np.ndarray, label: np.ndarray, labels: int) -> np.ndarray:
    """[item, label]: share of an item's votes for each label, 0..1; NaN for an item without votes."""
    counts = np.bincount(item * labels + label, minlength=(item.max(initial=-1) + 1) * labels).reshape(-1, labels)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=1, keepdims=True)


def mean(item: np.ndarray, value: np.ndarray) -> np.ndarray:
    """[item]: mean of an item's values; NaN for an item without values."""
    with np.errstate(invalid="ignore"):
        return np.bincount(item, value) / np.bincount(item)


def identifiable(votes: Votes) -> np.ndarray:
    """[annotator]: whether the votes determine how reliable this annotator is, regardless of their number.

    Votes without known truth show only how often annotators agree. Agreement of two is the product of their reliabilities, so these follow
    from it only where annotators, linked if they voted on a common item, form a connected graph with an odd cycle: three who have items in
    common, two by two. Otherwise one half of them may be better and the other worse, with the same votes (Y. Ma et al., "Gradient
    Descent for Sparse Rank-One Matrix Completion for Crowd-Sourced Aggregation of Sparsely Interacting Workers", ICML 2018; T. Bonald,
    R. Combes, "A Minimax Optimal Algorithm for Crowdsourcing", NeurIPS 2017). All False without an item that has two votes."""
    links: dict[int, set[int]] = {annotator: set() for annotator in range(votes.annotator.max(initial=-1) + 1)}
    order = np.argsort(votes.item, kind="stable")
    for group in np.split(votes.annotator[order], np.flatnonzero(np.diff(votes.item[order])) + 1):
        here = sorted(set(group.tolist()))
        pairs = [(here[0], other) for other in here[1:]] + [tuple(here[1:3])] * (
            len(here) > 2
        )  # what connects all, with an odd cycle
        for a, b in pairs:
            links[a].add(b)
            links[b].add(a)
    found = np.zeros(len(links), dtype=bool)
    side: dict[int, bool] = {}
    for start in links:
        if start in side:
            continue
        side[start], waiting, group, odd = True, [start], [start], False
        while waiting:
            at = waiting.pop()
            for other in links[at]:
                if other not in side:
                    side[other] = not side[at]
                    waiting.append(other)
                    group.append(other)
                odd |= side[other] == side[at]
        found[group] = odd
    return found


def dawid_skene(votes: Votes, labels: int, shrink: float = SHRINK, rounds: int = 300) -> Model:
    """Fits judges by EM (A. P. Dawid, A. M. Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm",
    1979), with confusion matrices shrunk towards the pooled one.

    `labels` is the number of labels. `shrink` 0 is maximum likelihood. Stops after `rounds` or when no posterior changes by 1e-4. Needs
    at least one vote. Items with a single vote are ignored (unless all are): they carry no information about judges, but would count
    as always right."""
    count, votes = votes.annotator.max() + 1, _compared(votes)
    posteriors = majority(votes.item, votes.label, labels)
    for _ in range(rounds):
        model = _judges(votes, posteriors, count, shrink)
        before, posteriors = posteriors, _posteriors(model, votes, len(posteriors))
        if np.abs(posteriors - before).max() < 1e-4:
            break
    return _judges(votes, posteriors, count, shrink)


def mace(votes: Votes, labels: int) -> Model:
    """Fits judges by MACE (D. Hovy et al., "Learning Whom to Trust with MACE", 2013): a judge either knows the label or draws one from
    a personal distribution.

    crowd-kit's variational Bayes, which regularises judges with few votes; the prior over labels is uniform. Items with a single vote
    are ignored (unless all are). Needs at least one vote."""
    import pandas as pd
    from crowdkit.aggregation import MACE

    count, votes = votes.annotator.max() + 1, _apart(_compared(votes))
    # crowd-kit codes judges and labels by first appearance in one place and sorted in another: make both orders equal
    rows = np.lexsort((votes.item, votes.annotator))
    seen = list(dict.fromkeys(votes.label[rows].tolist()))
    place = np.empty(labels, dtype=np.intp)
    place[seen] = np.arange(len(seen))
    frame = {"task": votes.item[rows], "worker": votes.annotator[rows], "label": place[votes.label[rows]]}
    found = MACE(n_restarts=1).fit(pd.DataFrame(frame))  # all its restarts begin in the same state
    habits = np.zeros((len(found.thetas_), labels))
    habits[:, seen] = found.thetas_
    fitted = found.spamming_[:, :1, None] * habits[:, None, :] + found.spamming_[:, 1:, None] * np.eye(labels)
    fitted /= fitted.sum(axis=2, keepdims=True)
    errors = np.tile(fitted.mean(axis=0), (count + 1, 1, 1))
    errors[np.unique(votes.annotator)] = fitted
    return Model(np.full(labels, 1 / labels), errors)


def posterior(model: Model, annotator: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[label]: posterior probability of each true label of one item, from the codes of its votes; the prior without votes.

    `annotator` -1 stands for a judge not seen in fitting."""
    logs = np.log(np.maximum(model.prior, FLOOR))
    logs = logs + np.log(np.maximum(model.errors[annotator, :, label], FLOOR)).sum(axis=0)
    likely = np.exp(logs - logs.max())
    return likely / likely.sum()


def skills(model: Model) -> np.ndarray:
    """[annotator]: estimated probability, 0..1, that a vote of this judge is right."""
    return np.diagonal(model.errors[:-1], axis1=1, axis2=2) @ model.prior


def bradley_terry(wins: np.ndarray, ties: np.ndarray, rounds: int = 1000) -> tuple[np.ndarray, float]:
    """(log strengths with mean 0, nu) of compared items. wins[i, j] is how often i beat j; ties is symmetric, ties[i, j] is how often
    i and j tied.

    R. R. Davidson, "On Extending the Bradley-Terry Model to Accommodate Ties in Paired Comparison Experiments", JASA 65 (1970):
    P(i wins) : P(j wins) : P(tie) = p_i : p_j : nu sqrt(p_i p_j). Fitted by his iteration, an MM algorithm (D. R. Hunter, Annals of
    Statistics 32, 2004). The WEAK prior keeps strengths finite, also of items never compared. A single item has strength 0."""
    count = len(wins)
    others = ~np.eye(count, dtype=bool)
    wins, ties = wins + others * WEAK / 3, ties + others * WEAK / 3
    games = wins + wins.T + ties
    points = (wins + ties / 2).sum(axis=1)
    strength, nu = np.ones(count), 1.0
    for _ in range(rounds if count > 1 else 0):
        root = np.sqrt(np.outer(strength, strength))
        total = strength[:, None] + strength + nu * root
        new = points / (games * (1 + nu / 2 * root / strength[:, None]) / total).sum(axis=1)
        new /= np.exp(np.log(new).mean())
        root = np.sqrt(np.outer(new, new))
        total = new[:, None] + new + nu * root
        nu = float(ties.sum() / (games * root / total).sum())
        change = np.abs(np.log(new / strength)).max()
        strength = new
        if change < 1e-9:
            break
    return np.log(strength), nu


def davidson(first: float, second: float, nu: float) -> tuple[float, float, float]:
    """(P(first wins), P(tie), P(second wins)) for two log strengths, by Davidson's model; they sum to 1."""
    a, b = math.exp((first - second) / 2), math.exp((second - first) / 2)
    return a / (a + b + nu), nu / (a + b + nu), b / (a + b + nu)


def _compared(votes: Votes) -> Votes:
    """The votes on items that have more than one; all votes if there is no such item."""
    often = np.bincount(votes.item)[votes.item] > 1
    if not often.any():
        return votes
    items, item = np.unique(votes.item[often], return_inverse=True)
    times = None if votes.times is None else votes.times[items]
    return Votes(item, votes.annotator[often], votes.label[often], times)


def _apart(votes: Votes) -> Votes:
    """The votes with merged items (see `times`) expanded."""
    if votes.times is None:
        return votes
    times = votes.times[votes.item]
    before = (np.cumsum(votes.times) - votes.times)[votes.item]
    copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    return Votes(np.repeat(before, times) + copy, np.repeat(votes.annotator, times), np.repeat(votes.label, times))


def _judges(votes: Votes, posteriors: np.ndarray, count: int, shrink: float) -> Model:
    """The M-step: confusion matrices and prior, given the items' posteriors [item, label]."""
    labels = posteriors.shape[1]
    if votes.times is not None:
        posteriors = posteriors * votes.times[:, None]
    codes = votes.annotator * labels + votes.label
    counts = np.stack(
        [np.bincount(codes, posteriors[votes.item, true], minlength=count * labels) for true in range(labels)]
    )
    counts = counts.reshape(labels, count, labels).transpose(1, 0, 2)
    pooled = counts.sum(axis=0) + 1 / labels
    pooled /= pooled.sum(axis=1, keepdims=True)
    errors = counts + max(shrink, FLOOR) * pooled
    errors /= errors.sum(axis=2, keepdims=True)
    prior = (posteriors.sum(axis=0) + 1) / (posteriors.sum() + labels)
    return Model(prior, np.concatenate([errors, pooled[None]]))


def _posteriors(model: Model, votes: Votes, items: int) -> np.ndarray:
    """The E-step for all items at once: posteriors [item, label]."""
    logs = np.log(np.maximum(model.errors, FLOOR))
    sums = [
        np.bincount(votes.item, logs[votes.annotator, true, votes.label], minlength=items)
        for true in range(len(model.prior))
    ]
    likely = np.stack(sums, axis=1) + np.log(model.prior)
    likely = np.exp(likely - likely.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)
