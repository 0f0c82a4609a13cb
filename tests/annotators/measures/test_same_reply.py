import random

from annotators.measures.same_reply import ENOUGH, SameReplies
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, judgement
from tests.support.rows import rows_of


def answers(n: int, question: int) -> list[Candidate]:
    return rows_of([f"answer {i}" for i in range(n)], question=f"question {question} ?").candidates


def rated(
    found: list[Candidate],
    values,
    step: str = "rate",
    axis: str = "rating",
    raw: str | None = "reply",
    alone: bool = False,
) -> list[Judgement]:
    """Ratings of answers shown in this order."""
    return [
        judgement(c.sample, step, "candidate", (c.id,), axis, Finding(Outcome.VERDICT, float(value), raw=raw), Provenance("m@1", "v", 0 if alone else place))
        for place, (c, value) in enumerate(zip(found, values, strict=True))
    ]  # fmt: skip


def compared(a: Candidate, b: Candidate, value: float, order: int) -> list[Judgement]:
    outcome = Outcome.VERDICT if value else Outcome.TIE
    return [
        judgement(
            a.sample,
            "rate",
            "pair",
            (a.id, b.id),
            "preference",
            Finding(outcome, value, raw="x"),
            Provenance("m@1", "v", order),
        )
    ]


def figure(*samples: list[Judgement], step: str = "rate"):
    replies = SameReplies()
    for judgements in samples:
        replies.add(judgements)
    return replies.figure(step)


def test_ratings_by_place_are_one_reply_whatever_the_answers():
    # 32 times 1, 2, 3, 4 and 7 times all equal: every preference is by place
    samples = [rated(answers(4, i), (1, 2, 3, 4) if i < 32 else (1, 1, 1, 1)) for i in range(39)]
    found = figure(*samples)
    assert found == {
        "n": 32,
        "share": 1.0,
        "reply": "ranks 4, 3, 2, 1 in the order shown",
        "named": True,
        "by_place": True,
    }


def test_of_pairs_the_place_counts_not_the_item():
    def first(i: int) -> list[Judgement]:
        a, b = answers(2, i)
        return compared(a, b, -1.0 if i % 2 else 1.0, order=i % 2)  # the one shown first is better

    assert figure(*map(first, range(40))) == {
        "n": 40,
        "share": 1.0,
        "reply": "the first is better",
        "named": True,
        "by_place": True,
    }
    # always the first item, shown first in every other question: half and half
    honest = [compared(*answers(2, i), 1.0, order=i % 2) for i in range(40)]
    assert figure(*honest)["share"] == 0.5
    assert not figure(*honest)["named"]


def test_a_judge_that_always_says_tie_tells_nothing_apart_but_its_ties_make_no_pair():
    found = figure(*[compared(*answers(2, i), 0.0, order=0) for i in range(40)])
    assert (found["reply"], found["share"], found["named"], found["by_place"]) == ("all equal", 1.0, True, False)


def test_replies_about_different_numbers_of_answers_are_compared_among_themselves():
    samples = [rated(answers(2 + i % 2, i), range(2 + i % 2)) for i in range(2 * ENOUGH)]
    assert figure(*samples)["n"] == 2 * ENOUGH
    assert figure(*samples)["by_place"]
    assert figure(*samples[:-1])["n"] == ENOUGH  # nothing is said about the 19 with three answers


def test_judges_that_read_are_not_named():
    rng = random.Random(0)
    samples = [rated(answers(3, i), rng.sample(range(3), 3)) for i in range(60)]
    assert not figure(*samples)["named"]  # one of six orders each


def test_one_rating_for_nearly_all_single_answers_is_named_only_if_it_is_for_all():
    samples = [rated(answers(1, i), (5 if i else 4,), alone=True) for i in range(50)]
    assert (figure(*samples)["reply"], figure(*samples)["named"]) == ("value 5", False)  # 49 of 50
    found = figure(*samples[1:])
    assert (found["named"], found["by_place"]) == (True, False)


def test_what_is_no_reply_of_a_model_is_not_counted():
    def of(**known) -> list[list[Judgement]]:
        return [[s._replace(**known) for s in rated(answers(2, i), (1, 2))] for i in range(30)]

    assert figure(*of()) is not None
    for known in (
        {"raw": None},
        {"parents": ("x",)},
        {"version": None},
        {"annotator": "person:1"},
        {"axis": "truth"},
        {"axis": "blind"},
        {"outcome": "unparsable"},
    ):
        assert figure(*of(**known)) is None, known
    assert figure(*of()[: ENOUGH - 1]) is None


def test_memory_does_not_grow_with_the_replies():
    replies = SameReplies()
    for i in range(1500):
        replies.add(rated(answers(1, 0), (i,), alone=True))
    assert sum(len(counts) for counts in replies._replies.values()) == 1001  # and one for all others
    assert replies.figure("rate")["n"] == 1500
