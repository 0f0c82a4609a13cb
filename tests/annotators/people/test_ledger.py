"""The ledger: append-only by revision, the latest counts, and nothing depends on the order in which things were noted."""

import os
import sqlite3

import pytest

from annotators.people.ledger import Ledger, Project
from annotators.people.question import AxisVerdict
from annotators.people.settings import Settings
from schemas.errors import StoreError
from schemas.records import Outcome
from tests.support.people import planned, rows, says, spoils

ONE = Settings(repeat=0)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def test_questions_come_back_as_they_went_in_and_only_once(ledger, tmp_path):
    first = planned(ledger, [rows(1), rows(2)], ONE)
    assert planned(ledger, [rows(1), rows(2)], ONE) == first
    assert len(first) == 2
    again = Ledger(tmp_path)
    assert list(again.questions()) == first
    again.close()


def test_what_asks_about_answers_that_are_gone_is_withdrawn_and_comes_back(ledger):
    one, two = planned(ledger, [rows(1), rows(2)], ONE)
    says(ledger, two, 3, 2.0)
    assert ledger.withdraw({one.uid}) == 1
    assert [q.uid for q in ledger.questions()] == [one.uid]
    assert list(ledger.answers()) == []
    assert ledger.withdraw({one.uid, two.uid}) == 0
    assert [a.person for a in ledger.answers()] == [3]


def test_an_edit_is_a_revision_and_the_latest_counts(ledger):
    (q,) = planned(ledger, [rows(1)], ONE)
    assert says(ledger, q, 3, 2.0, id=7) == "new"
    assert says(ledger, q, 3, 2.0, id=7) == "same"
    assert says(ledger, q, 3, -1.0, id=7, updated="2026-01-02") == "changed"
    (answer,) = ledger.answers()
    assert answer.revision == 1
    assert answer.reply.said == (AxisVerdict("preference", (0, 1), Outcome.VERDICT, -1.0),)
    assert [(n, gone, r.said[0].value) for n, _, gone, r in ledger.history(7)] == [(0, False, 2.0), (1, False, -1.0)]


def test_a_deleted_annotation_leaves_a_tombstone_once_and_may_come_back(ledger):
    (q,) = planned(ledger, [rows(1)], ONE)
    says(ledger, q, 3, 2.0, id=7)
    assert ledger.delete([7, 8]) == 1
    assert ledger.delete([7]) == 0
    assert list(ledger.answers()) == []
    assert ledger.answered() == {}
    assert says(ledger, q, 3, 2.0, id=7) == "changed"
    assert [gone for _, _, gone, _ in ledger.history(7)] == [False, True, False]
    assert len(list(ledger.answers())) == 1


def test_of_two_annotations_by_one_person_the_later_counts(ledger):
    (q,) = planned(ledger, [rows(1)], ONE)
    says(ledger, q, 3, -2.0, id=9, updated="2026-01-02")
    says(ledger, q, 3, 2.0, id=10, updated="2026-01-01")
    says(ledger, q, 4, 1.0, id=11)
    assert [(a.person, a.reply.said[0].value) for a in ledger.answers()] == [(3, -2.0), (4, 1.0)]
    assert ledger.extra() == 1
    assert ledger.answered() == {q.uid: 2}


def test_what_cannot_be_used_is_kept_with_its_reason_and_counts_as_answered(ledger):
    (q,) = planned(ledger, [rows(1)], ONE)
    assert spoils(ledger, q, 5) == "new"
    assert list(ledger.answers()) == []
    assert [(uid, person, reason) for _, uid, person, reason, _ in ledger.problems()] == [(q.uid, 5, "missing_verdict")]
    assert ledger.answered() == {q.uid: 1}


def test_a_lost_task_is_sent_anew(ledger):
    one, two = planned(ledger, [rows(1), rows(2)], ONE)
    ledger.keep_project(Project("p", 5, "f", None, False))
    ledger.sent("p", [(one.uid, 11), (two.uid, 12)])
    assert list(ledger.unsent()) == []
    says(ledger, one, 3, 1.0, id=7, task=11)
    assert ledger.live("p") == {7: 11}
    assert ledger.of_task(11) == {7}
    ledger.lose([one.uid])
    assert [q.uid for q in ledger.unsent()] == [one.uid]
    assert ledger.tasks("p") == {12: two.uid}


def test_together_is_all_or_nothing(ledger):
    (q,) = planned(ledger, [rows(1)], ONE)

    def half():
        with ledger.together():
            says(ledger, q, 3, 1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(ledger.answers()) == []


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    Ledger(tmp_path).close()
    db = sqlite3.connect(tmp_path / "ledger.sqlite")
    db.execute("pragma user_version=99")
    db.commit()
    db.close()
    with pytest.raises(StoreError, match="newer Pairwright"):
        Ledger(tmp_path)


def test_a_pipe_in_place_of_the_lock_is_said_and_not_waited_for(tmp_path):
    book = Ledger(tmp_path)
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(StoreError, match=r"\.lock: a pipe, .* is in its place; move that away"), book.alone():
        pass
    book.close()
