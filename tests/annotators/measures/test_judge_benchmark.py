import json

import pytest

from annotators.measures.judge_benchmark import JudgeBenchmark, levenshtein
from annotators.measures.judge_quality import Answer
from schemas import records
from schemas.operator import SampleRows
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, judgement
from tests.annotators.measures.test_judge_quality import compared
from tests.support.rows import rows_of


def sample_of(*texts: str, question: str, category: str | None = None) -> SampleRows:
    return rows_of(list(texts), question=question, split=category)


def better(a: Candidate, b: Candidate):
    return records.pair(a.sample, "bench", a, b)


def theirs(c: Candidate, value: float, axis: str) -> Judgement:
    return judgement(
        c.sample, "bench", "candidate", (c.id,), axis, Finding(Outcome.VERDICT, value), Provenance("mllm_judge")
    )


def ours(c: Candidate, value: float, axis: str = "rating") -> Judgement:
    return judgement(
        c.sample, "judge", "candidate", (c.id,), axis, Finding(Outcome.VERDICT, value), Provenance("judge@1", "v")
    )


def figures(*samples: tuple[SampleRows, list, list]) -> dict:
    """The report on (rows, judgements, pairs)."""
    bench = JudgeBenchmark("judge", "bench")
    for rows, slips, pairs in samples:
        bench.add(rows.sample, {c.id: Answer(c.text) for c in rows.candidates}, slips, pairs)
    return json.loads(json.dumps(bench.report(), allow_nan=False))


def shown(of: dict, *names: str) -> list[tuple[int, float] | None]:
    return [of[name] and (of[name]["n"], of[name]["share"]) for name in names]


def test_accuracy_by_category_with_the_length_baseline_beside_it():
    samples = []
    for i, (category, verdict) in enumerate((("long", 1), ("long", 1), ("long", -1), ("video", 1), ("video", 0))):
        rows = sample_of("one two", "one", question=f"{i} ?", category=category)
        a, b = rows.candidates
        # in `long` the answer of two words is better, in `video` the other
        good, bad = (a, b) if category == "long" else (b, a)
        samples.append((rows, [compared(good, bad, verdict, step="judge")], [better(good, bad)]))
    found = figures(*samples)
    assert list(found["categories"]) == ["long", "video", "all"]
    third = pytest.approx(2 / 3, abs=1e-4)
    assert shown(found["categories"]["long"], "accuracy", "longer") == [(3, third), (3, 1.0)]
    # one right, and a tie, which is not
    assert shown(found["categories"]["video"], "accuracy", "longer", "decided", "accuracy_of_decided") == [
        (2, 0.5),
        (2, 0.0),
        (2, 0.5),
        (1, 1.0),
    ]
    assert shown(found["categories"]["all"], "accuracy", "longer") == [(5, 0.6), (5, 0.6)]
    assert found["macro"] == {"accuracy": pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-4), "longer": 0.5}
    assert found["worth"]["longer"]["n"] == 4  # the tie chose nothing


def test_acc_plus_is_of_prompts_all_whose_pairs_are_right():
    def prompt(question: str, *verdicts: float | None):
        rows = sample_of("good", *(f"bad {i}" for i in range(len(verdicts))), question=question)
        good, *bad = rows.candidates
        return (
            rows,
            [compared(good, b, v, step="judge") for b, v in zip(bad, verdicts, strict=True)],
            [better(good, b) for b in bad],
        )

    found = figures(prompt("1 ?", 1, 1), prompt("2 ?", 1, -1), prompt("3 ?", 1, None), prompt("4 ?", 1))["categories"][
        "all"
    ]
    # pairs: right 1 1 | right wrong | right unreadable | right = 5 of 6 read, 7 in all; prompts that could be judged whole: 1, 2, 4
    assert shown(found, "accuracy", "read", "accuracy_plus") == [
        (6, pytest.approx(5 / 6, abs=1e-4)), (7, pytest.approx(6 / 7, abs=1e-4)), (3, pytest.approx(2 / 3, abs=1e-4)),
    ]  # fmt: skip
    assert found["pairs"] == 7


def test_votes_on_a_pair_count_by_their_sum_and_a_contradiction_is_not_right():
    votes = ((1, 0, 0), (-1, 1, 0), (1, 0, 1), (1, 1, 1))  # (value, order, attempt)
    rows = sample_of("good", "bad", question="1 ?")
    a, b = rows.candidates
    slips = [compared(a, b, v, order=order, attempt=attempt, step="judge") for v, order, attempt in votes]
    assert shown(figures((rows, slips, [better(a, b)]))["categories"]["all"], "accuracy") == [(1, 1.0)]
    found = figures((rows, slips[:2], [better(a, b)]))
    assert shown(found["categories"]["all"], "accuracy", "decided", "read") == [(1, 0.0), (1, 0.0), (1, 1.0)]
    assert shown(found["worth"], "contradicted") == [(1, 1.0)]


def test_known_ties_count_where_ties_count():
    def pair_of(question: str, known: float, said: float):
        rows = sample_of("x", "y", question=question)
        a, b = rows.candidates
        outcome = Outcome.VERDICT if known else Outcome.TIE
        human = judgement(
            a.sample, "bench", "pair", (a.id, b.id), "preference", Finding(outcome, known), Provenance("mllm_judge")
        )
        pairs = [better(*((a, b) if known > 0 else (b, a)))] if known else []
        return rows, [human, compared(a, b, said, step="judge")], pairs

    found = figures(pair_of("1 ?", 0, 0), pair_of("2 ?", 0, 1), pair_of("3 ?", -1, -1), pair_of("4 ?", 1, 0))[
        "categories"
    ]["all"]
    assert shown(found, "accuracy", "accuracy_with_ties", "accuracy_of_decided") == [(2, 0.5), (4, 0.5), (1, 1.0)]


def test_scores_correlate_and_rankings_have_a_distance():
    samples = []
    for i, (human, judge) in enumerate(((1, 2), (2, 1), (3, 4), (5, 5))):
        rows = sample_of("x", question=f"{i} ?")
        samples.append((rows, [theirs(rows.candidates[0], human, "rating"), ours(rows.candidates[0], judge)], []))
    ranked = sample_of("a", "b", "c", question="r ?")
    slips = [theirs(c, -place, "rank") for place, c in enumerate(ranked.candidates)]
    slips += [ours(c, value) for c, value in zip(ranked.candidates, (5, 1, 3), strict=True)]
    found = figures(*samples, (ranked, slips, []))["categories"]["all"]
    # x: 1 2 3 5 (mean 2.75), y: 2 1 4 5 (mean 3): 8 / sqrt(8.75 x 10)
    assert (found["scores"]["n"], found["scores"]["r"]) == (4, pytest.approx(8 / 87.5**0.5, abs=1e-4))
    # a b c against a c b: two replacements of three
    assert shown(found, "rank_distance") == [(1, pytest.approx(2 / 3, abs=1e-4))]
    # a > b and a > c are right, b > c is wrong
    assert shown(found, "accuracy") == [(3, pytest.approx(2 / 3, abs=1e-4))]


def test_the_distance_is_levenshteins():
    assert levenshtein(list("kitten"), list("sitting")) == 3
    assert levenshtein([], list("ab")) == 2
    assert levenshtein(list("abcd"), list("abcd")) == 0


def test_a_dead_judge_has_no_accuracy():
    rows = sample_of("x", "y", question="1 ?")
    a, b = rows.candidates
    found = figures((rows, [compared(a, b, None, step="judge")], [better(a, b)]))
    assert shown(found["categories"]["all"], "accuracy", "accuracy_plus", "read", "longer") == [
        None,
        None,
        (1, 0.0),
        (1, 0.5),  # as many words: a coin
    ]
    assert found["macro"]["accuracy"] is None
    assert figures((rows, [], [better(a, b)]))["worth"] is None
