"""The ledger of questions and annotations: one SQLite file in the run folder.

Questions are planned once and never change. Annotations are append-only by revision, so their history is kept; per person and question
the latest counts. Everything else (agreement, what is open) is computed on demand."""

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from annotators.people.question import AxisVerdict, ParsedAnnotation, Question, Unusable
from schemas.disk import disk, error_line, open_database
from schemas.errors import StoreError
from schemas.records import Outcome, Span, digest

VERSION = 1
TABLES = """
create table question (
  seq integer primary key, uid text unique, task text, sample text, kind text, items text, "order" text, desk text, ask integer,
  gold text, prompt text, media text, texts text, people integer, prelabel real, withdrawn integer default 0);
create index question_sample on question (sample);
create table project (name text primary key, id integer, fingerprint text, cursor text, drifted integer default 0);
create table task (uid text primary key, project text, id integer, lost integer default 0);
create table annotation (
  id integer, revision integer, task integer, uid text, person integer, cancelled integer, deleted integer, seconds real, updated text,
  digest text, reply text, problem text, detail text, latest integer default 1, primary key (id, revision));
create index annotation_uid on annotation (uid) where latest;
create index annotation_task on annotation (task) where latest;
create table person (id integer primary key, name text);
"""
JSON = ("items", "order", "gold", "media", "texts")  # columns of Question that are kept as JSON


class Annotation(NamedTuple):
    """One annotation as the server has it now."""

    id: int
    task: int
    uid: str
    person: int
    updated: str  # the server's time, ISO 8601
    cancelled: bool  # skipped
    seconds: float | None
    content: Any  # JSON: the result as the server stores it; a different one is a new revision


class LatestAnnotation(NamedTuple):
    """The latest revision of one person's annotation of a Question. `reply` is None if it was skipped."""

    question: Question
    person: int
    reply: ParsedAnnotation | None
    seconds: float | None
    revision: int
    annotation: int
    updated: str  # the server's time, ISO 8601


class Project(NamedTuple):
    """A project of the labeling server."""

    name: str
    id: int
    fingerprint: str  # of the labeling config it was created with
    cursor: str | None  # server time: all changes before it have been read
    drifted: bool  # its labeling config was changed on the server


class Ledger:
    """Opens or creates the ledger in `folder`. StoreError if the file cannot be used or was written by a newer version."""

    def __init__(self, folder: Path):
        self.path = folder / "ledger.sqlite"
        with disk(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.db = open_database(self.path, "full")
            with self.together():
                version = self.db.execute("pragma user_version").fetchone()[0]
                if version == 0:
                    for statement in filter(str.strip, TABLES.split(";")):
                        self.db.execute(statement)
                    self.db.execute(f"pragma user_version={VERSION}")
        if version > VERSION:
            raise StoreError(f"the ledger {self.path} was written by a newer Pairwright; update Pairwright")

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def alone(self) -> Generator[None]:
        """Locks the folder so that no other process plans, pushes or pulls at the same time. StoreError if the lock is not free within a minute."""
        with disk(self.path.parent):
            file = os.open(
                self.path.parent / ".lock", os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666
            )  # O_NONBLOCK: does not hang if the path is a named pipe
            lock = os.fdopen(file, "w")
        with lock:
            for _ in range(600):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
            else:
                raise StoreError(
                    f"{self.path.parent} is locked: another push or pull is running; try again when it has finished"
                )
            yield

    @contextmanager
    def together(self) -> Generator[None]:
        """One transaction: everything written inside becomes durable together, or nothing. StoreError if SQLite fails."""
        if self.db.in_transaction:
            yield
            return
        try:
            with self.db:
                self.db.execute("begin immediate")
                yield
        except sqlite3.Error as error:
            raise StoreError(error_line(error, self.path)) from error

    # questions ---------------------------------------------------------------------------------------------------------

    def plan(self, questions: Iterable[Question]) -> int:
        """Adds questions; those already in the ledger stay unchanged. Returns the number added."""
        names = ", ".join(f'"{name}"' for name in Question._fields)
        marks = ", ".join("?" * len(Question._fields))
        with self.together():
            before = self.db.total_changes
            self.db.executemany(
                f"insert or ignore into question ({names}) values ({marks})",
                ([json.dumps(v) if n in JSON else v for n, v in q._asdict().items()] for q in questions),
            )
            return self.db.total_changes - before

    def withdraw(self, kept: set[str]) -> int:
        """Marks all questions except `kept` as withdrawn, because their answers no longer exist. Returns the number withdrawn."""
        known = self.db.execute("select uid, withdrawn from question").fetchall()
        with self.together():
            changed = [(uid not in kept, uid) for uid, gone in known if bool(gone) == (uid in kept)]
            self.db.executemany("update question set withdrawn = ? where uid = ?", changed)
        return sum(uid not in kept for uid, _ in known)

    def questions(
        self, where: str = "1", values: tuple = (), order: str = "seq", withdrawn: bool = False
    ) -> Iterator[Question]:
        """The questions that match `where` (SQL), in the order they were planned, or by sample with `order="sample, seq"`.

        Withdrawn questions are left out unless `withdrawn` is set."""
        columns = ", ".join(f'question."{name}"' for name in Question._fields)
        found = self.db.execute(
            f"select {columns} from question left join task using (uid) "
            f"where (not withdrawn or ?) and ({where}) order by {order}",
            (withdrawn, *values),
        )
        return map(_question, found)

    def question(self, uid: str) -> Question | None:
        """The question with this uid, withdrawn or not; None if there is none."""
        return next(self.questions("uid = ?", (uid,), withdrawn=True), None)

    def ask_more(self, uid: str, people: int) -> None:
        """Sets the number of annotators wanted for a question."""
        self.db.execute("update question set people = ? where uid = ?", (people, uid))

    def task_of(self, uid: str) -> int | None:
        """The server's task id of a question; None if it was not sent or its task was lost."""
        row = self.db.execute("select id from task where uid = ? and not lost", (uid,)).fetchone()
        return row and row[0]

    def unsent(self) -> Iterator[Question]:
        """The questions that have no task on the server, or whose task was lost."""
        return self.questions("task.id is null or lost")

    # projects and tasks on the server ----------------------------------------------------------------------------------

    def projects(self) -> list[Project]:
        """The projects on the server, by id."""
        rows = self.db.execute("select name, id, fingerprint, cursor, drifted from project order by id").fetchall()
        return [Project(*row[:4], bool(row[4])) for row in rows]

    def keep_project(self, project: Project) -> None:
        self.db.execute("insert or replace into project values (?, ?, ?, ?, ?)", project)

    def forget_project(self, name: str) -> None:
        self.db.execute("delete from project where name = ?", (name,))

    def sending(self, project: str, uids: Iterable[str]) -> None:
        """Records that tasks are about to be sent; until `sent` is called it is unknown whether they reached the server."""
        with self.together():
            self.db.executemany("insert or replace into task values (?, ?, null, 0)", ((uid, project) for uid in uids))

    def in_flight(self, project: str) -> set[str]:
        """The uids of tasks whose sending was interrupted."""
        return {uid for (uid,) in self.db.execute("select uid from task where project = ? and id is null", (project,))}

    def sent(self, project: str, tasks: Iterable[tuple[str, int]]) -> None:
        """Records tasks that are on the server, as (uid, task id)."""
        with self.together():
            self.db.executemany("insert or replace into task values (?, ?, ?, 0)", ((u, project, i) for u, i in tasks))

    def tasks(self, project: str) -> dict[int, str]:
        """{task id: uid} of the tasks that were sent and are not lost."""
        return dict(
            self.db.execute(
                "select id, uid from task where project = ? and id not null and not lost", (project,)
            ).fetchall()
        )

    def lose(self, uids: Iterable[str]) -> None:
        """Records that the tasks of these questions vanished from the server; the next push sends them again."""
        with self.together():
            self.db.executemany("update task set lost = 1 where uid = ?", ((uid,) for uid in uids))

    # annotations -------------------------------------------------------------------------------------------------------

    def record(self, seen: Annotation, understood: ParsedAnnotation | Unusable | None) -> str:
        """Records the current state of an annotation; returns "new", "changed", or "same" if it equals the latest revision.

        `understood` is its parsed reply, None if it was skipped. States come from the server, never from an event, so the order
        in which they are recorded does not matter as long as the last one is current."""
        name = digest(seen.uid, seen.person, seen.cancelled, seen.content, _as_json(understood))
        last = self.db.execute(
            "select revision, digest, deleted from annotation where id = ? and latest", (seen.id,)
        ).fetchone()
        if last and last[1] == name and not last[2]:
            return "same"
        problem = (understood.reason, understood.detail) if isinstance(understood, Unusable) else (None, None)
        reply = json.dumps(understood) if isinstance(understood, ParsedAnnotation) else None
        self._append(
            seen.id, last[0] + 1 if last else 0, seen.task, seen.uid, seen.person, seen.cancelled, False, seen.seconds, seen.updated, name, reply, *problem
        )  # fmt: skip
        return "changed" if last else "new"

    def delete(self, ids: Iterable[int]) -> int:
        """Appends a tombstone to each annotation that has none. Returns their number."""
        count = 0
        for id in ids:
            last = self.db.execute(
                "select revision, task, uid, person, deleted, updated from annotation where id = ? and latest", (id,)
            ).fetchone()
            if last and not last[4]:
                self._append(id, last[0] + 1, *last[1:4], False, True, None, last[5], "", None, None, None)
                count += 1
        return count

    def _append(self, *values) -> None:
        with self.together():
            self.db.execute("update annotation set latest = 0 where id = ? and latest", values[:1])
            self.db.execute(f"insert into annotation values ({', '.join('?' * 13)}, 1)", values)

    def live(self, project: str) -> dict[int, int]:
        """{annotation id: task id} of a project's annotations that are not deleted."""
        rows = self.db.execute(
            "select a.id, a.task from annotation a join task using (uid) where latest and not deleted and project = ?",
            (project,),
        )
        return dict(rows.fetchall())

    def of_task(self, task: int) -> set[int]:
        """The ids of a task's annotations that are not deleted."""
        return {
            id
            for (id,) in self.db.execute("select id from annotation where task = ? and latest and not deleted", (task,))
        }

    def answers(self, sample: str | None = None) -> Iterator[LatestAnnotation]:
        """The latest usable annotation (or skip) per person and question, without withdrawn questions, ordered by sample id.

        With `sample`, only those about that sample."""
        columns = ", ".join(f'question."{name}"' for name in Question._fields)
        rows = self.db.execute(
            f"""select {columns}, person, reply, seconds, revision, a.id, updated from annotation a join question using (uid)
            where latest and not deleted and problem is null and not withdrawn and (? is null or sample = ?)
            order by sample, seq, person, updated, a.id""",
            (sample, sample),
        )
        width = len(Question._fields)
        last: LatestAnnotation | None = None
        for row in rows:
            person, reply, *rest = row[width:]
            answer = LatestAnnotation(_question(row[:width]), person, reply and _reply(reply), *rest)
            if last and (last.question.uid, last.person) != (answer.question.uid, person):
                yield last
            last = answer  # several by one person: the latest counts
        if last:
            yield last

    def problems(self) -> list[tuple[int, str, int, str, str]]:
        """(annotation id, uid, person, reason, detail) of each annotation in quarantine."""
        return self.db.execute(
            "select id, uid, person, problem, detail from annotation where latest and not deleted and problem is not null order by id"
        ).fetchall()

    def history(self, annotation: int) -> list[tuple[int, str, bool, ParsedAnnotation | None]]:
        """(revision, updated, deleted, reply) of each revision of an annotation, oldest first; empty if it is unknown."""
        rows = self.db.execute(
            "select revision, updated, deleted, reply from annotation where id = ? order by revision", (annotation,)
        )
        return [(number, updated, bool(gone), reply and _reply(reply)) for number, updated, gone, reply in rows]

    def extra(self) -> int:
        """Number of duplicate annotations (same person, same question); they are kept, and the latest counts."""
        (count,) = self.db.execute(
            "select coalesce(sum(n - 1), 0) from "
            "(select count(*) n from annotation where latest and not deleted group by uid, person)"
        ).fetchone()
        return count

    def answered(self) -> dict[str, int]:
        """{uid: number of people who judged or skipped it, including unusable annotations}."""
        rows = self.db.execute(
            "select uid, count(distinct person) from annotation where latest and not deleted group by uid"
        )
        return dict(rows.fetchall())

    # people ------------------------------------------------------------------------------------------------------------

    def shares(self) -> dict[int, int]:
        """{person: number of questions they judged or skipped}, counted as in `answered`."""
        rows = self.db.execute(
            "select person, count(distinct uid) from annotation where latest and not deleted group by person"
        )
        return dict(rows.fetchall())

    def name_people(self, names: dict[int, str]) -> None:
        """Stores people's names for the annotation lead; they never leave this file."""
        self.db.executemany("insert or replace into person values (?, ?)", names.items())

    def people(self) -> dict[int, str]:
        return dict(self.db.execute("select id, name from person").fetchall())


def _question(row: Iterable) -> Question:
    values = [
        json.loads(value) if name in JSON and value is not None else value
        for name, value in zip(Question._fields, row, strict=True)
    ]
    q = Question(*values)
    return q._replace(
        items=tuple(q.items), order=tuple(q.order), gold=q.gold and tuple(q.gold), texts=tuple(q.texts),
        media=tuple((sha, mime) for sha, mime in q.media),
    )  # fmt: skip


def _reply(text: str) -> ParsedAnnotation:
    said, rewritten, spans, rationale = json.loads(text)
    return ParsedAnnotation(
        tuple(AxisVerdict(axis, tuple(items), Outcome(outcome), value) for axis, items, outcome, value in said),
        rewritten,
        tuple(Span(*span) for span in spans),
        rationale,
    )


def _as_json(understood: ParsedAnnotation | Unusable | None) -> Any:
    """A parsed annotation as JSON; part of the digest, so that a changed parser makes a new revision."""
    if isinstance(understood, Unusable):
        return ["unusable", understood.reason]
    return json.loads(json.dumps(understood))
