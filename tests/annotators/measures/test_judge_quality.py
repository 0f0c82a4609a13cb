import json
import tracemalloc

import pytest

from annotators.measures.ballots import pair_key
from annotators.measures.judge_quality import Answer, JudgeQuality
from annotators.measures.preferences import preferences
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, judgement
from tests.support.rows import rows_of

TIE = "tie"


def compared(
    a: Candidate, b: Candidate, value, order: int = 0, prob: float | None = None, step: str = "pairwise", **known
) -> Judgement:
    """A judge's slip on (a, b): more than 0 is for a; None is unreadable. `order` 1: b was shown first."""
    outcome = Outcome.UNPARSABLE if value is None else Outcome.TIE if value == 0 else Outcome.VERDICT
    by = Provenance(**{"annotator": "judge@1", "version": "v", "order": order} | known)
    return judgement(a.sample, step, "pair", (a.id, b.id), "preference", Finding(outcome, value, prob), by)


def rated(c: Candidate, value: float, step: str = "rate", axis: str = "rating", **known) -> Judgement:
    by = Provenance(**{"annotator": "judge@1", "version": "v"} | known)
    return judgement(c.sample, step, "candidate", (c.id,), axis, Finding(Outcome.VERDICT, value), by)


def true(c: Candidate, value: float) -> Judgement:
    return rated(c, value, "truth", "truth", annotator="rule.facts")


def measured(*samples: tuple[list[Candidate], list[Judgement]], step: str = "pairwise") -> dict:
    worth = JudgeQuality()
    for candidates, slips in samples:
        worth.add("image", {c.id: Answer(c.text, c.model) for c in candidates}, slips)
    return json.loads(json.dumps(worth.report(), allow_nan=False))[step]


def answers(*texts: str, models=(), question: str = "what ?") -> list[Candidate]:
    found = rows_of(list(texts), question=question).candidates
    return [c._replace(model=m) for c, m in zip(found, models, strict=True)] if models else found


def shares(found: dict, *names: str) -> list[tuple[int, float] | None]:
    return [found[name] and (found[name]["n"], found[name]["share"]) for name in names]


def test_orders_come_from_pairs_and_from_ratings_alike():
    a, b, c = sorted(answers("a", "b", "c"), key=lambda c: c.id)
    slips = [
        compared(b, a, 2, prob=0.9), compared(a, b, None), compared(a, c, 0, order=1), rated(a, 3), rated(b, 5), rated(b, 1),
        rated(a, 1, axis="form"), rated(b, 0, axis="form"), rated(a, 1, axis="harm:violence"), rated(b, 0, axis="harm:violence"),
    ]  # fmt: skip
    found = [(o.pair, o.axis, o.value, o.prob, o.shown) for o in preferences(slips)]
    assert found == [
        ((a.id, b.id), "preference", -2, pytest.approx(0.1), b.id),
        ((a.id, c.id), "preference", 0, None, c.id),
        ((a.id, b.id), "rating", 2, None, None),  # of b's ratings the latest counts
    ]


def test_who_asked_is_known_before_it_is_known_who_stood_first():
    a, b = answers("a", "b")
    theirs, score = compared(a, b, 1, version=None), compared(a, b, 1)._replace(parents=("x",))
    assert [o.shown for o in preferences([theirs, score])] == [None, None]


def test_agreement_with_the_truth_is_of_the_pairs_that_have_one_and_of_verdicts():
    a, b, c = answers("one", "two", "three")
    slips = [
        true(a, 0),
        true(b, -1),
        true(c, -1),
        compared(a, b, 1),
        compared(a, c, -1),
        compared(b, c, 1),
        compared(c, a, 0, 1),
    ]
    found = measured(([a, b, c], slips))
    # a is better than b and than c, between b and c nothing is known: a-b right, a-c wrong, and once a tie
    assert shares(found["agreement_with_truth"], "all", "image") == [(2, 0.5), (2, 0.5)]
    assert shares(found, "decided") == [(3, pytest.approx(2 / 3, abs=1e-4))]
    assert found["tie_rate"] == 0.25
    assert measured(([a, b, c], slips), step="truth")["agreement_with_truth"] == {}  # it does not agree with itself


def test_claims_are_measured_by_the_truth_of_claims():
    def slip(item, value, step="claims", axis="claim", prob=None):
        return judgement(
            "s", step, "claim", (item,), axis, Finding(Outcome.VERDICT, value, prob), Provenance("judge@1", "v")
        )

    slips = [slip(str(i), 1.0, "rule", "truth") for i in range(4)]
    slips += [slip("0", 1.0, prob=0.9), slip("1", 1.0, prob=0.8), slip("2", 0.0, prob=0.3), slip("unknown", 0.0)]
    found = measured(([], slips), step="claims")
    assert shares(found["agreement_with_truth"], "all") == [(3, pytest.approx(2 / 3, abs=1e-4))]
    # sure .9 and right, .8 and right, .7 and wrong
    assert found["calibration"]["error"] == pytest.approx((0.1 + 0.2 + 0.7) / 3, abs=1e-4)


def test_position_bias_and_contradictions_by_hand():
    a, b, c = answers("one", "two", "three")
    slips = [
        compared(a, b, 1), compared(a, b, 1, order=1),  # a both ways: first, then second
        compared(a, c, 1), compared(a, c, -1, order=1),  # always the first: a contradiction
        compared(b, c, -1), compared(b, c, None, order=1),  # the second; the other way is unreadable
    ]  # fmt: skip
    found = measured(([a, b, c], slips))
    assert shares(found, "shown_first", "contradicted", "consistency") == [(5, 0.6), (2, 0.5), None]
    assert found["parse_rate"] == pytest.approx(5 / 6, abs=1e-4)


def test_the_same_asked_again_is_consistency_and_the_other_way_round_is_not():
    a, b = answers("one", "two")
    slips = [
        compared(a, b, 1), compared(a, b, 2, attempt=1), compared(a, b, -1, attempt=2), compared(a, b, -1, order=1),
        rated(a, 3, step="pairwise"), rated(a, 4, step="pairwise", attempt=1),
    ]  # fmt: skip
    # said the same: 2 after 1 yes, -1 no; a rating of 4 after 3 no
    assert shares(measured(([a, b], slips)), "consistency") == [(3, pytest.approx(1 / 3, abs=1e-4))]


def test_length_bias_stands_beside_how_often_the_longer_one_is_better():
    short, long, other = answers("one two", "one two three four", "four three")
    slips = [
        true(short, 0), true(long, -1), true(other, -1),
        compared(short, long, -1), compared(long, other, 1), compared(short, other, 1),
    ]  # fmt: skip
    found = measured(([short, long, other], slips))
    # of two pairs of unlike length the longer was chosen twice; one has a truth, which is against it. Of the pair of two words each: right
    assert shares(found, "longer", "longer_truth", "equal_length") == [(2, 1.0), (1, 0.0), (1, 1.0)]


def test_self_preference_is_of_pairs_with_one_answer_of_its_own():
    mine, theirs, also = answers("one", "two", "three", models=("judge@1", "policy@1", "judge@1"))
    slips = [
        true(mine, -1),
        true(theirs, 0),
        compared(mine, theirs, 1),
        compared(also, mine, 1),
        compared(theirs, also, 1),
    ]
    assert shares(measured(([mine, theirs, also], slips)), "own", "own_truth") == [(2, 0.5), (1, 0.0)]


def test_agreement_with_people_is_with_what_most_of_them_say():
    a, b, c = answers("one", "two", "three")
    people = [compared(a, b, v, step="people", annotator=f"person:{i}") for i, v in enumerate((2, 1, -1))]
    people += [
        compared(b, c, v, step="people", annotator=f"person:{i}") for i, v in enumerate((1, -1))
    ]  # they do not agree
    slips = [*people, rated(a, 5), rated(b, 4), rated(c, 3)]
    assert shares(measured(([a, b, c], slips), step="rate"), "agreement_with_people") == [(1, 1.0)]
    found = measured(([a, b, c], slips), step="people")
    assert (found["annotator"], found["agreement_with_people"]) == ("people", None)


def test_a_score_is_measured_like_a_judge():
    a, b = answers("one", "two")
    score = judgement(
        a.sample,
        "jury",
        "pair",
        pair_key(a.id, b.id),
        "score",
        Finding(Outcome.VERDICT, 1.0, 0.8),
        Provenance("consensus.mean", "v"),
        parents=("x",),
    )
    better = a if pair_key(a.id, b.id)[0] == a.id else b
    found = measured(([a, b], [true(better, 0), true(b if better is a else a, -2), score]), step="jury")
    assert shares(found["agreement_with_truth"], "all") == [(1, 1.0)]
    assert found["calibration"]["bins"] == [{"n": 1, "sure": 0.8, "right": 1.0}]
    assert found["shown_first"] is None


def test_equal_texts_have_no_order_and_dead_judges_no_figures():
    a, b, c = answers("same", "same", "other")
    found = measured(([a, b, c], [true(a, 0), true(b, -1), compared(a, b, 1), compared(a, c, None)]))
    assert found["agreement_with_truth"] == {}
    assert shares(found, "decided", "longer", "shown_first") == [None, None, None]
    assert found["parse_rate"] == 0.5


def test_memory_stays_flat_as_samples_grow():
    worth = JudgeQuality()
    a, b = answers("one", "two three")
    slips, known = [true(a, 0), true(b, -1), compared(a, b, 1, prob=0.8)], {c.id: Answer(c.text) for c in (a, b)}
    for _ in range(500):
        worth.add("image", known, slips)
    tracemalloc.start()
    for _ in range(5000):
        worth.add("image", known, slips)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000  # bytes
    assert worth.report()["pairwise"]["agreement_with_truth"]["all"]["n"] == 5500


def test_position_bias_is_of_lists_too_where_the_places_are_known():
    a, b, c = answers("one", "two", "three")
    shown = [
        rated(c, value, axis="rank", step="list", order=place)
        for place, (c, value) in enumerate(((b, 0), (a, -1), (c, -2)))
    ]
    # b, a, c in this order, ranked 1, 2, 3: of three preferences all are for the one shown before the other
    assert shares(measured(([a, b, c], shown), step="list"), "shown_first") == [(3, 1.0)]
    turned = [s._replace(value=-2 - s.value) for s in shown]
    assert shares(measured(([a, b, c], turned), step="list"), "shown_first") == [(3, 0.0)]
    apart = [s._replace(order=0) for s in shown]
    assert shares(measured(([a, b, c], apart), step="list"), "shown_first") == [None]


def test_the_mass_of_first_tokens_and_what_was_taken_from_them():
    a, b = answers("one", "two")
    taken = compared(a, b, 1, prob=0.9)._replace(mass=0.9)
    in_words = compared(a, b, 1, order=1)._replace(mass=0.14)
    assert measured(([a, b], [taken, in_words]))["mass"] == {"n": 2, "median": 0.14, "lowest": 0.14, "taken": 0.5}
    assert measured(([a, b], [compared(a, b, 1)]))["mass"] is None
