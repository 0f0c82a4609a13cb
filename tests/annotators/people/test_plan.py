"""Which questions go to people."""

from collections import Counter

import pytest
from pydantic import ValidationError

from annotators.people import plan
from annotators.people.question import Task, order, uid
from annotators.people.settings import Settings
from schemas.records import Finding, Outcome, judgement, pair
from tests.support.people import rows


def asked(seen, settings, before=()):
    drafts = plan.drafts(seen, settings, lambda media: dict.fromkeys(media, "image/png"))
    chosen = plan.select_drafts(drafts, settings, dict(before))
    return [q for draft in chosen for q in plan.questions(draft, "campaign", settings)]


def test_one_question_a_prompt_about_two_different_answers():
    (q,) = asked([rows(1, 4)], Settings(repeat=0))
    assert q.task == Task.PAIRWISE
    assert len(q.items) == 2
    assert q.prompt == "what is shown in picture 1 ?"
    assert q.media == ((f"{1:064x}", "image/png"),)
    texts = {c.id: c.text for c in rows(1, 4).candidates}
    assert [texts[q.items[place]] for place in q.order] == list(q.texts)


def test_equal_answers_are_no_question():
    seen = rows(1, 2)
    seen.candidates[1] = seen.candidates[1]._replace(text=seen.candidates[0].text)
    assert asked([seen], Settings(repeat=0)) == []
    assert asked([rows(1, 1)], Settings(repeat=0)) == []


@pytest.mark.parametrize(("task", "items"), [(Task.RANKING, 4), (Task.RATINGS, 1), (Task.CORRECT, 1), (Task.SAFETY, 1)])
def test_each_task_asks_about_as_many_answers_as_it_shows(task, items):
    (q,) = asked([rows(1, 4)], Settings(task=task, repeat=0))
    assert len(q.items) == len(q.texts) == items


def test_sides_are_drawn_by_seed_and_question():
    first = [order(uid("c", "pairwise", str(n), ("a", "b"), "", 0), 2, 0) for n in range(1000)]
    swapped = sum(o == (1, 0) for o in first)
    assert 450 < swapped < 550  # half of 1,000 give or take three standard deviations of 16
    assert first != [order(uid("c", "pairwise", str(n), ("a", "b"), "", 0), 2, 1) for n in range(1000)]


def test_a_repeat_is_shown_the_other_way_round_under_another_name():
    found = asked([rows(n) for n in range(40)], Settings(repeat=1))
    assert len(found) == 80
    for one, two in zip(found[::2], found[1::2], strict=True):
        assert (one.ask, two.ask) == (0, plan.SWAPPED)
        assert one.items == two.items
        assert one.order == two.order[::-1]
        assert one.texts == two.texts[::-1]
        assert one.uid != two.uid
    some = asked([rows(n) for n in range(1000)], Settings(repeat=0.05))
    assert 1030 < len(some) < 1075  # 50 of 1,000 give or take three standard deviations of 7


def test_desks_share_the_work_and_draw_their_own_sides():
    settings = Settings(repeat=0, overlap=2, desks=("anna", "ben", "chris"))
    found = asked([rows(n) for n in range(300)], settings)
    assert len(found) == 600
    often = Counter(q.desk for q in found)
    assert all(160 < often[desk] < 240 for desk in settings.desks)  # 200 each give or take three deviations of 12
    same = sum(a.order == b.order for a, b in zip(found[::2], found[1::2], strict=True))
    assert all(a.desk != b.desk and a.items == b.items for a, b in zip(found[::2], found[1::2], strict=True))
    assert 120 < same < 180  # sides are drawn anew for the second desk: alike half of the time


def test_a_budget_counts_annotations():
    # 2 people a question, a quarter of them repeated: 2.5 annotations a question, so 100 pay for 40
    found = asked([rows(n) for n in range(500)], Settings(budget=100, overlap=2, repeat=0.25))
    assert len({q.items for q in found}) == 40


def test_the_unsure_are_asked_first():
    seen = [rows(n, scores=(0.0, -float(n % 10))) for n in range(100)]
    found = asked(seen, Settings(route="unsure", budget=30, repeat=0))
    # scores differ by 0 in 10 samples, by 1 in the next 10, by 2 in the next: those are the 30
    sure = {r.sample.id for r in seen if abs(r.judgements[1].value) > 2}
    assert len(found) == 30
    assert not sure & {q.sample for q in found}


def test_only_where_judges_contradict_each_other():
    seen = [rows(n, scores=(0.0, -1.0)) for n in range(10)]
    for place, r in enumerate(seen):
        other = (1.0, 0.0) if place % 2 else (0.0, 1.0)
        r.judgements += [
            judgement(r.sample.id, "second", "candidate", (c.id,), "score", Finding(Outcome.VERDICT, value))
            for c, value in zip(r.candidates, other, strict=True)
        ]
    found = asked(seen, Settings(route="disagree", repeat=0))
    assert {q.sample for q in found} == {r.sample.id for place, r in enumerate(seen) if place % 2 == 0}


def test_gold_questions_are_mixed_in_and_look_like_any():
    seen = [rows(n, truth=(0.0, -1.0) if n % 2 else ()) for n in range(200)]
    found = asked(seen, Settings(gold=0.1, budget=100, repeat=0))
    gold = [q for q in found if q.gold is not None]
    assert len(found) == 100
    assert len(gold) == 10
    assert all(q.gold[0] > q.gold[1] for q in gold)
    places = [i for i, q in enumerate(found) if q.gold]
    assert min(places) < 40  # somewhere among the others: ten in the last 60 of 100 have a chance of 0.4 %
    assert max(places) > 60
    everything = asked(seen, Settings(gold=0.1, repeat=0))
    assert len(everything) == 200
    assert sum(q.gold is not None for q in everything) == 20


def test_what_was_asked_stays_asked_when_more_comes_in():
    settings = Settings(route="unsure", budget=10, repeat=0)
    first = asked([rows(n, scores=(0.0, -5.0)) for n in range(20)], settings)
    more = [rows(n, scores=(0.0, -5.0)) for n in range(20)] + [rows(n, scores=(0.0, 0.0)) for n in range(20, 40)]
    later = asked(more, settings, {(q.sample, q.items): False for q in first})
    assert {q.uid for q in later} == {q.uid for q in first}


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "ratings", "gold": 0.1},
        {"task": "ranking", "of": "pairs"},
        {"overlap": 3, "most": 2},
        {"overlap": 2, "desks": ("anna",)},
        {"prelabels": "score", "gold": 0.1},
        {"prelabels": "score", "overlap": 2},
        {"task": "essay"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


@pytest.mark.parametrize("task", [Task.RATINGS, Task.CORRECT, Task.SAFETY])
@pytest.mark.parametrize("route", ["unsure", "disagree"])
def test_routing_needs_answers_to_compare(task, route):
    with pytest.raises(ValidationError, match="`route` compares the answers of a question"):
        Settings(task=task, route=route)


def said(row, items, axis: str, value: float | None, outcome: Outcome = Outcome.VERDICT, step: str = "other") -> None:
    """A Judgement of an answer, or of two."""
    target = "candidate" if len(items) == 1 else "pair"
    row.judgements.append(
        judgement(row.sample.id, step, target, tuple(c.id for c in items), axis, Finding(outcome, value))
    )


def pairs_of(row, *places: tuple[int, int]) -> None:
    row.pairs += [pair(row.sample.id, "pair", row.candidates[a], row.candidates[b]) for a, b in places]


def test_a_pair_is_asked_in_the_order_of_its_answers_whichever_is_chosen():
    row = rows(1, 3)
    pairs_of(row, (2, 0), (0, 1))
    first, second, third = (c.id for c in row.candidates)
    found = asked([row], Settings(of="pairs", repeat=0))
    assert {q.items for q in found} == {(first, third), (first, second)}


@pytest.mark.parametrize("gone", [0, 2])
def test_a_pair_with_an_answer_that_is_gone_is_no_question(gone):
    row = rows(1, 3)
    pairs_of(row, (2, 0))
    del row.candidates[gone]
    assert asked([row], Settings(of="pairs", repeat=0)) == []


def test_one_answer_is_no_ranking():
    assert asked([rows(1, 1)], Settings(task=Task.RANKING, repeat=0)) == []


def first_asked(seen, **settings) -> str:
    """The sample of the only question that the budget allows."""
    (q,) = asked(seen, Settings(budget=1, repeat=0, **settings))
    return q.sample


def test_doubt_is_the_difference_of_scores_and_not_their_size():
    # the first sample's scores differ by 4 - 4 = 0, the second's by 2 - -2 = 4
    seen = [rows(1, scores=(4.0, 4.0)), rows(2, scores=(2.0, -2.0))]
    assert first_asked(seen, route="unsure") == seen[0].sample.id
    assert first_asked(seen[::-1], route="unsure") == seen[0].sample.id


def test_an_answer_without_a_score_is_in_the_greatest_doubt():
    # 0.5 apart; one score; none
    known, half, none = rows(1, scores=(1.0, 0.5)), rows(2, scores=(1.0,)), rows(3)
    assert first_asked([known, half], route="unsure") == half.sample.id
    assert first_asked([known, none], route="unsure") == none.sample.id


def test_only_verdicts_on_answers_on_the_routes_axis_tell_of_doubt():
    sure, unsure = rows(1, scores=(3.0, 0.0)), rows(2, scores=(2.0, 0.0))
    a, b = sure.candidates  # each of these would make the scores of the sure one equal, were it counted
    said(sure, (a,), "truth", 0.0, step="score")
    said(sure, (a,), "score", 0.0, Outcome.ABSTAIN, step="score")
    said(sure, (a,), "score", None, step="score")
    said(sure, (a, b), "score", 0.0, step="score")
    assert first_asked([sure, unsure], route="unsure") == unsure.sample.id


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_tie_contradicts_nobody(way):
    row = rows(1, scores=(0.0, 0.0))
    for c, value in zip(row.candidates, (way, 0.0), strict=True):
        said(row, (c,), "score", value, step="second")
    assert asked([row], Settings(route="disagree", repeat=0)) == []


def test_a_judge_who_left_one_out_contradicts_nobody():
    row = rows(1, scores=(0.0, 1.0))
    said(row, row.candidates[:1], "score", 5.0, step="second")
    assert asked([row], Settings(route="disagree", repeat=0)) == []


@pytest.mark.parametrize(("truth", "gold"), [((1.0, 0.0), (1.0, 0.0)), ((1.0, 1.0), None), ((1.0,), None), ((), None)])
def test_a_question_is_gold_where_the_truth_of_all_its_answers_tells_them_apart(truth, gold):
    (q,) = asked([rows(1, truth=truth)], Settings(gold=1, repeat=0))
    assert q.gold == gold


def prelabel(row, **settings) -> float | None:
    (q,) = asked([row], Settings(prelabels="score", repeat=0, **settings))
    return q.prelabel


def test_a_review_of_two_answers_shows_by_how_much_the_first_is_better():
    row = rows(1, scores=(3.0, 1.0))
    assert prelabel(row) == 3 - 1
    assert asked([row], Settings(repeat=0))[0].prelabel is None  # no review
    assert prelabel(rows(1, scores=(3.0,))) is None
    said(row, row.candidates[::-1], "score", 9.0)  # of the two the other way round: not this question
    said(row, row.candidates, "preference", 8.0)  # another axis
    said(row, row.candidates, "score", None, Outcome.ABSTAIN)
    assert prelabel(row) == 2
    said(row, row.candidates, "score", -2.0)  # the verdict on the pair itself goes before the difference
    assert prelabel(row) == -2


def test_a_review_of_one_answer_shows_its_value():
    assert prelabel(rows(1, 1, scores=(4.0,)), task="ratings") == 4
    assert prelabel(rows(1, 1), task="ratings") is None


def test_of_what_was_asked_only_gold_questions_keep_what_is_known():
    row = rows(1, truth=(1.0, 0.0))
    settings = Settings(gold=0.5, repeat=0)
    items = tuple(c.id for c in row.candidates)
    for was_gold, gold in ((True, (1.0, 0.0)), (False, None)):
        (q,) = asked([row], settings, {(row.sample.id, items): was_gold})
        assert q.gold == gold


def test_gold_that_was_asked_counts_into_the_share():
    seen = [rows(n, truth=(1.0, 0.0)) for n in range(20)]
    before = {(r.sample.id, tuple(c.id for c in r.candidates)): True for r in seen[:4]}

    def golden(asked_before: dict, **settings) -> tuple[int, int]:
        found = asked(seen, Settings(repeat=0, **settings), asked_before)
        return len(found), sum(q.gold is not None for q in found)

    assert golden(before, gold=0.5) == (20, 10)  # half of 20: 4 asked before and 6 more
    assert golden(dict.fromkeys(before, False), gold=0.5) == (20, 10)  # none of the 4 was gold: 10 more
    assert golden(before, gold=0.5, budget=12) == (12, 6)  # half of 12: 4 before and 2 more
    assert golden(before, gold=0.1, budget=12) == (
        12,
        4,
    )  # a tenth of 12 is 1: those asked before stay, and no more come


def test_one_answer_is_not_asked_about_twice():
    assert len(asked([rows(1)], Settings(task="ratings", repeat=1))) == 1


def test_a_first_question_is_shown_in_the_order_of_its_name():
    """A campaign that goes on shows each question as it was shown: the drawn order for the first, its reverse for the repeat."""
    for one, two in [asked([rows(n)], Settings(repeat=1, seed=4)) for n in range(10)]:
        assert one.order == order(one.uid, 2, 4)
        assert two.order == order(one.uid, 2, 4)[::-1]


def test_a_shared_question_is_for_all_who_are_to_judge_it_and_one_of_a_desk_for_one():
    (shared,) = asked([rows(1)], Settings(overlap=3, repeat=0))
    assert (shared.desk, shared.people) == ("", 3)
    own = asked([rows(1)], Settings(overlap=2, desks=("anna", "ben"), repeat=0))
    assert {(q.desk, q.people) for q in own} == {("anna", 1), ("ben", 1)}
