import numpy as np
import pandas as pd
import pytest

from annotators.measures import aggregation
from annotators.measures.aggregation import Votes


def simulated(seed: int, items: int, skills: np.ndarray, each: int, labels: int = 2):
    """(votes, truth): `each` judges, drawn for each item, say the truth with their skill, else any other label."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, items)
    judges = np.concatenate([rng.choice(len(skills), each, replace=False) for _ in range(items)])
    item = np.repeat(np.arange(items), each)
    right = rng.random(len(item)) < skills[judges]
    wrong = (truth[item] + rng.integers(1, labels, len(item))) % labels
    return Votes(item, judges, np.where(right, truth[item], wrong)), truth


def decided(model, votes: Votes, items: int) -> np.ndarray:
    """Each item's most probable label, from its own votes only."""
    places = np.split(np.arange(len(votes.item)), np.cumsum(np.bincount(votes.item, minlength=items))[:-1])
    return np.array([aggregation.posterior(model, votes.annotator[p], votes.label[p]).argmax() for p in places])


def test_codes_are_by_first_appearance_and_labels_by_size():
    votes, items, annotators, labels = aggregation.encode_votes(["p", "q", "p"], ["b", "a", "a"], [1, -1, 0])
    assert [c.tolist() for c in votes[:3]] == [[0, 1, 0], [0, 1, 1], [2, 0, 1]]
    assert (items, annotators, labels) == (["p", "q"], ["b", "a"], [-1, 0, 1])


def test_majority_is_the_share_of_votes_and_mean_their_mean():
    item, label = np.array([0, 0, 0, 1]), np.array([1, 1, 0, 2])
    assert aggregation.majority(item, label, 3).tolist() == [[1 / 3, 2 / 3, 0], [0, 0, 1]]
    assert aggregation.mean(item, np.array([2.0, 1.0, -1.5, 4.0])).tolist() == [0.5, 4.0]


def test_a_posterior_is_bayes_rule():
    # prior .5 .5; judge 0 is right 9 of 10 times, judge 1 always tosses a coin, the unseen one is right 3 of 4 times
    errors = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]], [[0.75, 0.25], [0.25, 0.75]]])
    model = aggregation.Model(np.array([0.5, 0.5]), errors)
    # .9 x .5 x .25 against .1 x .5 x .75: .1125 to .0375
    found = aggregation.posterior(model, np.array([0, 1, -1]), np.array([0, 1, 1]))
    assert found == pytest.approx([0.75, 0.25])
    assert aggregation.posterior(model, np.array([], int), np.array([], int)) == pytest.approx([0.5, 0.5])
    assert aggregation.skills(model) == pytest.approx([0.9, 0.5])


def test_dawid_skene_is_crowd_kits_when_nothing_is_shrunk():
    from crowdkit.aggregation import DawidSkene

    votes, _ = simulated(1, 500, np.linspace(0.55, 0.95, 10), 5, labels=3)
    model = aggregation.dawid_skene(votes, 3, shrink=0)
    frame = pd.DataFrame({"task": votes.item, "worker": votes.annotator, "label": votes.label})
    theirs = DawidSkene(n_iter=1000, tol=1e-9).fit(frame)
    assert model.prior == pytest.approx(theirs.priors_.sort_index().to_numpy(), abs=2e-3)
    matrices = theirs.errors_.sort_index()[[0, 1, 2]].to_numpy().reshape(10, 3, 3).transpose(0, 2, 1)
    assert model.errors[:10] == pytest.approx(matrices, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("labels", [2, 3])
def test_mace_is_crowd_kits_whatever_the_order_of_judges_and_labels(labels):
    from crowdkit.aggregation import MACE

    votes, truth = simulated(2, 300, np.linspace(0.5, 0.95, 8), 4, labels)
    model = aggregation.mace(votes, labels)
    # their own posteriors of votes whose judges and labels first appear in sorted order
    first = [np.flatnonzero((votes.annotator == 0) & (votes.label == k))[0] for k in range(labels)]
    rest = np.setdiff1d(np.argsort(votes.annotator, kind="stable"), first, assume_unique=True)
    rows = np.concatenate([first, rest])
    frame = pd.DataFrame({"task": votes.item, "worker": votes.annotator, "label": votes.label}).iloc[rows]
    theirs = MACE().fit(frame).probas_.sort_index()[list(range(labels))].to_numpy()
    ours = [
        aggregation.posterior(model, votes.annotator[votes.item == i], votes.label[votes.item == i]) for i in range(300)
    ]
    assert np.array(ours) == pytest.approx(theirs, abs=1e-3)
    assert (theirs.argmax(axis=1) == truth).mean() > 0.8


@pytest.mark.parametrize("fit", [aggregation.dawid_skene, aggregation.mace])
def test_twenty_judges_are_told_apart_and_together_beat_their_majority(fit):
    skills = np.linspace(0.55, 0.95, 20)
    votes, truth = simulated(7, 2000, skills, 5)
    by_majority = (aggregation.majority(votes.item, votes.label, 2).argmax(axis=1) == truth).mean()
    model = fit(votes, 2)
    assert (decided(model, votes, 2000) == truth).mean() >= by_majority + 0.02
    assert np.corrcoef(aggregation.skills(model), skills)[0, 1] >= 0.9


def test_judges_of_few_votes_are_never_certain_and_no_worse_together_than_their_majority():
    skills = np.random.default_rng(3).uniform(0.55, 0.95, 60)
    votes, truth = simulated(3, 300, skills, 3, labels=3)  # 15 votes a judge
    model = aggregation.dawid_skene(votes, 3)
    assert model.errors.min() > 0.001
    assert model.errors.max() < 0.999
    by_majority = (aggregation.majority(votes.item, votes.label, 3).argmax(axis=1) == truth).mean()
    assert (decided(model, votes, 300) == truth).mean() >= by_majority - 0.01


@pytest.mark.parametrize("fit", [aggregation.dawid_skene, aggregation.mace])
def test_a_judge_is_not_believed_more_for_what_nobody_else_judged(fit):
    # judge 3 is right 7 of 10 times; on 300 items beside three good ones, on 20,000 alone
    votes, truth = simulated(4, 300, np.array([0.9, 0.9, 0.9, 0.7]), 4)
    rng = np.random.default_rng(0)
    alone = Votes(np.arange(300, 20300), np.full(20000, 3), rng.integers(0, 2, 20000))
    model = fit(Votes(*(np.concatenate(both) for both in zip(votes[:3], alone[:3], strict=True))), 2)
    assert aggregation.skills(model)[3] == pytest.approx(
        (votes.label == truth[votes.item])[votes.annotator == 3].mean(), abs=0.06
    )


def test_one_judge_alone_is_believed():
    votes = Votes(np.arange(4), np.zeros(4, int), np.array([0, 1, 1, 0]))
    model = aggregation.dawid_skene(votes, 2)
    assert decided(model, votes, 4).tolist() == [0, 1, 1, 0]


def test_bradley_terry_of_two_is_their_odds():
    # the prior adds a third to wins, losses and ties: 16/3 to 4/3 to 1/3, so strengths differ by log 4 and nu is 1/3 : 8/3
    strength, nu = aggregation.bradley_terry(np.array([[0.0, 5], [1, 0]]), np.zeros((2, 2)))
    assert strength == pytest.approx([np.log(2), -np.log(2)])
    assert nu == pytest.approx(1 / 8)
    assert aggregation.davidson(*strength, nu) == pytest.approx((16 / 21, 1 / 21, 4 / 21))


def test_bradley_terry_reaches_the_maximum_of_davidsons_likelihood():
    from scipy.optimize import minimize

    rng = np.random.default_rng(5)
    wins = rng.integers(0, 6, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    ties = np.triu(rng.integers(0, 3, (4, 4)), 1).astype(float)
    ties += ties.T

    def loss(x):
        total = 0.0
        for i in range(4):
            for j in range(i + 1, 4):
                p = np.log(aggregation.davidson(x[i], x[j], np.exp(x[4])))
                total -= (wins[i, j] + 1 / 3) * p[0] + (ties[i, j] + 1 / 3) * p[1] + (wins[j, i] + 1 / 3) * p[2]
        return total

    best = minimize(loss, np.zeros(5), tol=1e-10).x
    strength, nu = aggregation.bradley_terry(wins, ties)
    assert strength == pytest.approx(best[:4] - best[:4].mean(), abs=1e-4)
    assert np.log(nu) == pytest.approx(best[4], abs=1e-4)


def test_bradley_terry_stays_finite_and_serves_one_item_and_none():
    strength, _ = aggregation.bradley_terry(np.array([[0.0, 9, 0], [0, 0, 0], [0, 0, 0]]), np.zeros((3, 3)))
    assert np.isfinite(strength).all()
    assert strength[0] > strength[2] > strength[1]  # never compared: in between
    assert aggregation.bradley_terry(np.zeros((1, 1)), np.zeros((1, 1)))[0].tolist() == [0.0]


@pytest.mark.parametrize("fit", [aggregation.dawid_skene, aggregation.mace])
def test_equal_votes_told_once_with_their_number_fit_the_same_judges(fit):
    votes, _ = simulated(4, 300, np.array([0.6, 0.8, 0.95]), 3)
    order = np.argsort(votes.item * 3 + votes.annotator)
    said = votes.label[order].reshape(300, 3)  # every judge on every item
    patterns, times = np.unique(said, axis=0, return_counts=True)
    once = Votes(np.repeat(np.arange(len(patterns)), 3), np.tile(np.arange(3), len(patterns)), patterns.ravel(), times)
    assert len(patterns) <= 8
    for found, expected in zip(fit(once, 2), fit(votes, 2), strict=True):
        assert found == pytest.approx(expected, abs=1e-3)
    one, both = fit(aggregation.add_mirrored_votes(once, 2), 2), fit(aggregation.add_mirrored_votes(votes, 2), 2)
    assert one.errors == pytest.approx(both.errors, abs=1e-3)


def test_only_annotators_in_a_component_with_an_odd_cycle_can_be_told():
    # 0, 1, 2 share item 0; 3 shares item 1 with 0; 4 and 5 share items 2 and 3 with each other alone; 6 is alone
    items = [0, 0, 0, 1, 1, 2, 2, 3, 3, 4]
    people = [0, 1, 2, 0, 3, 4, 5, 4, 5, 6]
    votes = aggregation.Votes(np.array(items), np.array(people), np.zeros(10, dtype=np.intp))
    assert aggregation.identifiable(votes).tolist() == [True] * 4 + [False] * 3
    nobody = np.array([], dtype=np.intp)
    assert aggregation.identifiable(aggregation.Votes(nobody, nobody, nobody)).tolist() == []
