"""Questions to a Label Studio server and answers back. The server is the truth of what people said, the ledger of what they were asked.

Pushing asks by uid what is there already, so a push that was cut off leaves no task twice. Pulling reads what changed since the
cursor, by the server's own clock. Reconciling compares all ids, and finds what no cursor shows: what was deleted."""

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice

from annotators.label_studio.client import Client, Gone, connect
from annotators.label_studio.forms import labeling_config, results, tasks
from annotators.label_studio.links import Links, open_links
from annotators.people.ledger import Annotation, Ledger, Project
from annotators.people.progress import ask_again, progress
from annotators.people.question import Question, Said, Task, Unusable
from annotators.people.settings import Settings
from schemas.axes import PREFERENCE
from schemas.errors import ServerError
from schemas.ports import MediaStore
from schemas.records import Outcome

BATCH = 500  # tasks a request
PATIENCE = 10.0  # seconds in which a server ends an import that nobody waits for any more
LONGEST = 50  # characters of a project's title, the server's limit
SKEW = 60.0  # seconds between the server's clock and ours that are no matter
OVERLAP = timedelta(seconds=5)  # a pull reads so much again: a change may become visible a little after later ones
Progress = Callable[[int, int | None, str], None]


@dataclass
class Report:
    """What a push, pull or reconciliation did, as counts by name; `notes` are lines for a person."""

    counts: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> "Report":
        self.counts.update(other.counts)
        self.notes += other.notes
        return self


@dataclass
class Sync:
    """One judging step, its ledger (which must be held `alone`) and the server."""

    client: Client
    ledger: Ledger
    campaign: str
    title: str
    settings: Settings
    links: Links

    def work(self, report: Progress = lambda done, total, text: None) -> Report:
        """Push, pull, and ask once more where people disagree."""
        done = self.push(report).add(self.pull(report))
        for more in ask_again(self.ledger, self.campaign, self.settings):
            if (task := self.ledger.task_of(more.question.uid)) is not None:
                self.client.set_overlap(task, more.people)  # the server first: told again nothing changes
                self.ledger.ask_more(more.question.uid, more.people)
            else:
                self.ledger.plan([more.question])
            done.counts["asked_again"] += 1
        if done.counts["asked_again"]:
            done.add(self.push(report))
        found = progress(self.ledger, self.settings)
        report(found.answered, found.asked, "annotations")
        return done

    # to the server -----------------------------------------------------------------------------------------------------

    def push(self, report: Progress = lambda done, total, text: None) -> Report:
        """Sends every question that is not on the server. ServerError leaves what was sent; the next push goes on from there."""
        out = Report()
        waiting = sorted(self.ledger.unsent(), key=self._place)
        for (desk, spec), group in groupby(waiting, key=self._place):
            questions = list(group)
            project, fresh = self._project(desk, spec, questions[0])
            settled = self._settle(project)
            out.counts["already_there"] += len(settled)
            # nobody else puts tasks there, so equal counts mean that every task on the server is one we know of
            known = fresh or self.client.count(project.id) == len(self.ledger.tasks(project.name))
            stream = (q for q in questions if q.uid not in settled)
            while some := list(islice(stream, BATCH)):
                there = {} if known else self.client.find(project.id, [q.uid for q in some])
                self._send(project, some, there, out)
                report(out.counts["sent"] + out.counts["already_there"], len(waiting), "sent to Label Studio")
        return out

    def _settle(self, project: Project) -> set[str]:
        """The uids of a push that was cut off whose tasks came to be: the server may still be at it, so it gets a while to show them."""
        torn = self.ledger.in_flight(project.name)
        found: dict[str, list[int]] = {}
        end = time.monotonic() + PATIENCE
        while torn:
            found = self.client.find(project.id, torn)
            if len(found) == len(torn) or time.monotonic() > end:
                break
            time.sleep(1)
        self.ledger.sent(project.name, [(uid, ids[0]) for uid, ids in found.items()])
        return set(found)

    def _send(self, project: Project, questions: list[Question], there: dict[str, list[int]], out: Report) -> None:
        missing = [q for q in questions if q.uid not in there]
        found = [(q.uid, there[q.uid][0]) for q in questions if q.uid in there]
        self.ledger.sending(project.name, [q.uid for q in missing])
        ids = self.client.add(project.id, [self._task(q) for q in missing]) if missing else []
        self.ledger.sent(project.name, found + list(zip((q.uid for q in missing), ids, strict=True)))
        for question, task in zip(missing, ids, strict=True):
            if question.people > self._overlap(question.desk):  # it was lost after one more person was asked
                self.client.set_overlap(task, question.people)
        out.counts.update(sent=len(missing), already_there=len(found))

    def _task(self, question: Question) -> dict:
        task: dict = {"data": tasks.data(question, tuple(self.links.link(*m) for m in question.media))}
        if question.prelabel is not None and self.settings.prelabels:
            spec = labeling_config.spec_of(question, self.settings.axes)
            task["predictions"] = tasks.predictions(question, spec, self._prelabel(question), self.settings.prelabels)
        return task

    def _prelabel(self, question: Question) -> tuple[Said, ...]:
        if question.task == Task.PAIRWISE:
            return (Said(PREFERENCE, (0, 1), Outcome.VERDICT, question.prelabel),)
        return tuple(Said(axis, (0,), Outcome.VERDICT, question.prelabel) for axis in self.settings.axes)

    def _overlap(self, desk: str) -> int:
        """How many people a project's tasks go to."""
        return 1 if desk else self.settings.overlap

    def _place(self, question: Question) -> tuple[str, labeling_config.Spec]:
        return question.desk, labeling_config.spec_of(question, self.settings.axes)

    def _project(self, desk: str, spec: labeling_config.Spec, first: Question) -> tuple[Project, bool]:
        """(the project of a desk and a form whose first question is `first`, whether it was made just now)."""
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
            self.links.link(*first.media[0])  # the server refuses a place in a bucket where nothing lies yet
            self.links.attach(self.client, found["id"])
        project = Project(name, found["id"], fingerprint, None, False)
        self.ledger.keep_project(project)
        return project, fresh

    # back from it ------------------------------------------------------------------------------------------------------

    def pull(self, report: Progress = lambda done, total, text: None) -> Report:
        """Reads what people did since the last pull: the first time a snapshot of each project, then what its cursor shows.

        A project whose labeling config is not the one it was given is left alone until it is, or `accept` is told."""
        out = Report()
        for project in self.ledger.projects():
            try:
                if not self._drifted(project, out):
                    self._read(project, out, report)
            except Gone:
                out.notes.append(
                    f"project {project.id} was deleted on the server; `pairwright annotate reconcile` notes that"
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
        while some := list(islice(found, BATCH)):
            with self.ledger.together():
                for task in some:
                    self._take(task, sent, project, out)
            report(out.counts["read"], None, "read from Label Studio")
        self.ledger.keep_project(project._replace(cursor=_said(now - OVERLAP), drifted=False))

    def _changed(self, project: Project) -> bool:
        return labeling_config.fingerprint(self.client.config(project.id)) != project.fingerprint

    def _drifted(self, project: Project, out: Report) -> bool:
        drifted = self._changed(project)
        if drifted != project.drifted:
            self.ledger.keep_project(project._replace(drifted=drifted))
        if drifted:
            out.counts["drifted"] += 1
            out.notes.append(
                f"project {project.id}: its labeling config was changed on the server; nothing is read from it until it is put "
                "back, or `pairwright annotate reconcile --accept-config` takes the new one"
            )
        return drifted

    def _take(self, task: dict, sent: set[str], project: Project, out: Report) -> None:
        """One task with all its annotations as they are now."""
        uid = task["data"].get("uid")
        question = self.ledger.question(uid) if uid else None
        out.counts["read"] += 1
        if question is None:
            out.counts["foreign"] += 1  # made by hand
            return
        if question.uid not in sent:  # ours, but the ledger was lost or the answer to our push was
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
            became = self.ledger.record(seen, understood)
            out.counts[became] += 1
            if isinstance(understood, Unusable) and became != "same":
                out.counts["quarantined"] += 1
        out.counts["deleted"] += self.ledger.delete(self.ledger.of_task(task["id"]) - ids)

    def _understand(self, raw: dict, question: Question, edited: bool):
        try:
            if edited:
                raise Unusable("task_edited", "what was shown is not what was asked")
            if (by := raw.get("updated_by")) is not None and by != raw["completed_by"]:
                raise Unusable("edited_by_other", f"person {by} changed it")
            if raw["was_cancelled"]:
                return None
            if raw["lead_time"] is not None and raw["lead_time"] < self.settings.min_seconds:
                raise Unusable("too_fast", f"{raw['lead_time']:.1f} s")
            return results.parse(question, labeling_config.spec_of(question, self.settings.axes), raw["result"])
        except Unusable as problem:
            return problem

    # all of it ---------------------------------------------------------------------------------------------------------

    def reconcile(self, accept_config: bool = False) -> Report:
        """Compares every id on the server with the ledger, and reads what changed. What vanished from the server is gone: an
        annotation gets a tombstone (its history stays), a task or project is sent again at the next push. Renews the storages of media."""
        out = Report()
        for project in self.ledger.projects():
            try:
                there = self.client.ids(project.id)
            except Gone:
                lost = self.ledger.tasks(project.name)
                out.notes.append(
                    f"project {project.id} was deleted on the server: a push makes it anew, with all its {len(lost)} tasks"
                )
                self.ledger.forget_project(project.name)
                self._lose(project, lost.keys(), lost, out)
                continue
            tasks_known = self.ledger.tasks(project.name)
            if self._with_media(tasks_known) is not None:
                self.links.attach(self.client, project.id)  # its key may be another one now
            self._lose(project, tasks_known.keys() - there.keys(), tasks_known, out)
            annotations = self.client.annotation_ids(project.id)
            known = self.ledger.live(project.name)
            out.counts["deleted"] += self.ledger.delete(known.keys() - annotations)
            if annotations - known.keys():
                self.ledger.keep_project(project._replace(cursor=None))  # something was missed: read all of it
            if accept_config:
                fingerprint = labeling_config.fingerprint(self.client.config(project.id))
                if fingerprint != project.fingerprint:
                    self.ledger.keep_project(project._replace(fingerprint=fingerprint, drifted=False, cursor=None))
                    out.counts["accepted"] += 1
            self._doubles(project, there, out)
        return out.add(self.pull())

    def _doubles(self, project: Project, there: dict[int, str | None], out: Report) -> None:
        """Removes the tasks that ask what another one asks and that nobody has answered; what people say in any of them counts."""
        often = Counter(filter(None, there.values()))
        known = self.ledger.tasks(project.name)
        for task, uid in there.items():
            if uid and often[uid] > 1 and task not in known:
                out.counts["doubled"] += 1
                if not self.client.answered(task):
                    self.client.remove_task(task)
                    out.counts["removed"] += 1

    # a look at it --------------------------------------------------------------------------------------------------------

    def doctor(self) -> Report:
        """What is in the way of people or of pulls, as notes; changes nothing.

        A medium is opened as the server lets a person open it, one a project."""
        out = Report()
        if abs(skew := (self.client.now() - datetime.now(UTC)).total_seconds()) > SKEW:
            out.notes.append(
                f"the server's clock and this one differ by {abs(skew):.0f} s: links that one signs, another may refuse"
            )
        for project in self.ledger.projects():
            out.counts["projects"] += 1
            try:
                if self._changed(project):
                    out.notes.append(
                        f"project {project.id}: its labeling config was changed on the server; nothing is read from it"
                    )
                known = self.ledger.tasks(project.name)
                out.counts["tasks"] += len(known)
                if (there := self.client.count(project.id)) != len(known):
                    out.notes.append(
                        f"project {project.id} holds {there} tasks, {len(known)} were sent: `pairwright annotate reconcile` says why"
                    )
                out.counts["webhooks"] += len(self.client.webhooks(project.id))
                self._opened(project, known, out)
            except Gone as gone:
                out.notes.append(f"project {project.id}: {gone}; `pairwright annotate reconcile` notes what is missing")
        if waiting := sum(1 for _ in self.ledger.unsent()):
            out.notes.append(f"{waiting} questions are not on the server: `pairwright annotate push`")
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
        """A task of a project whose tasks show media; they all do, or none does."""
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


def connected(campaign: str, recipe: str, step: str, settings: Settings, ledger: Ledger, media: MediaStore) -> Sync:
    """The sync of a judging step with the server that LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY name."""
    return Sync(
        connect(),
        ledger,
        campaign,
        " · ".join(dict.fromkeys((recipe, step))),
        settings,
        open_links(settings.media, media),
    )


def _time(text: str) -> str:
    """The server's ISO time as it takes it back, with a fixed number of digits, so that it sorts as text."""
    return _said(datetime.fromisoformat(text))


def _said(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
