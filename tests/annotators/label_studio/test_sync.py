"""Questions to a real Label Studio server and answers back, whatever goes wrong in between."""

import itertools
import re
import threading
from datetime import datetime, timedelta

import pytest

from annotators.label_studio import sync
from annotators.label_studio.client import connect
from annotators.label_studio.forms.tasks import STEPS
from annotators.label_studio.links import LocalFiles
from annotators.label_studio.local import local_server
from annotators.label_studio.sync import Sync
from annotators.people.ledger import Ledger
from annotators.people.progress import State, progress, question_states
from annotators.people.question import Question
from annotators.people.settings import Settings
from pipeline.storage.media_store import FolderStore
from schemas import messages
from schemas.errors import ServerError, UserError
from schemas.operator import SampleRows
from schemas.records import Finding, Outcome, Part, candidate, digest, judgement, sample
from tests.support.media_files import png
from tests.support.people import planned

numbers = itertools.count()


class Bench:
    """One campaign: a ledger, a server, and people who label through the API as the browser does."""

    def __init__(self, server, folder, sign_in=None, settings: Settings | None = None, campaign: str | None = None):
        self.server, self.sign_in = server, sign_in
        self.settings = settings or Settings(repeat=0)
        self.media = FolderStore(folder / "media")
        self.picture = self.media.add(png(16, 16))
        self.campaign = campaign or digest("test", next(numbers))
        self.ledger = Ledger(folder / "people")
        self.client = connect(server.url, server.key)
        self.sync = Sync(
            self.client,
            self.ledger,
            self.campaign,
            "test",
            self.settings,
            LocalFiles(server.files, self.media, lambda sha, mime: (sha, mime)),
        )

    def plan(self, count: int) -> list[Question]:
        return planned(self.ledger, [self.rows(n) for n in range(count)], self.settings, self.campaign)

    def rows(self, number: int) -> SampleRows:
        found = SampleRows(
            sample((messages.user(Part("image", media=self.picture), f"what is in picture {number} ?"),))
        )
        found.candidates = [candidate(found.sample.id, "sample", f"answer {number} {i}", index=i) for i in range(2)]
        return found

    @property
    def project(self) -> int:
        (project,) = self.ledger.projects()
        return project.id

    def answer(self, name: str, question: Question, value: float | None, **fields) -> int:
        """`value` > 0: the first item is better. None: skipped."""
        task = self.ledger.task_of(question.uid)
        body = {"result": preference(question, value), "lead_time": 5.0, "was_cancelled": value is None, **fields}
        reply = self.sign_in(name).post(f"/api/tasks/{task}/annotations/", json=body)
        return reply.raise_for_status().json()["id"]

    def edit(self, name: str, annotation: int, question: Question, value: float) -> None:
        body = {"result": preference(question, value)}
        self.sign_in(name).patch(f"/api/annotations/{annotation}/", json=body).raise_for_status()

    def said(self) -> dict[str, list[float | None]]:
        """{uid: what people said, by person}."""
        out: dict[str, list[float | None]] = {}
        for a in self.ledger.answers():
            out.setdefault(a.question.uid, []).append(a.reply.said[0].value if a.reply else None)
        return out

    def reasons(self) -> list[str]:
        return [reason for *_, reason, _ in self.ledger.problems()]

    def on_server(self) -> list[str | None]:
        return sorted(self.client.ids(self.project).values())


def preference(question: Question, value: float | None) -> list[dict]:
    if value is None:
        return []
    choice = STEPS[int(value if question.order[0] == 0 else -value)]
    return [
        {"id": "a", "from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": [choice]}}
    ]


@pytest.fixture
def bench(label_studio, sign_in, tmp_path):
    bench = Bench(label_studio, tmp_path, sign_in)
    yield bench
    bench.ledger.close()


def test_three_people_judge_three_hundred_tasks(label_studio, sign_in, tmp_path):
    """They share one project, each task for two of them; what they say comes back to the right answers."""
    bench = Bench(label_studio, tmp_path, sign_in, Settings(repeat=0, overlap=2, most=3))
    asked = bench.plan(300)
    assert bench.sync.push().counts["sent"] == 300
    assert bench.sync.push().counts["sent"] == 0
    assert bench.on_server() == sorted(q.uid for q in asked)
    names = ("ann", "bob", "cleo")
    some = asked[:30]
    for place, q in enumerate(some):
        for name in (names[place % 3], names[(place + 1) % 3]):
            bench.answer(name, q, 2.0 if place % 5 else (1.0 if name == names[place % 3] else -1.0))
    report = bench.sync.pull()
    assert (report.counts["new"], report.counts["quarantined"]) == (60, 0)
    found = bench.said()
    assert [sorted(found[q.uid]) for q in some] == [[2.0, 2.0] if n % 5 else [-1.0, 1.0] for n in range(30)]
    states = {s.questions[0].uid: s.state for s in question_states(bench.ledger, bench.settings)}
    assert [states[q.uid] for q in some] == [State.AGREED if n % 5 else State.DISPUTED for n in range(30)]
    assert bench.sync.pull().counts["new"] == 0
    work = bench.sync.work()
    assert work.counts["asked_again"] == 6  # every fifth of 30
    found = progress(bench.ledger, bench.settings)
    assert (found.asked, found.answered) == (606, 60)
    # the one who has not judged it yet gets a disputed task from the label stream, the others do not
    disputed = {bench.ledger.task_of(q.uid): n for n, q in enumerate(some) if not n % 5}
    third = sign_in(names[2])
    given = third.get(f"/api/projects/{bench.project}/next").raise_for_status().json()["id"]
    assert given in disputed or given not in {bench.ledger.task_of(q.uid) for q in some}
    bench.answer("cleo", some[0], 1.0)  # ann and bob disagreed on the first
    bench.sync.work()
    states = {s.questions[0].uid: s.state for s in question_states(bench.ledger, bench.settings)}
    assert states[some[0].uid] == State.DISPUTED  # two to one: three were asked, consensus decides
    assert progress(bench.ledger, bench.settings).answered == 61
    bench.ledger.close()


def test_a_push_that_dies_between_the_server_and_the_ledger_leaves_no_task_twice(bench, monkeypatch):
    asked = bench.plan(40)
    monkeypatch.setattr("annotators.label_studio.sync.BATCH", 10)
    real, calls = bench.client.add, []

    def dies(project, tasks):
        ids = real(project, tasks)
        calls.append(len(ids))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return ids

    monkeypatch.setattr(bench.client, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        bench.sync.push()
    assert len(bench.on_server()) == 30
    assert len(bench.ledger.tasks(bench.ledger.projects()[0].name)) == 20
    monkeypatch.setattr(bench.client, "add", real)
    report = bench.sync.push()
    assert (report.counts["sent"], report.counts["already_there"]) == (10, 10)
    assert bench.on_server() == sorted(q.uid for q in asked)
    assert bench.sync.push().counts["sent"] == 0


def test_a_lost_ledger_is_found_again_on_the_server(bench, label_studio, sign_in, tmp_path):
    asked = bench.plan(5)
    bench.sync.push()
    bench.answer("ann", asked[0], 2.0)
    other = Bench(label_studio, tmp_path / "other", sign_in, campaign=bench.campaign)
    assert [q.uid for q in other.plan(5)] == [q.uid for q in asked]
    report = other.sync.work()
    assert (report.counts["sent"], report.counts["already_there"], report.counts["new"]) == (0, 5, 1)
    assert other.project == bench.project
    assert other.said() == {asked[0].uid: [2.0]}
    other.ledger.close()


def test_edits_deletions_and_skips_after_a_pull(bench):
    one, two, three = bench.plan(3)
    bench.sync.push()
    first, second = bench.answer("ann", one, 2.0), bench.answer("ann", two, 1.0)
    bench.answer("ann", three, None)
    bench.sync.pull()
    assert bench.said() == {one.uid: [2.0], two.uid: [1.0], three.uid: [None]}
    bench.edit("ann", first, one, -1.0)
    bench.sign_in("ann").delete(f"/api/annotations/{second}/").raise_for_status()
    report = bench.sync.pull()
    assert (report.counts["changed"], report.counts["deleted"]) == (1, 1)
    assert bench.said() == {one.uid: [-1.0], three.uid: [None]}
    assert [(gone, r and r.said[0].value) for _, _, gone, r in bench.ledger.history(first)] == [
        (False, 2.0),
        (False, -1.0),
    ]
    assert [gone for _, _, gone, _ in bench.ledger.history(second)] == [False, True]
    again = bench.answer("ann", two, 2.0)  # re-opened and judged anew
    bench.sync.pull()
    assert again != second
    assert bench.said()[two.uid] == [2.0]


def test_a_skipped_task_that_is_judged_after_all_counts(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    annotation = bench.answer("ann", q, None)
    bench.sync.pull()
    body = {"was_cancelled": False, "result": preference(q, 1.0)}
    bench.sign_in("ann").patch(f"/api/annotations/{annotation}/", json=body).raise_for_status()
    bench.sync.pull()
    assert bench.said() == {q.uid: [1.0]}


def test_what_somebody_else_changed_is_no_judgement_of_either(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    annotation = bench.answer("ann", q, 2.0)
    bench.sync.pull()
    bench.edit("bob", annotation, q, -2.0)
    report = bench.sync.pull()
    assert report.counts["quarantined"] == 1
    assert bench.said() == {}
    assert bench.reasons() == ["edited_by_other"]
    assert [r and r.said[0].value for *_, r in bench.ledger.history(annotation)] == [2.0, None]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"result": []}, "missing_verdict"),
        ({"result": [{"from_name": "nothing", "to_name": "prompt", "type": "choices", "value": {"choices": ["L1"]}}]}, "unknown_control"),
        ({"result": [{"from_name": "preference", "to_name": "prompt", "type": "choices", "value": {"choices": ["X9"]}}]}, "unknown_choice"),
        ({"result": [{"odd": 1}]}, "malformed"),
        ({"lead_time": 0.2}, "too_fast"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_kept_in_quarantine_with_a_reason(bench, fields, reason):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.answer("ann", q, 1.0, **fields)
    assert bench.sync.pull().counts["quarantined"] == 1
    assert bench.sync.pull().counts["quarantined"] == 0  # not counted twice
    assert bench.reasons() == [reason]
    assert bench.said() == {}
    assert progress(bench.ledger, bench.settings).done


def test_one_person_twice_counts_once_and_more_people_than_asked_all_count(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.answer("ann", q, 2.0)
    bench.answer("ann", q, -1.0)
    bench.answer("bob", q, -2.0)  # the API does not hold to the overlap of one
    bench.sync.pull()
    assert bench.said() == {q.uid: [-1.0, -2.0]}
    assert bench.ledger.extra() == 1
    assert progress(bench.ledger, bench.settings).answered == 1


def test_a_task_that_was_edited_on_the_server_measures_nothing(bench):
    one, two = bench.plan(2)
    bench.sync.push()
    for q in (one, two):
        bench.answer("ann", q, 2.0)
    task = bench.ledger.task_of(one.uid)
    data = bench.sign_in("ann").get(f"/api/tasks/{task}").json()["data"]
    body = {"data": {**data, "response_left": "another answer"}}
    bench.sign_in("ann").patch(f"/api/tasks/{task}", json=body).raise_for_status()
    bench.sync.pull()
    assert bench.said() == {two.uid: [2.0]}
    assert bench.reasons() == ["task_edited"]


def test_a_deleted_task_is_found_by_reconciling_and_asked_again(bench):
    one, two = bench.plan(2)
    bench.sync.push()
    for q in (one, two):
        bench.answer("ann", q, 2.0)
    bench.sync.pull()
    bench.sign_in("bob").delete(f"/api/tasks/{bench.ledger.task_of(one.uid)}").raise_for_status()
    assert bench.sync.pull().counts["deleted"] == 0  # no cursor shows it
    report = bench.sync.reconcile()
    assert (report.counts["lost"], report.counts["deleted"]) == (1, 1)
    assert bench.said() == {two.uid: [2.0]}
    assert bench.sync.reconcile().counts["lost"] == 0
    assert bench.sync.push().counts["sent"] == 1
    bench.answer("ann", one, -2.0)
    bench.sync.pull()
    assert bench.said() == {one.uid: [-2.0], two.uid: [2.0]}


def test_a_deleted_project_is_made_anew(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.answer("ann", q, 2.0)
    bench.sync.pull()
    gone = bench.project
    bench.sign_in("bob").delete(f"/api/projects/{gone}/").raise_for_status()
    assert "was deleted" in bench.sync.pull().notes[0]
    report = bench.sync.reconcile()
    assert (report.counts["lost"], report.counts["deleted"]) == (1, 1)
    assert bench.sync.push().counts["sent"] == 1
    assert bench.project != gone
    assert bench.said() == {}


def test_a_storage_that_somebody_removed_is_put_back_by_reconciling(bench):
    bench.plan(1)
    bench.sync.push()
    storages = lambda: bench.sign_in("bob").get("/api/storages/localfiles", params={"project": bench.project}).json()
    (there,) = storages()
    bench.sign_in("bob").delete(f"/api/storages/localfiles/{there['id']}").raise_for_status()
    assert storages() == []
    bench.sync.reconcile()
    assert [storage["path"] for storage in storages()] == [there["path"]]


def test_an_annotation_that_every_pull_missed_is_found_by_reconciling(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.sync.pull()
    bench.answer("ann", q, 2.0)
    (project,) = bench.ledger.projects()
    bench.ledger.keep_project(
        project._replace(cursor="2999-01-01T00:00:00.000000Z")
    )  # a clock that was wrong for a while
    assert bench.sync.pull().counts["new"] == 0
    assert bench.sync.reconcile().counts["new"] == 1
    assert bench.said() == {q.uid: [2.0]}


def test_of_tasks_that_ask_the_same_the_unanswered_go_and_the_answered_count(bench):
    one, two = bench.plan(2)
    bench.sync.push()
    answered, unanswered = bench.client.add(bench.project, [bench.sync._task(q) for q in (one, two)])
    body = {"result": preference(one, 1.0), "lead_time": 5.0}
    bench.sign_in("bob").post(f"/api/tasks/{answered}/annotations/", json=body).raise_for_status()
    report = bench.sync.reconcile()
    assert (report.counts["doubled"], report.counts["removed"]) == (2, 1)
    assert bench.said() == {one.uid: [1.0]}
    assert unanswered not in bench.client.ids(bench.project)
    bench.sync.pull()
    assert bench.said() == {one.uid: [1.0]}


def test_a_push_waits_for_an_import_that_the_server_is_still_at(bench, monkeypatch):
    """As after kill -9 of the push before: the request is out, and the tasks appear a little later."""
    asked = bench.plan(20)
    real = bench.client.add

    def cut_off(project, tasks):
        threading.Timer(1.5, real, (project, tasks)).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.client, "add", cut_off)
    with pytest.raises(KeyboardInterrupt):
        bench.sync.push()
    monkeypatch.setattr(bench.client, "add", real)
    report = bench.sync.push()
    assert (report.counts["sent"], report.counts["already_there"]) == (0, 20)
    assert bench.on_server() == sorted(q.uid for q in asked)


def test_what_never_arrived_is_sent_again(bench, monkeypatch):
    asked = bench.plan(3)
    monkeypatch.setattr("annotators.label_studio.sync.PATIENCE", 1.0)
    real = bench.client.add
    monkeypatch.setattr(bench.client, "add", lambda project, tasks: (_ for _ in ()).throw(ServerError("gone")))
    with pytest.raises(ServerError):
        bench.sync.push()
    monkeypatch.setattr(bench.client, "add", real)
    assert bench.sync.push().counts["sent"] == 3
    assert bench.on_server() == sorted(q.uid for q in asked)


def test_a_changed_config_stops_the_pull_until_it_is_put_back_or_taken(bench):
    one, two = bench.plan(2)
    bench.sync.push()
    bench.answer("ann", one, 2.0)
    config = bench.client.config(bench.project)
    change = lambda text: bench.sign_in("bob").patch(f"/api/projects/{bench.project}/", json={"label_config": text})
    change(config.replace("Which response is better?", "Which response is worse?")).raise_for_status()
    report = bench.sync.pull()
    assert report.counts["drifted"] == 1
    assert "labeling config was changed" in report.notes[0]
    assert bench.said() == {}
    change(config).raise_for_status()
    bench.sync.pull()
    assert bench.said() == {one.uid: [2.0]}
    change(config.replace("Which response is better?", "Which one is better?")).raise_for_status()
    bench.answer("ann", two, 1.0)
    bench.sync.pull()
    assert two.uid not in bench.said()
    assert bench.sync.reconcile(accept_config=True).counts["accepted"] == 1
    assert bench.said() == {one.uid: [2.0], two.uid: [1.0]}


class Tomorrow(datetime):
    """A clock of ours that is a day ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=1)


def test_a_clock_of_ours_that_is_wrong_loses_nothing(bench, monkeypatch):
    one, two = bench.plan(2)
    bench.sync.push()
    monkeypatch.setattr(sync, "datetime", Tomorrow)
    for q in (one, two):
        bench.sync.pull()
        bench.answer("ann", q, 2.0)
        assert bench.sync.pull().counts["new"] == 1
    (said,) = bench.sync.doctor().notes
    assert re.search(r"clocks of the server and this machine differ by 8\d{4} s", said)  # a day has 86,400


def test_the_doctor_says_what_is_in_the_way_and_changes_nothing(bench):
    asked = bench.plan(3)
    (said,) = bench.sync.doctor().notes
    assert "3 questions are not on the server" in said
    bench.sync.push()
    report = bench.sync.doctor()
    assert (report.notes, report.counts) == ([], {"projects": 1, "tasks": 3, "media": 1, "webhooks": 0})
    bench.answer("ann", asked[0], 2.0, result=[])
    bench.sync.pull()
    before = bench.ledger.projects()
    bench.sign_in("bob").delete(f"/api/tasks/{bench.ledger.task_of(asked[2].uid)}").raise_for_status()
    config = bench.client.config(bench.project)
    change = {"label_config": config.replace("Which response is better?", "Which response is worse?")}
    bench.sign_in("bob").patch(f"/api/projects/{bench.project}/", json=change).raise_for_status()
    (shown,) = (name for name in bench.sync.links.folder.iterdir() if name.name.startswith(bench.picture))
    hidden = shown.rename(shown.with_name("hidden"))
    found = bench.sync.doctor().notes
    hidden.rename(shown)
    words = (
        "config was changed",
        "has 2 tasks, but 3 were sent",
        "cannot show the media",
        "1 annotations are in quarantine: missing_verdict",
    )
    assert [word in said for word, said in zip(words, found, strict=True)] == [True] * 4
    assert bench.ledger.projects() == before
    bench.sign_in("bob").delete(f"/api/projects/{bench.project}/").raise_for_status()
    assert "it no longer exists" in bench.sync.doctor().notes[0]


def test_a_task_made_by_hand_is_left_alone(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    data = {**bench.sync._task(q)["data"], "uid": "handmade"}
    bench.client.add(bench.project, [{"data": data}])
    assert bench.sync.pull().counts["foreign"] == 1
    assert bench.sync.reconcile().counts["lost"] == 0


def test_imported_annotations_count_like_others_and_are_no_ground_truth_of_ours(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.answer("ann", q, 2.0, ground_truth=True)
    bench.sync.pull()
    assert bench.said() == {q.uid: [2.0]}


def test_a_draft_moves_nothing(bench):
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.sync.pull()
    task = bench.ledger.task_of(q.uid)
    bench.sign_in("ann").post(
        f"/api/tasks/{task}/drafts", json={"result": preference(q, 1.0), "lead_time": 3.0}
    ).raise_for_status()
    bench.sync.pull()
    assert bench.said() == {}
    assert not progress(bench.ledger, bench.settings).done


def test_a_revoked_key_is_one_clear_line_and_nothing_is_noted(bench, label_studio):
    bench.plan(1)
    with pytest.raises(UserError, match=re.escape("rejects the key in LABEL_STUDIO_API_KEY")) as caught:
        connect(label_studio.url, "0" * 40)
    assert "0" * 40 not in str(caught.value)
    assert list(bench.ledger.unsent())


def test_people_with_desks_have_projects_of_their_own(label_studio, sign_in, tmp_path):
    settings = Settings(repeat=0, overlap=2, most=3, desks=("anna", "ben", "chris"))
    bench = Bench(label_studio, tmp_path, sign_in, settings)
    asked = bench.plan(12)
    bench.sync.push()
    projects = bench.ledger.projects()
    assert len(projects) == 3
    assert sum(bench.client.count(p.id) for p in projects) == 24
    first, second = [q for q in asked if q.items == asked[0].items]
    bench.answer("ann", first, 2.0)
    bench.answer("bob", second, -2.0)
    bench.sync.work()
    assert sum(bench.client.count(p.id) for p in projects) == 25  # they disagree: the third desk is asked
    bench.ledger.close()


def test_a_review_shows_what_judges_said_in_a_project_of_its_own(label_studio, sign_in, tmp_path):
    bench = Bench(label_studio, tmp_path, sign_in, Settings(repeat=0, prelabels="score"))
    seen = bench.rows(1)
    seen.judgements = [
        judgement(seen.sample.id, "score", "candidate", (c.id,), "score", Finding(Outcome.VERDICT, v))
        for c, v in zip(seen.candidates, (0.0, -1.0), strict=True)
    ]
    (q,) = planned(bench.ledger, [seen], bench.settings, bench.campaign)
    bench.sync.push()
    task = sign_in("ann").get(f"/api/tasks/{bench.ledger.task_of(q.uid)}").json()
    (shown,) = task["predictions"]
    assert shown["result"][0]["value"]["choices"] == ["L1" if q.order[0] == 0 else "R1"]
    project = sign_in("ann").get(f"/api/projects/{bench.project}").json()
    assert project["show_collab_predictions"] is True
    bench.ledger.close()


def test_a_server_that_stops_in_the_middle_of_a_push_loses_and_doubles_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("annotators.label_studio.sync.BATCH", 20)
    server = local_server.start(tmp_path / "server")
    port = int(server.url.rpartition(":")[2])
    try:
        bench = Bench(server, tmp_path)
        asked = bench.plan(100)
        real, calls = bench.client.add, []

        def stops(project, tasks):
            if len(calls) == 2:
                server.kill()
            calls.append(project)
            return real(project, tasks)

        monkeypatch.setattr(bench.client, "add", stops)
        with pytest.raises(ServerError, match="cannot be reached"):
            bench.sync.push()
        with pytest.raises(ServerError, match="cannot be reached"):
            bench.sync.pull()
        server = local_server.start(tmp_path / "server", port=port)
        monkeypatch.setattr(bench.client, "add", real)
        report = bench.sync.push()
        assert report.counts["sent"] + report.counts["already_there"] == 60
        assert bench.on_server() == sorted(q.uid for q in asked)
        bench.ledger.close()
    finally:
        server.stop()


def test_what_people_say_of_a_withdrawn_question_counts_when_it_comes_back(bench):
    one, two = bench.plan(2)
    bench.sync.push()
    bench.sync.pull()
    bench.ledger.withdraw({two.uid})
    bench.answer("ann", one, 2.0)
    bench.sync.pull()
    assert bench.said() == {}
    bench.ledger.withdraw({one.uid, two.uid})
    assert bench.said() == {one.uid: [2.0]}


def test_a_task_that_was_lost_after_one_more_was_asked_asks_as_many_again(label_studio, sign_in, tmp_path):
    bench = Bench(label_studio, tmp_path, sign_in, Settings(repeat=0, overlap=2, most=3))
    (q,) = bench.plan(1)
    bench.sync.push()
    bench.answer("ann", q, 1.0)
    bench.answer("bob", q, -1.0)
    assert bench.sync.work().counts["asked_again"] == 1
    bench.client.remove_task(bench.ledger.task_of(q.uid))
    bench.sync.reconcile()
    bench.sync.push()
    task = sign_in("ann").get(f"/api/tasks/{bench.ledger.task_of(q.uid)}").json()
    assert task["overlap"] == 3
    bench.ledger.close()
