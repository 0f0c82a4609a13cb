import itertools
import random

import numpy as np
import pytest
from pydantic import ValidationError

from annotators.score import consensus, refuted_claims
from annotators.score.consensus import Settings
from schemas import records
from schemas.errors import RecipeError
from schemas.operator import SampleRows
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, judgement
from tests.support.rows import context, rows_of


def preferred(a: Candidate, b: Candidate, value: float | None, who: str, **known) -> Judgement:
    """`who` says of (a, b) that a is better (more than 0), that they tie (0), or nothing (None)."""
    outcome = Outcome.ABSTAIN if value is None else Outcome.VERDICT if value else Outcome.TIE
    by = Provenance(who, **known)
    return judgement(a.sample, "people", "pair", (a.id, b.id), "preference", Finding(outcome, value), by)


def rated(c: Candidate, value: float, who: str, axis: str = "rating", step: str = "people") -> Judgement:
    return judgement(c.sample, step, "candidate", (c.id,), axis, Finding(Outcome.VERDICT, value), Provenance(who))


def two_answers() -> tuple[SampleRows, Candidate, Candidate]:
    """A sample's rows and its two answers in the order of their ids."""
    rows = rows_of(["a", "b"])
    return rows, *sorted(rows.candidates, key=lambda c: c.id)


def scored(rows: SampleRows, **settings) -> list[Judgement]:
    """fit() over this one sample, then score()."""
    chosen = Settings(**settings)
    fitted = consensus.fit([rows], chosen, context())
    return consensus.score(rows, chosen, context("consensus", fitted=fitted.value))


def test_majority_shares_ties_and_says_how_much_better():
    rows, a, b = two_answers()
    rows.judgements = [
        preferred(a, b, 2, "person:1"), preferred(b, a, -1, "person:2"), preferred(a, b, -1, "person:3"), preferred(a, b, 0, "person:4"),
    ]  # fmt: skip
    (found,) = scored(rows, method="majority")
    # two of four say a, one says a tie; strengths 2, 1, 1: (1/2 - 1/4) x 4/3
    assert (found.target, found.items, found.axis, found.outcome) == ("pair", (a.id, b.id), "score", "verdict")
    assert (found.prob, found.value) == (0.625, pytest.approx(1 / 3, abs=1e-4))
    assert found.parents == tuple(s.id for s in rows.judgements)


def test_the_mean_lets_votes_count_by_their_strength():
    rows, a, b = two_answers()
    rows.judgements = [preferred(a, b, 2, "person:1"), preferred(a, b, -1, "person:2"), preferred(a, b, 0, "person:3")]
    (found,) = scored(rows, method="mean")
    # strengths 2 for a, 1 for b, 1 for the tie: 1/2 + 1/8
    assert (found.value, found.prob) == (pytest.approx(1 / 3, abs=1e-4), 0.625)


def test_bradley_terry_knows_of_answers_that_were_only_compared_with_others():
    rows = rows_of(["a", "b", "c"])
    a, b, c = sorted(rows.candidates, key=lambda c: c.id)
    rows.judgements = [preferred(*two, 1, f"person:{i}") for i in range(4) for two in ((a, b), (b, c))]
    rows.pairs = [records.pair(a.sample, "pair", c, a)]
    found = {s.items: s for s in scored(rows, method="bradley_terry")}
    assert found[a.id, c.id].outcome == "abstain"  # nobody compared these two
    assert found[a.id, b.id].prob == pytest.approx(found[b.id, c.id].prob)  # by symmetry
    assert found[a.id, b.id].prob > 0.7


def test_dawid_skene_follows_bayes_rule_with_the_judges_it_fitted():
    rows, a, b = two_answers()
    rows.judgements = [preferred(a, b, 1, "person:1"), preferred(a, b, 1, "person:2"), preferred(a, b, -1, "person:3")]
    fitted = consensus.fit([rows], Settings(), context()).value
    (found,) = consensus.score(rows, Settings(), context(fitted=fitted))
    prior, errors = fitted.model.prior, fitted.model.errors
    said = {"person:1": 2, "person:2": 2, "person:3": 0}
    likely = prior * np.prod([errors[fitted.places[w], :, k] for w, k in said.items()], axis=0)
    second, tie, first = likely / likely.sum()
    assert found.prob == pytest.approx(first + tie / 2, abs=1e-4)
    assert found.value == pytest.approx(first - second, abs=1e-4)


def test_which_answer_is_first_means_nothing():
    rng = random.Random(1)
    samples, mirrored = [], []
    for i in range(40):
        sample = rows_of(["a", "b"], question=f"question {i}")
        a, b = sorted(sample.candidates, key=lambda c: c.id)
        said = [(who, rng.choice([2, 1, 1, 0, -1])) for who in ("person:1", "person:2", "person:3")]
        for rows, sign in ((sample, 1), (SampleRows(sample.sample), -1)):
            rows.candidates = sample.candidates
            rows.judgements = [preferred(a, b, sign * value, who) for who, value in said]
            (samples if sign > 0 else mirrored).append(rows)
    probs = []
    for run in (samples, mirrored):
        fitted = consensus.fit(run, Settings(), context()).value
        probs.append([consensus.score(rows, Settings(), context(fitted=fitted))[0].prob for rows in run])
    assert probs[0] == pytest.approx([1 - p for p in probs[1]], abs=2e-4)
    assert len(set(probs[0])) > 3


def test_ties_are_a_verdict_of_their_own_and_silence_is_none():
    rows, a, b = two_answers()
    rows.judgements = [preferred(a, b, 0, "person:1"), preferred(a, b, 0, "person:2"), preferred(a, b, 1, "person:3")]
    assert [(s.outcome, s.prob) for s in scored(rows, method="majority")] == [("tie", pytest.approx(2 / 3, abs=1e-4))]
    rows.judgements = [preferred(a, b, None, "person:1")]
    assert [(s.outcome, s.value, s.prob) for s in scored(rows)] == [("abstain", None, None)]
    rows.judgements = []
    assert scored(rows) == []
    rows.pairs = [records.pair(a.sample, "pair", b, a)]
    assert [(s.outcome, s.items) for s in scored(rows)] == [("abstain", (a.id, b.id))]


def test_a_split_vote_is_no_tie():
    rows, a, b = two_answers()
    rows.judgements = [preferred(a, b, 1, "person:1"), preferred(a, b, -1, "person:2")]
    assert [(s.outcome, s.prob, s.value) for s in scored(rows, method="majority")] == [("verdict", 0.5, 0)]


def test_who_is_asked_twice_has_one_vote_and_none_when_contradicting():
    rows, a, b = two_answers()
    rows.judgements = [
        preferred(a, b, 2, "person:1"), preferred(a, b, 1, "person:1", attempt=1),
        preferred(a, b, -1, "person:2"), preferred(a, b, 1, "person:2", attempt=1),
        preferred(a, b, -1, "person:3"),
    ]  # fmt: skip
    (found,) = scored(rows, method="majority")
    # person:1 1.5 for a, person:3 for b, person:2 nothing
    assert (found.prob, found.value) == (0.5, 0)
    assert set(found.parents) == {rows.judgements[i].id for i in (0, 1, 4)}
    assert scored(rows, method="mean")[0].value == pytest.approx(0.25)


def test_models_vote_by_the_sign_of_their_difference_and_also_on_live_pairs():
    rows = rows_of(["a", "b", "c"], [0.0, -2.0, None])
    a, b, c = rows.candidates
    rows.judgements += [
        rated(a, 3, "tiny@1", step="rate"),
        rated(b, 3, "tiny@1", step="rate"),
        rated(c, 5, "tiny@1", step="rate"),
    ]
    rows.pairs = [records.pair(a.sample, "pair", a, b), records.pair(a.sample, "pair", c, b)]
    found = {frozenset(s.items): s for s in scored(rows, method="majority", also=["score", "rating"])}
    first = found[frozenset((a.id, b.id))]
    # the score says a, the rating a tie: .5 + .25 for a
    assert (first.prob if first.items[0] == a.id else 1 - first.prob) == 0.75
    other = found[frozenset((b.id, c.id))]
    assert (other.prob if other.items[0] == c.id else 1 - other.prob) == 1  # c has no score
    assert len(found) == 2


def test_another_judge_or_verdict_makes_another_key_and_the_same_votes_the_same():
    rows, a, b = two_answers()
    rows.judgements = [preferred(a, b, 1, "person:1"), preferred(a, b, -1, "person:2")]
    key = consensus.fit([rows], Settings(), context()).key
    assert consensus.fit([rows], Settings(), context()).key == key
    rows.judgements[1] = preferred(a, b, 1, "person:2")
    changed = consensus.fit([rows], Settings(), context()).key
    rows.judgements[1] = preferred(a, b, 1, "person:3")
    assert len({key, changed, consensus.fit([rows], Settings(), context()).key}) == 3


def simulated_merge(seed: int) -> tuple[list[SampleRows], dict[str, str]]:
    """1,000 prompts with two answers: a model of skill .8 rates all, five people of skill .6 to .95 judge 300 of them, three each.
    And {sample: its better answer}."""
    rng = random.Random(seed)
    skills = {f"person:{i}": s for i, s in enumerate((0.6, 0.7, 0.8, 0.9, 0.95), 1)}
    samples, truth = [], {}
    for i in range(1000):
        rows = rows_of(["a", "b"], question=f"question {i}")
        a, b = rng.sample(rows.candidates, 2)  # a is better
        truth[rows.sample.id] = a.id
        good, bad = (a, b) if rng.random() < 0.8 else (b, a)
        rows.judgements = [rated(good, 4, "tiny@1", step="rate"), rated(bad, 2, "tiny@1", step="rate")]
        rows.pairs = [records.pair(a.sample, "pair", good, bad)]
        if i < 300:
            rows.judgements += [
                preferred(a, b, 1 if rng.random() < skills[who] else -1, who) for who in rng.sample(sorted(skills), 3)
            ]
        samples.append(rows)
    return samples, truth


@pytest.mark.parametrize("method", ["dawid_skene", "mace"])
def test_people_and_a_model_merge_into_one_posterior_with_estimated_skills(method):
    samples, truth = simulated_merge(5)
    right, brier = {}, {}
    for also in ([], ["rating"]):
        settings = Settings(method=method, also=also)
        fitted = consensus.fit(samples, settings, context()).value
        found = [s for rows in samples for s in consensus.score(rows, settings, context(fitted=fitted))]
        of_first = [(s.items[0] == truth[s.sample], s.prob) for s in found if s.outcome == "verdict"]
        right[bool(also)] = np.mean([(p > 0.5) == better for better, p in of_first[:300]])
        brier[bool(also)] = np.mean([(p - better) ** 2 for better, p in of_first])
        assert len(of_first) == (1000 if also else 300)
    assert right[True] > right[False]  # a fourth judge of skill .8 helps
    alone = [max(s.prob, 1 - s.prob) for s in found[300:]]
    assert np.mean(alone) == pytest.approx(0.8, abs=0.05)  # where only the model judged it is as sure as it is good
    assert brier[True] < 0.16  # of a model alone that is right 8 of 10 times: .8 x .2 = .16


def test_answers_have_their_mean_their_most_frequent_value_or_their_posteriors_mean():
    rows = rows_of(["a", "b", "c"])
    a, b, c = rows.candidates
    rows.judgements = [
        *(rated(a, v, f"person:{i}", "helpful") for i, v in enumerate((5, 5, 2))),
        *(rated(b, v, f"person:{i}", "helpful") for i, v in enumerate((1, 3))),
    ]
    assert [s.value for s in scored(rows, axis="helpful", method="mean")] == [4, 2, None]
    assert [s.value for s in scored(rows, axis="helpful", method="majority")] == [5, 2, None]
    found = scored(rows, axis="helpful")
    assert [(s.target, s.items, s.axis, s.outcome) for s in found] == [
        ("candidate", (x.id,), "score", outcome) for x, outcome in ((a, "verdict"), (b, "verdict"), (c, "abstain"))
    ]
    assert 4 < found[0].value < 5
    assert found[0].parents == tuple(s.id for s in rows.judgements[:3])


def test_ranks_become_strengths():
    rows = rows_of(["a", "b", "c"])
    for who, order in (("person:1", "abc"), ("person:2", "abc"), ("person:3", "acb")):
        rows.judgements += [rated(c, -order.index(c.text), who, "rank") for c in rows.candidates]
    a, b, c = (s.value for s in scored(rows, axis="rank", method="bradley_terry"))
    assert a > b > c
    assert a + b + c == pytest.approx(0, abs=1e-3)
    rows.judgements = [
        rated(rows.candidates[0], 0, "person:1", "rank"),
        rated(rows.candidates[1], 0, "person:1", "rank"),
    ]
    # one tie and the prior: equal
    assert [s.value for s in scored(rows, axis="rank", method="bradley_terry")] == [0, 0, None]


def test_of_several_ratings_by_one_judge_the_latest_counts():
    rows = rows_of(["a"])
    (a,) = rows.candidates
    rows.judgements = [
        rated(a, 1, "person:1"),
        rated(a, 5, "person:1"),
        rated(a, 3, "tiny@1", step="x"),
        rated(a, 1, "tiny@1", step="y"),
    ]
    assert scored(rows, axis="rating", method="mean")[0].value == 3


def test_other_axes_cannot_be_added_to_votes_on_answers():
    with pytest.raises(ValidationError, match="`also` adds votes on pairs"):
        Settings(axis="rank", also=["score"])


def test_a_run_without_votes_fits_nothing_and_says_nothing():
    rows = rows_of(["a", "b"])
    for method, axis in itertools.product(("dawid_skene", "mace", "majority"), ("preference", "rank")):
        assert all(s.outcome == "abstain" for s in scored(rows, method=method, axis=axis))


def test_too_few_votes_are_no_verdict():
    rows, a, b = two_answers()
    rows.judgements = [
        preferred(a, b, 1, "person:1"),
        preferred(a, b, 1, "person:2"),
        preferred(a, b, None, "person:3"),
    ]
    assert [s.outcome for s in scored(rows, method="majority", quorum=2)] == ["verdict"]
    for method in ("majority", "mean", "dawid_skene", "bradley_terry"):
        (found,) = scored(rows, method=method, quorum=3)  # who could not judge does not count
        assert (found.outcome, found.value, found.prob) == ("abstain", None, None)
        assert len(found.parents) == 2
    rows.judgements = [rated(a, 4, "person:1"), rated(a, 2, "person:2"), rated(b, 1, "person:1")]
    found = {s.items[0]: s for s in scored(rows, axis="rating", method="mean", quorum=2)}
    assert (found[a.id].value, found[b.id].outcome) == (3, "abstain")


def verdict(a: Candidate, b: Candidate, value: float, step: str, order: int = 0) -> Judgement:
    """What a model says in a step of its own."""
    return judgement(
        a.sample, step, "pair", (a.id, b.id), "preference",
        Finding(Outcome.VERDICT, value), Provenance("tiny@1", "v", order),
    )  # fmt: skip


def test_given_weights_are_by_the_step_or_the_person():
    rows, a, b = two_answers()
    rows.judgements = [verdict(a, b, 1, "large"), verdict(a, b, -1, "small"), preferred(a, b, -1, "person:7")]
    (found,) = scored(rows, method="weighted", weights={"large": 3, "person:7": 0.5})
    # 3 for a; 1 and .5 for b
    assert found.prob == pytest.approx(3 / 4.5, abs=1e-4)
    (found,) = scored(rows, method="weighted", weights={"large": 0, "small": 0, "person:7": 0})
    assert found.outcome == "abstain"
    with pytest.raises(
        RecipeError, match="step: `weights` name the judge 'lage', which has no vote; did you mean 'large'"
    ):
        scored(rows, method="weighted", weights={"lage": 3})
    rows.judgements = [rated(a, 5, "tiny@1", step="large"), rated(a, 2, "tiny@1", step="small")]
    found = {s.items[0]: s.value for s in scored(rows, method="weighted", axis="rating", weights={"large": 2})}
    assert found == {a.id: 4, b.id: None}  # (2 x 5 + 1 x 2) / 3


def test_measured_weights_are_the_log_odds_of_being_right_where_truth_is_known():
    samples = []
    for i in range(10):
        rows = rows_of(["a", "b"], question=f"{i} ?")
        a, b = rows.candidates
        rows.judgements = [
            verdict(a, b, 1 if i < 8 else -1, "good"), verdict(a, b, 1 if i < 5 else -1, "coin"), verdict(a, b, -1, "worse"),
        ]  # fmt: skip
        rows.judgements += [rated(a, 0, "rule.facts", "truth", "truth"), rated(b, -1, "rule.facts", "truth", "truth")]
        samples.append(rows)
    settings = Settings(method="weighted")
    fitted = consensus.fit(samples, settings, context())
    # 8 of 10 right: log 9/3; 5 of 10: log 6/6; 0 of 10: less than a coin
    assert {name.split()[0]: w for name, w in fitted.value.items()} == {
        "good.preference": pytest.approx(np.log(3), abs=1e-4), "coin.preference": 0, "worse.preference": 0,
    }  # fmt: skip
    unknown = rows_of(["a", "b"], question="unknown ?")
    a, b = unknown.candidates
    unknown.judgements = [verdict(a, b, 1, "good"), verdict(a, b, -1, "worse"), verdict(a, b, -1, "coin")]
    (found,) = consensus.score(unknown, settings, context(fitted=fitted.value))
    assert found.prob == (1 if found.items[0] == a.id else 0)
    with pytest.raises(RecipeError, match="no ground truth to measure the judges by"):
        consensus.fit([unknown], settings, context())


def test_measured_weights_beat_the_majority_of_judges_who_mostly_guess():
    rng = random.Random(3)
    samples, truth = [], {}
    for i in range(600):
        rows = rows_of(["a", "b"], question=f"{i} ?")
        a, b = rng.sample(rows.candidates, 2)  # a is better
        truth[rows.sample.id] = a.id
        for step, skill in (("good", 0.9), ("poor", 0.55), ("poorer", 0.52)):
            rows.judgements.append(verdict(a, b, 1 if rng.random() < skill else -1, step))
        if i < 200:
            rows.judgements += [
                rated(a, 0, "rule.facts", "truth", "truth"),
                rated(b, -1, "rule.facts", "truth", "truth"),
            ]
        samples.append(rows)

    def right(**settings) -> float:
        chosen = Settings(**settings)
        fitted = consensus.fit(samples, chosen, context()).value
        found = [s for rows in samples[200:] for s in consensus.score(rows, chosen, context(fitted=fitted))]
        return float(np.mean([(s.prob > 0.5) == (s.items[0] == truth[s.sample]) for s in found]))

    assert right(method="weighted") > right(method="majority") + 0.1


def test_round_robin_is_wins_less_losses():
    rows = rows_of(["a", "b", "c"])
    a, b, c = rows.candidates
    rows.judgements = [
        verdict(a, b, 1, "j"), verdict(a, b, 2, "j", order=1), verdict(a, c, 1, "j"), verdict(a, c, -1, "j", order=1), verdict(b, c, 3, "j"),
        verdict(a, b, 1, "k"),
    ]  # fmt: skip
    found = {s.items[0]: s for s in scored(rows, method="round_robin", of="answers")}
    # a beats b twice (two judges), on a-c the judge contradicts itself, b beats c
    assert [found[x.id].value for x in (a, b, c)] == [2, -1, -1]
    assert [(s.target, s.axis, s.outcome) for s in found.values()] == [("candidate", "score", "verdict")] * 3
    rows.judgements = rows.judgements[-1:]
    assert [s.value for s in scored(rows, method="round_robin", of="answers")] == [1, -1, None]


def test_bradley_terry_scores_answers_by_all_their_pairs_with_ties():
    rows = rows_of(["a", "b", "c"])
    a, b, c = rows.candidates
    rows.judgements = [verdict(x, y, 1, f"j{i}") for i in range(6) for x, y in ((a, b), (b, c))]
    rows.judgements += [preferred(a, c, 0, "person:1")]
    values = [s.value for s in scored(rows, method="bradley_terry", of="answers")]
    assert values[0] > values[1] > values[2]
    assert sum(values) == pytest.approx(0, abs=1e-3)
    assert values[1] == pytest.approx(0, abs=1e-3)  # by symmetry


def test_rank_mix_is_the_weighted_mean_of_ranks_whatever_the_scales():
    rows = rows_of(["a", "b", "c"])
    a, b, c = rows.candidates
    rows.judgements = [rated(x, v, "clip@1", "clip", "clip") for x, v in ((a, 0.31), (b, 0.30), (c, 0.29))]
    rows.judgements += [rated(x, v, "lm@1", "likelihood", "lm") for x, v in ((a, -90.0), (b, -5.0), (c, -90.0))]
    settings = {"method": "rank_mix", "axis": "likelihood", "also": ["clip"]}
    rows.judgements = [s._replace(axis="likelihood") if s.axis == "lm" else s for s in rows.judgements]
    # clip ranks 1 2 3, lm 2.5 1 2.5
    assert [s.value for s in scored(rows, **settings)] == [-1.75, -1.5, -2.75]
    assert [s.value for s in scored(rows, **settings, weights={"clip": 3})] == [-1.375, -1.75, -2.875]


def test_a_jury_on_claims_takes_the_same_claim_of_several_judges_for_one():
    rows = rows_of(["a red dog"])
    (c,) = rows.candidates
    votes = {"one": (1, 1), "two": (1, 0), "three": (0, 0)}
    for step, values in votes.items():
        for i, (question, value) in enumerate(zip(("is it red ?", "is it a dog ?"), values, strict=True)):
            row = records.claim(c, step, i, question, True)
            rows.claims.append(row)
            rows.judgements.append(
                judgement(
                    c.sample,
                    step,
                    "claim",
                    (row.id,),
                    "claim",
                    Finding(Outcome.VERDICT, float(value)),
                    Provenance("tiny@1"),
                )
            )
    found = scored(rows, axis="claim", method="majority")
    third = pytest.approx(1 / 3, abs=1e-4)
    assert [(s.target, s.axis, s.value, s.prob) for s in found[:2]] == [
        ("claim", "score", 1, pytest.approx(2 / 3, abs=1e-4)),
        ("claim", "score", 0, third),
    ]
    assert [(s.value, s.items) for s in found[2:4]] == [(1, (rows.claims[2].id,)), (0, (rows.claims[3].id,))]
    weighed = scored(rows, axis="claim", method="weighted", weights={"three": 4})
    assert [s.prob for s in weighed[:2]] == [third, pytest.approx(1 / 6, abs=1e-4)]  # 2 against 4, 1 against 5
    rows.judgements += [judgement(c.sample, "one", "candidate", (c.id,), "form", Finding(Outcome.VERDICT, 1.0)), *found]
    rows.claims = rows.claims[:2]  # as `from: [sample, one, jury]` has it
    (answer,) = refuted_claims.score(rows, refuted_claims.Settings(axis="score"), context("refuted"))
    assert answer.value == -1
    assert {s.outcome for s in scored(rows, axis="claim", method="majority", quorum=4)} == {"abstain"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "round_robin"}, "use `of: answers`"),
        ({"method": "majority", "of": "answers"}, "needs bradley_terry or round_robin"),
        ({"method": "rank_mix"}, "set `axis` to one on which judges rated"),
        ({"method": "bradley_terry", "axis": "claim"}, "cannot score claims"),
        ({"method": "majority", "weights": {"a": 1}}, "`weights` need one of the methods weighted, rank_mix"),
        ({"method": "weighted", "axis": "rating"}, "set `weights`"),
        ({"method": "weighted", "weights": {"a": -1}}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        Settings(**settings)


def votes_of(groups: list[tuple[str, ...]], seed: int = 1) -> list[SampleRows]:
    """A pair for each group of people, who vote at random."""
    rng, out = random.Random(seed), []
    for i, group in enumerate(groups):
        rows = rows_of(["a", "b"], question=f"question {i}")
        rows.judgements = [preferred(*rows.candidates, rng.choice([1, -1]), f"person:{who}") for who in group]
        out.append(rows)
    return out


UNTOLD = {
    "one vote a pair": lambda n: [(str(i % 4),) for i in range(n)],
    "one person": lambda n: [("a",)] * n,
    "everybody once": lambda n: [(str(i),) for i in range(n)],
    "two people": lambda n: [("a", "b")] * n,
    "two couples": lambda n: [("a", "b"), ("c", "d")] * (n // 2),
    "a chain": lambda n: [("a", "b"), ("b", "c"), ("c", "d")] * (n // 3),
    "a ring of four": lambda n: [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")] * (n // 4),
}


@pytest.mark.parametrize("name", UNTOLD)
@pytest.mark.parametrize("n", [12, 60, 400])
@pytest.mark.parametrize("method", ["dawid_skene", "mace"])
def test_votes_that_do_not_overlap_enough_count_as_cast_however_many_there_are(name, n, method):
    samples, settings, told = votes_of(UNTOLD[name](n)), Settings(method=method), []
    fitted = consensus.fit(samples, settings, context("jury", progress=lambda done, total, text: told.append(text)))
    assert told == [f"jury: {consensus.AS_CAST}"]
    majority = Settings(method="majority")
    for rows in samples:
        (found,) = consensus.score(rows, settings, context("consensus", fitted=fitted.value))
        (plain,) = consensus.score(rows, majority, context("consensus"))
        assert (found.outcome, found.value, found.prob) == (plain.outcome, plain.value, plain.prob)
        assert (found.annotator, found.raw) == (f"consensus.{method} (votes as cast)", consensus.AS_CAST)


TOLD = {
    "three on one pair": [("a", "b", "c")],
    "a triangle": [("a", "b"), ("b", "c"), ("c", "a")],
    "a ring of five": [("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "a")],
    "three, and others alone": [("a", "b", "c"), ("d",), ("e", "f")],
}


@pytest.mark.parametrize("name", TOLD)
def test_three_judges_who_share_items_two_by_two_are_fitted(name):
    fitted = consensus.fit(
        votes_of(TOLD[name]), Settings(), context(progress=lambda *_: pytest.fail("nothing to tell"))
    )
    assert fitted.value is not None
    (found,) = consensus.score(votes_of(TOLD[name])[0], Settings(), context(fitted=fitted.value))
    assert (found.annotator, found.raw) == ("consensus.dawid_skene", None)


def test_ratings_count_as_cast_too():
    rows = rows_of(["a", "b"])
    rows.judgements = [rated(c, v, "person:1") for c, v in zip(rows.candidates, (4, 2), strict=True)]
    assert [s.value for s in scored(rows, axis="rating")] == [4, 2]
    rows.judgements.append(rated(rows.candidates[0], 1, "person:2"))
    assert [s.value for s in scored(rows, axis="rating")] == [2.5, 2]  # (4 + 1) / 2
