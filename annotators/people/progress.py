"""Progress of an annotation campaign: what is open, where people agree, where one more person is asked."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from annotators.people.ledger import LatestAnnotation, Ledger
from annotators.people.plan import SWAPPED, Draft, groups_of, question
from annotators.people.question import MAIN_AXIS, Question, Task, votes
from schemas.axes import MEDIA_BROKEN


class State(StrEnum):
    """State of a set of answers that people are asked about together."""

    PLANNED = "planned"  # not on the server yet
    PUSHED = "pushed"  # on the server, no annotation
    PARTIAL = "partial"  # some annotations are missing
    AGREED = "agreed"
    DISPUTED = "disputed"
    UNDECIDED = "undecided"  # all annotations are there, but fewer than `overlap` have a verdict
    SKIPPED_ALL = "skipped_all"
    MEDIA_BROKEN = "media_broken"  # someone reported that the media do not load


class ItemProgress(NamedTuple):
    """A set of answers with all questions about it and people's annotations."""

    questions: tuple[Question, ...]
    answers: tuple[LatestAnnotation, ...]  # one per person and question
    state: str
    asked: int  # annotations wanted
    answered: int  # annotations made, usable or not, at most those wanted


def question_states(ledger: Ledger, settings) -> Iterator[ItemProgress]:
    """The ItemProgress of every set of answers that is not withdrawn, ordered by sample id."""
    answered = ledger.answered()
    sent = {uid for project in ledger.projects() for uid in ledger.tasks(project.name).values()}
    for sample, found in groupby(ledger.questions(order="sample, seq"), key=lambda q: q.sample):
        groups: dict[tuple[str, ...], list[Question]] = {}
        for q in found:
            groups.setdefault(q.items, []).append(q)
        answers = list(ledger.answers(sample)) if any(q.uid in answered for g in groups.values() for q in g) else []
        for items, questions in groups.items():
            own = tuple(a for a in answers if a.question.items == items)
            asked = sum(q.people for q in questions)
            done = sum(min(answered.get(q.uid, 0), q.people) for q in questions)
            state = _state(questions, own, asked, done, sent, settings)
            yield ItemProgress(tuple(questions), own, state, asked, done)


def _state(questions, answers: tuple[LatestAnnotation, ...], asked: int, done: int, sent: set[str], settings) -> State:
    if done < asked:
        if not any(q.uid in sent for q in questions):
            return State.PLANNED
        return State.PARTIAL if done else State.PUSHED
    if any(s.axis == MEDIA_BROKEN and s.value for a in answers if a.reply for s in a.reply.said):
        return State.MEDIA_BROKEN
    if answers and all(a.reply is None for a in answers):
        return State.SKIPPED_ALL
    verdicts = verdicts_by_person(answers, settings)
    if len(verdicts) < settings.overlap:
        return State.UNDECIDED
    return State.DISPUTED if disagreement(list(verdicts.values()), settings) else State.AGREED


def verdicts_by_person(answers: tuple[LatestAnnotation, ...], settings) -> dict[int, tuple[float, ...]]:
    """{person: their verdict on the main axis, one value per answer or pair}; of a repeated question the first annotation counts."""
    axis = MAIN_AXIS.get(settings.task) or settings.axes[0]
    found: dict[int, tuple[float, ...]] = {}
    for answer in sorted(answers, key=lambda a: a.question.ask == SWAPPED):
        if answer.reply and (cast := votes(answer.reply, axis)):
            found.setdefault(answer.person, tuple(s.value or 0.0 for s in sorted(cast, key=lambda s: s.items)))
    return found


def disagreement(verdicts: list[tuple[float, ...]], settings) -> bool:
    """Whether people disagree: which answer is better (pairwise) or best (ranking), ratings more than one point apart, whether there
    is anything to correct, or whether it is safe. `verdicts` has at least one entry."""
    match settings.task:
        case Task.PAIRWISE:
            return len({(v[0] > 0) - (v[0] < 0) for v in verdicts}) > 1
        case Task.RANKING:
            return len({v.index(max(v)) for v in verdicts}) > 1
        case Task.RATINGS:
            return max(v[0] for v in verdicts) - min(v[0] for v in verdicts) > 1
    return len({v[0] < 0 if settings.task == Task.CORRECT else v[0] for v in verdicts}) > 1


class FollowUp(NamedTuple):
    """A request for one more annotator: on the question's existing task, or by a new question for another annotator group."""

    question: Question
    people: int  # annotators wanted for the question, including the additional one


def follow_ups(ledger: Ledger, campaign: str, settings) -> list[FollowUp]:
    """The questions for which one more person is asked: people disagree or too few gave a verdict, fewer than `most` were asked, and
    the budget is not used up."""
    found = list(question_states(ledger, settings)) if settings.most > settings.overlap else []
    spent = sum(s.asked for s in found)
    out: list[FollowUp] = []
    for s in found:
        first = [q for q in s.questions if q.ask != SWAPPED]
        asked = sum(q.people for q in first)
        if s.state not in (State.DISPUTED, State.UNDECIDED, State.SKIPPED_ALL) or asked >= settings.most:
            continue
        if settings.budget is not None and spent + len(out) >= settings.budget:
            break
        if settings.desks:
            draft = _draft(first[0])
            unasked = [desk for desk in groups_of(draft, settings) if desk not in {q.desk for q in first}]
            out.append(FollowUp(question(draft, campaign, settings, unasked[0], 0), 1))
        else:
            out.append(FollowUp(first[0], first[0].people + 1))
    return out


def _draft(q: Question) -> Draft:
    texts = tuple(text for _, text in sorted(zip(q.order, q.texts, strict=True)))
    return Draft((0.0, ""), q.sample, q.kind, q.items, texts, q.prompt, q.media, q.gold)


class Progress(NamedTuple):
    asked: int  # annotations wanted
    answered: int  # annotations made, at most those wanted
    states: Counter  # State -> number of sets of answers

    @property
    def done(self) -> bool:
        return self.answered >= self.asked


def progress(ledger: Ledger, settings) -> Progress:
    """Annotations wanted and made, and the number of sets of answers in each state; all zero (and done) without questions."""
    asked = answered = 0
    states: Counter = Counter()
    for s in question_states(ledger, settings):
        asked, answered = asked + s.asked, answered + s.answered
        states[s.state] += 1
    return Progress(asked, answered, states)
