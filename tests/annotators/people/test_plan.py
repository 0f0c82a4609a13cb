"""Which questions go to people."""

from collections import Counter

import pytest
from pydantic import ValidationError

from annotators.people import plan
from annotators.people.question import Task, order, uid
from annotators.people.settings import Settings
from schemas.records import Finding, Outcome, judgement
from tests.support.people import rows


def asked(seen, settings, before=()):
    drafts = plan.drafts(seen, settings, lambda media: dict.fromkeys(media, "image/png"))
    chosen = plan.select(drafts, settings, dict(before))
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
