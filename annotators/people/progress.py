"""How far people are: what is open, what they agree on, where one more of them is asked."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from annotators.people.ledger import Answer, Ledger
from annotators.people.plan import SWAPPED, Draft, groups_of, question
from annotators.people.question import MAIN_AXIS, Question, Task, votes
from schemas.axes import MEDIA_BROKEN


class State(StrEnum):
    """Of the answers that people are asked about together."""

    PLANNED = "planned"  # not on the server yet
    PUSHED = "pushed"  # nobody has answered
    PARTIAL = "partial"  # fewer have answered than were asked
    AGREED = "agreed"
    DISPUTED = "disputed"
    UNDECIDED = "undecided"  # answered, but by fewer than wanted in a way that counts
    SKIPPED_ALL = "skipped_all"
    MEDIA_BROKEN = "media_broken"  # somebody could not see or hear what it is about


class Standing(NamedTuple):
    """One set of answers, all the questions about it, and what people said."""

    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]  # one a person and question
    state: str
    asked: int  # annotations wanted
    answered: int  # annotations there, usable or not, as far as they were wanted


def question_states(ledger: Ledger, settings) -> Iterator[Standing]:
    """Of all that is asked and not withdrawn, sample by sample in the order of their ids."""
    answered = ledger.answered()
    sent = {uid for project in ledger.projects() for uid in ledger.tasks(project.name).values()}
    for sample, found in groupby(ledger.questions(order="sample, seq"), key=lambda q: q.sample):
        groups: dict[tuple[str, ...], list[Question]] = {}
        for q in found:
            groups.setdefault(q.items, []).append(q)
        said = list(ledger.answers(sample)) if any(q.uid in answered for g in groups.values() for q in g) else []
        for items, questions in groups.items():
            own = tuple(a for a in said if a.question.items == items)
            asked = sum(q.people for q in questions)
            done = sum(min(answered.get(q.uid, 0), q.people) for q in questions)
            state = _state(questions, own, asked, done, sent, settings)
            yield Standing(tuple(questions), own, state, asked, done)


def _state(questions, answers: tuple[Answer, ...], asked: int, done: int, sent: set[str], settings) -> State:
    if done < asked:
        if not any(q.uid in sent for q in questions):
            return State.PLANNED
        return State.PARTIAL if done else State.PUSHED
    if any(s.axis == MEDIA_BROKEN and s.value for a in answers if a.reply for s in a.reply.said):
        return State.MEDIA_BROKEN
    if answers and all(a.reply is None for a in answers):
        return State.SKIPPED_ALL
    said = opinions(answers, settings)
    if len(said) < settings.overlap:
        return State.UNDECIDED
    return State.DISPUTED if disagreement(list(said.values()), settings) else State.AGREED


def opinions(answers: tuple[Answer, ...], settings) -> dict[int, tuple[float, ...]]:
    """{person: what they voted, one value an answer or pair}; of a person asked twice the first asking."""
    axis = MAIN_AXIS.get(settings.task) or settings.axes[0]
    found: dict[int, tuple[float, ...]] = {}
    for answer in sorted(answers, key=lambda a: a.question.ask == SWAPPED):
        if answer.reply and (cast := votes(answer.reply, axis)):
            found.setdefault(answer.person, tuple(s.value or 0.0 for s in sorted(cast, key=lambda s: s.items)))
    return found


def disagreement(said: list[tuple[float, ...]], settings) -> bool:
    """Whether people disagree: about which answer is better (pairwise) or best (ranking), by more than a point (ratings), about
    whether there is anything to correct, about safe or not."""
    match settings.task:
        case Task.PAIRWISE:
            return len({(v[0] > 0) - (v[0] < 0) for v in said}) > 1
        case Task.RANKING:
            return len({v.index(max(v)) for v in said}) > 1
        case Task.RATINGS:
            return max(v[0] for v in said) - min(v[0] for v in said) > 1
    return len({v[0] < 0 if settings.task == Task.CORRECT else v[0] for v in said}) > 1


class More(NamedTuple):
    """One more person is to judge: at the question's own task, or by a new question on another desk."""

    question: Question
    people: int  # who are to answer the question then


def ask_again(ledger: Ledger, campaign: str, settings) -> list[More]:
    """Where one more person is to be asked: people disagree, or too few of them decided, fewer than `most` were asked, and the
    budget lasts."""
    found = list(question_states(ledger, settings)) if settings.most > settings.overlap else []
    spent = sum(s.asked for s in found)
    out: list[More] = []
    for s in found:
        first = [q for q in s.questions if q.ask != SWAPPED]
        asked = sum(q.people for q in first)
        if s.state not in (State.DISPUTED, State.UNDECIDED, State.SKIPPED_ALL) or asked >= settings.most:
            continue
        if settings.budget is not None and spent + len(out) >= settings.budget:
            break
        if settings.desks:
            draft = _draft(first[0])
            free = [desk for desk in groups_of(draft, settings) if desk not in {q.desk for q in first}]
            out.append(More(question(draft, campaign, settings, free[0], 0), 1))
        else:
            out.append(More(first[0], first[0].people + 1))
    return out


def _draft(q: Question) -> Draft:
    texts = tuple(text for _, text in sorted(zip(q.order, q.texts, strict=True)))
    return Draft((0.0, ""), q.sample, q.kind, q.items, texts, q.prompt, q.media, q.gold)


class Progress(NamedTuple):
    asked: int
    answered: int
    states: Counter

    @property
    def done(self) -> bool:
        return self.answered >= self.asked


def progress(ledger: Ledger, settings) -> Progress:
    """How many annotations are wanted and how many are there, and the number of sets of answers in each state."""
    asked = answered = 0
    states: Counter = Counter()
    for s in question_states(ledger, settings):
        asked, answered = asked + s.asked, answered + s.answered
        states[s.state] += 1
    return Progress(asked, answered, states)
