"""How far people are: what is open, what they agree on, where one more of them is asked."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from annotators.people.ledger import Answer, Ledger
from annotators.people.plan import SWAPPED, Draft, desks_of, question
from annotators.people.question import MAIN_AXIS, Question, Task, votes


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


def wanted(question: Question, settings) -> int:
    """How many people are to answer a question: one where it lies on a desk of its own or is asked once more."""
    return 1 if question.desk or question.ask > SWAPPED else settings.overlap


def standings(ledger: Ledger, settings) -> Iterator[Standing]:
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
            asked = sum(wanted(q, settings) for q in questions)
            done = sum(min(answered.get(q.uid, 0), wanted(q, settings)) for q in questions)
            state = _state(questions, own, asked, done, sent, settings)
            yield Standing(tuple(questions), own, state, asked, done)


def _state(questions, answers: tuple[Answer, ...], asked: int, done: int, sent: set[str], settings) -> State:
    if done < asked:
        if not any(q.uid in sent for q in questions):
            return State.PLANNED
        return State.PARTIAL if done else State.PUSHED
    if any(s.axis == "media_broken" and s.value for a in answers if a.reply for s in a.reply.said):
        return State.MEDIA_BROKEN
    if answers and all(a.reply is None for a in answers):
        return State.SKIPPED_ALL
    said = opinions(answers, settings)
    if len(said) < settings.overlap:
        return State.UNDECIDED
    return State.DISPUTED if apart(list(said.values()), settings) else State.AGREED


def opinions(answers: tuple[Answer, ...], settings) -> dict[int, tuple[float, ...]]:
    """{person: what they voted, one value an answer or pair}; of a person asked twice the first asking."""
    axis = MAIN_AXIS.get(settings.task) or settings.axes[0]
    found: dict[int, tuple[float, ...]] = {}
    for answer in sorted(answers, key=lambda a: a.question.ask == SWAPPED):
        if answer.reply and (cast := votes(answer.reply, axis)):
            found.setdefault(answer.person, tuple(s.value or 0.0 for s in sorted(cast, key=lambda s: s.items)))
    return found


def apart(said: list[tuple[float, ...]], settings) -> bool:
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


def again(ledger: Ledger, campaign: str, settings) -> list[Question]:
    """The questions to ask one more person: where people disagree, or too few of them decided, as long as fewer than `most` were
    asked and the budget lasts."""
    found = list(standings(ledger, settings)) if settings.most > settings.overlap else []
    spent = sum(s.asked for s in found)
    out: list[Question] = []
    for s in found:
        asked = sum(wanted(q, settings) for q in s.questions if q.ask != SWAPPED)
        if s.state not in (State.DISPUTED, State.UNDECIDED, State.SKIPPED_ALL) or asked >= settings.most:
            continue
        if settings.budget is not None and spent + len(out) >= settings.budget:
            break
        first = s.questions[0]
        draft = _draft(first)
        used = {q.desk for q in s.questions}
        free = [desk for desk in desks_of(draft, settings) if desk not in used or not desk]
        if free:
            out.append(question(draft, campaign, settings, free[0], 2 + sum(q.ask > SWAPPED for q in s.questions)))
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
    for s in standings(ledger, settings):
        asked, answered = asked + s.asked, answered + s.answered
        states[s.state] += 1
    return Progress(asked, answered, states)

