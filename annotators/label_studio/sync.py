"""Synchronisation with a Label Studio server. The server is the source of truth for annotations, the ledger for questions.

A push looks up existing tasks by uid, so that an interrupted push leaves no duplicates. A pull reads what changed since the cursor, by
the server's clock. Reconciling compares all ids and finds deletions, which no cursor shows."""

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

from annotators.label_studio.client import Client, NotFound, connect
from annotators.label_studio.forms import labeling_config, results, tasks
from annotators.label_studio.links import Links, Shown, open_links
from annotators.people.ledger import Annotation, Ledger, Project
from annotators.people.progress import follow_ups, progress
from annotators.people.question import AxisVerdict, Question, Task, Unusable
from annotators.people.settings import Settings
from schemas.axes import PREFERENCE
from schemas.errors import ServerError
from schemas.ports import MediaStore
from schemas.records import Outcome

BATCH = 500  # tasks per request
PATIENCE = 10.0  # seconds within which a server completes an import whose request was dropped
LONGEST = 50  # characters of a project's title, the server's limit
SKEW = 60.0  # tolerated difference of the clocks in seconds
OVERLAP = timedelta(seconds=5)  # a pull rereads this much: a change may become visible slightly after later ones
Progress = Callable[[int, int | None, str], None]


@dataclass
class Report:
    """The result of a push, pull or reconciliation: counts by name, and notes for the user."""

    counts: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> "Report":
        self.counts.update(other.counts)
        self.notes += other.notes
        return self


@dataclass
class Sync:
    """Synchronises one judging step's ledger, which the caller must have locked (`Ledger.alone`), with the server."""

    client: Client
    ledger: Ledger
    campaign: str
    title: str
    settings: Settings
    links: Links

    def work(self, report: Progress = lambda done, total, text: None) -> Report:
        """Pushes, pulls, and asks one more annotator where annotators disagree."""
        done = self.push(report).add(self.pull(report))
        for more in follow_ups(self.ledger, self.campaign, self.settings):
            if (task := self.ledger.task_of(more.question.uid)) is not None:
                self.client.set_overlap(task, more.people)  # the server first: repeating this is harmless
                self.ledger.ask_more(more.question.uid, more.people)
            else:
                self.ledger.plan([more.question])
            done.counts["asked_again"] += 1
        if done.counts["asked_again"]:
            done.add(self.push(report))
        found = progress(self.ledger, self.settings)
        report(found.answered, found.asked, "annotations")
        return done

    # push --------------------------------------------------------------------------------------------------------------

    def push(self, report: Progress = lambda done, total, text: None) -> Report:
        """Sends every question that is not on the server. After a ServerError, the next push continues where this one stopped."""
        out = Report()
        waiting = sorted(self.ledger.unsent(), key=self._place)
        for (desk, spec), group in groupby(waiting, key=self._place):
            questions = list(group)
            project, fresh = self._project(desk, spec, questions[0])
            settled = self._settle(project)
            out.counts["already_there"] += len(settled)
            # no one else creates tasks there, so equal counts mean that all tasks on the server are in the ledger
            known = fresh or self.client.count(project.id) == len(self.ledger.tasks(project.name))
            stream = (q for q in questions if q.uid not in settled)
            while batch := list(islice(stream, BATCH)):
                existing = {} if known else self.client.find(project.id, [q.uid for q in batch])
                self._send(project, batch, existing, out)
                report(out.counts["sent"] + out.counts["already_there"], len(waiting), "sent to Label Studio")
        return out

    def _settle(self, project: Project) -> set[str]:
        """The uids of an interrupted push whose tasks exist after all. The server may still be importing, so wait up to PATIENCE."""
        uncertain = self.ledger.in_flight(project.name)
        found: dict[str, list[int]] = {}
        end = time.monotonic() + PATIENCE
        while uncertain:
            found = self.client.find(project.id, uncertain)
            if len(found) == len(uncertain) or time.monotonic() > end:
                break
            time.sleep(1)
        self.ledger.sent(project.name, [(uid, ids[0]) for uid, ids in found.items()])
        return set(found)

    def _send(self, project: Project, questions: list[Question], existing: dict[str, list[int]], out: Report) -> None:
        missing = [q for q in questions if q.uid not in existing]
        found = [(q.uid, existing[q.uid][0]) for q in questions if q.uid in existing]
        self.ledger.sending(project.name, [q.uid for q in missing])
        ids = self.client.add(project.id, [self._task(q) for q in missing]) if missing else []
        self.ledger.sent(project.name, found + list(zip((q.uid for q in missing), ids, strict=True)))
        for question, task in zip(missing, ids, strict=True):
            if question.people > self._overlap(question.desk):  # the task was lost after one more person was asked
                self.client.set_overlap(task, question.people)
        out.counts.update(sent=len(missing), already_there=len(found))

    def _task(self, question: Question) -> dict:
        task: dict = {"data": tasks.data(question, tuple(self.links.link(*m) for m in question.media))}
        if question.prelabel is not None and self.settings.prelabels:
            spec = labeling_config.spec_of(question, self.settings.axes)
            task["predictions"] = tasks.predictions(question, spec, self._prelabel(question), self.settings.prelabels)
        return task

    def _prelabel(self, question: Question) -> tuple[AxisVerdict, ...]:
        if question.task == Task.PAIRWISE:
            return (AxisVerdict(PREFERENCE, (0, 1), Outcome.VERDICT, question.prelabel),)
        return tuple(AxisVerdict(axis, (0,), Outcome.VERDICT, question.prelabel) for axis in self.settings.axes)

    def _overlap(self, desk: str) -> int:
        """The number of people to whom each task of a group's projects goes."""
        return 1 if desk else self.settings.overlap

    def _place(self, question: Question) -> tuple[str, labeling_config.Spec]:
        return question.desk, labeling_config.spec_of(question, self.settings.axes)

    def _project(self, desk: str, spec: labeling_config.Spec, first: Question) -> tuple[Project, bool]:
        """(the project of an annotator group and a Spec, whether it was created just now); `first` is its first question."""
        xml = labeling_config.build(spec)
        fingerprint = labeling_config.fingerprint(xml)
        name = f"{self.campaign[:12]}:{desk}:{fingerprint[:12]}"
        known = {p.name: p for p in self.ledger.projects()}
        if name in known:
            return known[name], False
        labeling_config.check(xml)
        marker = f"pairwright:{name}"
        found = self.client.project(marker)
        fresh = found is None
        if found is None:
            title = " · ".join(filter(None, (self.title, spec.kind.replace("_", " "), desk)))
            guidelines = labeling_config.guidelines(self.settings.task, self.settings.guidelines)
            found = self.client.create_project(
                title[:LONGEST], marker, xml, self._overlap(desk), guidelines, bool(self.settings.prelabels)
            )
        if spec.media:
            self.links.link(*first.media[0])  # the server refuses an empty storage
            self.links.attach(self.client, found["id"])
        project = Project(name, found["id"], fingerprint, None, False)
        self.ledger.keep_project(project)
        return project, fresh

    # pull --------------------------------------------------------------------------------------------------------------

    def pull(self, report: Progress = lambda done, total, text: None) -> Report:
        """Reads the annotations made since the last pull; the first time, all of them.

        A project whose labeling config was changed on the server is skipped until the config is restored, or accepted with
        `reconcile(accept_config=True)`."""
        out = Report()
        for project in self.ledger.projects():
            try:
                if not self._drifted(project, out):
                    self._read(project, out, report)
            except NotFound:
                out.notes.append(
                    f"project {project.id} was deleted on the server; run `pairwright annotate reconcile` to record that"
                )
        if out.counts["new"] or out.counts["changed"]:
            self.ledger.name_people(self.client.users())
        return out

    def _read(self, project: Project, out: Report, report: Progress) -> None:
        now = self.client.now()
        if project.cursor is None:
            found = self.client.everything(project.id)
        else:
            found = self.client.changed(project.id, project.cursor)
        sent = set(self.ledger.tasks(project.name).values())
        while batch := list(islice(found, BATCH)):
            with self.ledger.together():
                for task in batch:
                    self._take(task, sent, project, out)
            report(out.counts["read"], None, "read from Label Studio")
        self.ledger.keep_project(project._replace(cursor=_iso(now - OVERLAP), drifted=False))

    def _changed(self, project: Project) -> bool:
        return labeling_config.fingerprint(self.client.config(project.id)) != project.fingerprint

    def _drifted(self, project: Project, out: Report) -> bool:
        drifted = self._changed(project)
        if drifted != project.drifted:
            self.ledger.keep_project(project._replace(drifted=drifted))
        if drifted:
            out.counts["drifted"] += 1
            out.notes.append(
                f"project {project.id}: its labeling config was changed on the server, so it is not read; restore the config, or "
                "accept the new one with `pairwright annotate reconcile --accept-config`"
            )
        return drifted

    def _take(self, task: dict, sent: set[str], project: Project, out: Report) -> None:
        """Records the current state of one task and all its annotations."""
        uid = task["data"].get("uid")
        question = self.ledger.question(uid) if uid else None
        out.counts["read"] += 1
        if question is None:
            out.counts["foreign"] += 1  # created by hand
            return
        if question.uid not in sent:  # ours, but the ledger or the reply to a push was lost
            sent.add(question.uid)
            self.ledger.sent(project.name, [(question.uid, task["id"])])
        edited = tasks.shown(task["data"]) != tasks.shown(tasks.data(question, ("",) * len(question.media)))
        ids = set()
        for raw in task["annotations"]:
            ids.add(raw["id"])
            seen = Annotation(
                raw["id"], task["id"], question.uid, raw["completed_by"], _time(raw["updated_at"]), raw["was_cancelled"], raw["lead_time"], raw["result"],
            )  # fmt: skip
            understood = self._understand(raw, question, edited)
            change = self.ledger.record(seen, understood)
            out.counts[change] += 1
            if isinstance(understood, Unusable) and change != "same":
                out.counts["quarantined"] += 1
        out.counts["deleted"] += self.ledger.delete(self.ledger.of_task(task["id"]) - ids)

    def _understand(self, raw: dict, question: Question, edited: bool):
        try:
            if edited:
                raise Unusable("task_edited", "the task shown differs from the question")
            if (by := raw.get("updated_by")) is not None and by != raw["completed_by"]:
                raise Unusable("edited_by_other", f"changed by person {by}")
            if raw["was_cancelled"]:
                return None
            if raw["lead_time"] is not None and raw["lead_time"] < self.settings.min_seconds:
                raise Unusable("too_fast", f"{raw['lead_time']:.1f} s")
            return results.parse(question, labeling_config.spec_of(question, self.settings.axes), raw["result"])
        except Unusable as problem:
            return problem

    # reconcile ---------------------------------------------------------------------------------------------------------

    def reconcile(self, accept_config: bool = False) -> Report:
        """Compares all ids on the server with the ledger, and pulls.

        A deleted annotation gets a tombstone (its history stays); a deleted task or project is sent again by the next push. Removes
        unanswered duplicate tasks and renews the media storages. `accept_config` accepts labeling configs changed on the server."""
        out = Report()
        for project in self.ledger.projects():
            try:
                on_server = self.client.ids(project.id)
            except NotFound:
                lost = self.ledger.tasks(project.name)
                out.notes.append(
                    f"project {project.id} was deleted on the server: `pairwright annotate push` creates it again with its {len(lost)} tasks"
                )
                self.ledger.forget_project(project.name)
                self._lose(project, lost.keys(), lost, out)
                continue
            tasks_known = self.ledger.tasks(project.name)
            if self._with_media(tasks_known) is not None:
                self.links.attach(self.client, project.id)  # the key may have changed
            self._lose(project, tasks_known.keys() - on_server.keys(), tasks_known, out)
            annotations = self.client.annotation_ids(project.id)
            known = self.ledger.live(project.name)
            out.counts["deleted"] += self.ledger.delete(known.keys() - annotations)
            if annotations - known.keys():
                self.ledger.keep_project(project._replace(cursor=None))  # something was missed: read everything
            if accept_config:
                fingerprint = labeling_config.fingerprint(self.client.config(project.id))
                if fingerprint != project.fingerprint:
                    self.ledger.keep_project(project._replace(fingerprint=fingerprint, drifted=False, cursor=None))
                    out.counts["accepted"] += 1
            self._duplicates(project, on_server, out)
        return out.add(self.pull())

    def _duplicates(self, project: Project, on_server: dict[int, str | None], out: Report) -> None:
        """Removes duplicate tasks without annotations; annotations in any duplicate count."""
        copies = Counter(filter(None, on_server.values()))
        known = self.ledger.tasks(project.name)
        for task, uid in on_server.items():
            if uid and copies[uid] > 1 and task not in known:
                out.counts["doubled"] += 1
                if not self.client.answered(task):
                    self.client.remove_task(task)
                    out.counts["removed"] += 1

    # doctor --------------------------------------------------------------------------------------------------------------

    def doctor(self) -> Report:
        """Problems for annotators or pulls, as notes; changes nothing.

        For each project, the media of one task are opened as its page opens them."""
        out = Report()
        if abs(skew := (self.client.now() - datetime.now(UTC)).total_seconds()) > SKEW:
            out.notes.append(
                f"the clocks of the server and this machine differ by {abs(skew):.0f} s; synchronise them, or signed links may be refused"
            )
        for project in self.ledger.projects():
            out.counts["projects"] += 1
            try:
                if self._changed(project):
                    out.notes.append(
                        f"project {project.id}: its labeling config was changed on the server, so it is not read; restore it, or accept "
                        "it with `pairwright annotate reconcile --accept-config`"
                    )
                known = self.ledger.tasks(project.name)
                out.counts["tasks"] += len(known)
                if (count := self.client.count(project.id)) != len(known):
                    out.notes.append(
                        f"project {project.id} has {count} tasks, but {len(known)} were sent; run `pairwright annotate reconcile`"
                    )
                out.counts["webhooks"] += len(self.client.webhooks(project.id))
                self._opened(project, known, out)
            except NotFound as gone:
                out.notes.append(
                    f"project {project.id}: {gone}; run `pairwright annotate reconcile` to record what is missing"
                )
        if waiting := sum(1 for _ in self.ledger.unsent()):
            out.notes.append(f"{waiting} questions are not on the server; run `pairwright annotate push`")
        for reason, n in sorted(Counter(reason for *_, reason, _ in self.ledger.problems()).items()):
            out.notes.append(f"{n} annotations are in quarantine: {reason}")
        return out

    def _opened(self, project: Project, known: dict[int, str], out: Report) -> None:
        if (task := self._with_media(known)) is not None:
            try:
                out.counts["media"] += self.client.opens(task)
            except ServerError as error:
                out.notes.append(f"project {project.id}: {error}")

    def _with_media(self, known: dict[int, str]) -> int | None:
        """A task of the project if its tasks show media (all do, or none does), else None."""
        for task, uid in known.items():
            if question := self.ledger.question(uid):
                return task if question.media else None
        return None

    def _lose(self, project: Project, ids: Set[int], known: dict[int, str], out: Report) -> None:
        lost = {known[i] for i in ids}
        if not lost:
            return
        gone = [annotation for annotation, task in self.ledger.live(project.name).items() if task in ids]
        self.ledger.lose(lost)
        out.counts.update(lost=len(lost), deleted=self.ledger.delete(gone))


def connect_sync(
    campaign: str, recipe: str, step: str, settings: Settings, ledger: Ledger, media: MediaStore, shown: Shown
) -> Sync:
    """A Sync of a judging step with the server in LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY; `shown` as of `open_links`. UserError or
    ServerError if there is none."""
    return Sync(
        connect(),
        ledger,
        campaign,
        " · ".join(dict.fromkeys((recipe, step))),
        settings,
        open_links(settings.media, media, shown),
    )


def _time(text: str) -> str:
    """The server's time as UTC in ISO 8601 with six decimals: the server accepts it, and it sorts as text."""
    return _iso(datetime.fromisoformat(text))


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
