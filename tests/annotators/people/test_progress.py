"""How far people are, and where one more is asked."""

import json

import pytest

from annotators.measures import annotator_quality
from annotators.people import snapshot
from annotators.people.ledger import Ledger, Project
from annotators.people.progress import State, disagreement, follow_ups, progress, question_states
from annotators.people.question import AxisVerdict, ParsedAnnotation
from annotators.people.settings import Settings
from schemas.records import Outcome, Span
from tests.support.people import planned, rows, says, spoils

TWO = Settings(repeat=0, overlap=2, most=3)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def states(ledger, settings):
    return {s.questions[0].uid: s.state for s in question_states(ledger, settings)}


def test_every_state_of_a_question(ledger):
    seen = planned(ledger, [rows(n) for n in range(8)], TWO)
    planned_, pushed, partial, agreed, disputed, undecided, skipped, broken = seen
    ledger.keep_project(Project("p", 1, "f", None, False))
    ledger.sent("p", [(q.uid, i) for i, q in enumerate(seen) if q is not planned_])
    says(ledger, partial, 3, 1.0)
    for q, one, two in ((agreed, 1.0, 2.0), (disputed, 1.0, -1.0), (undecided, 1.0, None), (skipped, None, None)):
        says(ledger, q, 3, one)
        says(ledger, q, 4, two)
    for person in (3, 4):
        reply = ParsedAnnotation(
            (
                AxisVerdict("preference", (0, 1), Outcome.ABSTAIN),
                AxisVerdict("media_broken", (0, 1), Outcome.VERDICT, 1.0),
            )
        )
        says(ledger, broken, person, 0.0, id=100 + person)
        ledger.record(_annotation(100 + person, broken, person), reply)
    assert states(ledger, TWO) == {
        planned_.uid: State.PLANNED, pushed.uid: State.PUSHED, partial.uid: State.PARTIAL, agreed.uid: State.AGREED,
        disputed.uid: State.DISPUTED, undecided.uid: State.UNDECIDED, skipped.uid: State.SKIPPED_ALL,
        broken.uid: State.MEDIA_BROKEN,
    }  # fmt: skip
    found = progress(ledger, TWO)
    assert (found.asked, found.answered) == (
        16,
        11,
    )  # 8 questions for 2 each; 1 answer to one of them, 2 to each of five
    assert not found.done


def _annotation(id, question, person):
    from annotators.people.ledger import Annotation

    return Annotation(id, 1, question.uid, person, "2026-01-02", False, 9.0, [])


def test_one_more_is_asked_where_people_disagree_until_enough_were(ledger):
    agreed, disputed, skipped = planned(ledger, [rows(n) for n in range(3)], TWO)
    for q, one, two in ((agreed, 1.0, 1.0), (disputed, 1.0, -1.0), (skipped, None, None)):
        says(ledger, q, 3, one)
        says(ledger, q, 4, two)
    more = follow_ups(ledger, "c", TWO)
    assert {(m.question.uid, m.people) for m in more} == {(disputed.uid, 3), (skipped.uid, 3)}
    ledger.ask_more(disputed.uid, 3)
    ledger.ask_more(skipped.uid, 3)
    assert not progress(ledger, TWO).done
    assert follow_ups(ledger, "c", TWO) == []  # the third has not answered
    says(ledger, disputed, 5, -1.0)
    says(ledger, skipped, 5, None)
    assert follow_ups(ledger, "c", TWO) == []  # three were asked
    assert progress(ledger, TWO).done


def test_on_desks_one_more_is_another_desk(ledger):
    settings = Settings(repeat=0, overlap=2, most=3, desks=("anna", "ben", "chris"))
    one, two = planned(ledger, [rows(1)], settings)
    says(ledger, one, 3, 1.0)
    says(ledger, two, 4, -1.0)
    (more,) = follow_ups(ledger, "c", settings)
    assert {one.desk, two.desk, more.question.desk} == {"anna", "ben", "chris"}
    assert more.question.items == one.items


def test_the_budget_stops_asking(ledger):
    settings = TWO.model_copy(update={"budget": 6})
    found = planned(ledger, [rows(n) for n in range(5)], settings)
    assert len(found) == 2  # 6 annotations pay for 2 questions of at most 3
    for q in found:
        says(ledger, q, 3, 1.0)
        says(ledger, q, 4, -1.0)
    assert len(follow_ups(ledger, "c", settings)) == 2  # 4 are spent, 2 are left
    assert len(follow_ups(ledger, "c", TWO.model_copy(update={"budget": 5}))) == 1


def test_what_cannot_be_used_is_an_answer_without_a_verdict(ledger):
    (q,) = planned(ledger, [rows(1)], TWO)
    says(ledger, q, 3, 1.0)
    spoils(ledger, q, 4)
    assert states(ledger, TWO) == {q.uid: State.UNDECIDED}
    assert [m.people for m in follow_ups(ledger, "c", TWO)] == [3]


@pytest.mark.parametrize(
    ("task", "said", "expected"),
    [
        ("pairwise", [(2.0,), (1.0,)], False),  # how much better is no disagreement
        ("pairwise", [(1.0,), (0.0,)], True),
        ("ranking", [(0.0, -1.0, -2.0), (0.0, -2.0, -1.0)], False),  # the same is best
        ("ranking", [(0.0, -1.0), (-1.0, 0.0)], True),
        ("ratings", [(4.0,), (5.0,)], False),
        ("ratings", [(3.0,), (5.0,)], True),
        ("correct", [(-1.0,), (-3.0,)], False),
        ("correct", [(0.0,), (-1.0,)], True),
        ("safety", [(1.0,), (0.0,)], True),
    ],
)
def test_when_people_disagree(task, said, expected):
    assert disagreement(said, Settings(task=task)) is expected


def test_a_snapshot_is_named_by_what_was_said_and_never_changes(ledger, tmp_path):
    one, two = planned(ledger, [rows(1), rows(2)], TWO)
    says(ledger, one, 3, 2.0, id=7)
    says(ledger, two, 3, None)
    key, first = snapshot.take_snapshot(ledger, tmp_path / "snapshots", "people", "v")
    assert snapshot.take_snapshot(ledger, tmp_path / "snapshots", "people", "v")[0] == key
    (slip,) = first.of(one.sample)
    assert (slip.target, slip.items, slip.axis, slip.outcome, slip.value) == (
        "pair",
        one.items,
        "preference",
        "verdict",
        2.0,
    )
    assert (slip.annotator, slip.order, json.loads(slip.raw)) == ("person:3", one.order[0], {"seconds": 9.0})
    assert [s.outcome for s in first.of(two.sample)] == ["abstain"]
    assert first.of("nobody") == []
    says(ledger, one, 3, -2.0, id=7, updated="2026-01-02")
    later, second = snapshot.take_snapshot(ledger, tmp_path / "snapshots", "people", "v")
    assert later != key
    assert [(s.value, s.revision) for s in second.of(one.sample)] == [(-2.0, 1)]
    assert [(s.value, s.revision) for s in first.of(one.sample)] == [(2.0, 0)]


def test_a_correction_is_a_candidate_with_its_parent_and_the_faults_that_were_marked(ledger, tmp_path):
    settings = Settings(task="correct", repeat=0)
    (q,) = planned(ledger, [rows(1)], settings)
    reply = ParsedAnnotation(
        (AxisVerdict("faults", (0,), Outcome.VERDICT, -1.0),), "a better answer",
        (Span(0, 6, label="object", severity=2.0, correction="reply"),), "wrong thing",
    )  # fmt: skip
    ledger.record(_annotation(1, q, 3), reply)
    _, found = snapshot.take_snapshot(ledger, tmp_path / "s", "people", "v")
    edited, slip = found.of(q.sample)
    assert (edited.text, edited.parent, edited.model) == ("a better answer", q.items[0], "person:3")
    assert json.loads(slip.raw) == {
        "seconds": 9.0, "rationale": "wrong thing", "spans": [[0, 6, "object", 2.0, "reply"]],
    }  # fmt: skip


def test_people_are_measured_by_gold_sides_and_repeats(ledger):
    settings = Settings(repeat=1, gold=1)
    found = planned(ledger, [rows(n, truth=(0.0, -1.0)) for n in range(10)], settings)
    for q in found:
        says(ledger, q, 3, 1.0)  # knows: the first is better
        says(ledger, q, 4, 1.0 if q.order[0] == 0 else -1.0)  # always takes the left one
    report = annotator_quality.report(ledger, settings)
    knows, left = report["annotators"]["person:3"], report["annotators"]["person:4"]
    assert knows["gold"]["share"] == 1.0
    assert (knows["repeats"]["share"], left["repeats"]["share"]) == (1.0, 0.0)
    assert (knows["left"]["share"], left["left"]["share"]) == (0.5, 1.0)  # 20 questions, half of them each way round
    assert left["gold"]["share"] == 0.5
    assert any("left" in flag for flag in left["flags"])
    assert knows["flags"] == []


def test_a_review_measures_nobody(ledger):
    settings = Settings(repeat=0, prelabels="score")
    (q,) = planned(ledger, [rows(1, scores=(0.0, -2.0))], settings)
    assert q.prelabel == 2.0
    says(ledger, q, 3, 1.0)
    assert annotator_quality.report(ledger, settings) is None
