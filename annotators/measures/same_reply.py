"""Judges that give one and the same reply to nearly every question.

Replies about several answers are compared by place, in the order in which the answers were shown: a judge that always ranks them 1, 2, 3, 4
has not read them, and every pair made of its ranks would come from the place alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from annotators.measures.ballots import value_of
from annotators.people.question import PERSON
from schemas.axes import BLIND, TRUTH
from schemas.records import Judgement

ENOUGH = 20  # questions, of those that state a preference if so many do: about fewer nothing is said
NEARLY = 0.95  # share of one reply among replies about several answers from which they are nearly all the same
ALWAYS = 0.99  # the same for replies about single answers or claims, nearly all of which may be good
MAX_DISTINCT = 1000  # different replies that are counted; a later one counts as different from all

Ranks = tuple[int, ...]  # of the answers in the order shown, 1 is best; equal ones share a rank


class Group(NamedTuple):
    """Replies that can be compared with each other."""

    step: str
    axis: str
    answers: int  # answers in one question


class SameReplies:
    """Streaming counts of each judging step's replies. Memory grows with the steps, and to MAX_DISTINCT replies for each."""

    def __init__(self):
        self._replies: dict[Group, Counter[Any]] = defaultdict(Counter)

    def add(self, judgements: Iterable[Judgement]) -> None:
        """Adds the Judgements of one sample. Only verdicts and ties by models count, not scores nor what was imported."""
        for group, reply in _replies(judgements):
            counts = self._replies[group]
            counts[reply if reply in counts or len(counts) < MAX_DISTINCT else None] += 1

    def figure(self, step: str) -> dict[str, Any] | None:
        """{n, share, reply, named, by_place}: of the step's n questions, the share that got the most frequent `reply`, in words; whether these
        are nearly all, and whether it then prefers answers by their place. None for fewer than ENOUGH questions.

        Where ENOUGH replies about several answers prefer some of them, only these are counted: the others make no pair. Questions with
        different numbers of answers are compared among themselves."""
        groups = {group: counts for group, counts in self._replies.items() if group.step == step}
        several = [counts for group, counts in groups.items() if group.answers > 1]
        preferring = [Counter({reply: n for reply, n in counts.items() if _prefers(reply)}) for counts in several]
        for counted, limit in ((preferring, NEARLY), (several, NEARLY), (groups.values(), ALWAYS)):
            found = [counts for counts in counted if counts.total() >= ENOUGH]
            if total := sum(counts.total() for counts in found):
                tops = [max((n, reply) for reply, n in counts.items() if reply is not None) for counts in found]
                share = sum(n for n, _ in tops) / total
                named = share >= limit
                return {
                    "n": total, "share": round(share, 4), "reply": _in_words(max(tops)[1]), "named": named,
                    "by_place": named and counted is preferring,
                }  # fmt: skip
        return None


def _replies(judgements: Iterable[Judgement]) -> Iterator[tuple[Group, Ranks | float]]:
    rated: dict[tuple[str, str, str | None], dict[int, float]] = {}
    single: list[tuple[Group, float]] = []
    for s in judgements:
        value = value_of(s)
        if value is None or s.raw is None or s.parents or s.version is None or s.axis in (TRUTH, BLIND) or _person(s):
            continue
        if s.target == "pair":
            if s.order <= 1:
                yield Group(s.step, s.axis, 2), _ranks((-value, value) if s.order else (value, -value))
        elif s.target == "candidate":
            rated.setdefault((s.step, s.axis, s.annotator), {})[s.order] = value
            single.append((Group(s.step, s.axis, 1), value))
        else:
            yield Group(s.step, s.axis, 1), value
    together = {(step, axis): values for (step, axis, _), values in rated.items() if len(values) > 1}
    for (step, axis), values in together.items():
        yield Group(step, axis, len(values)), _ranks(tuple(values[order] for order in sorted(values)))
    yield from ((group, value) for group, value in single if (group.step, group.axis) not in together)


def _person(s: Judgement) -> bool:
    return s.annotator is not None and s.annotator.startswith(PERSON)


def _ranks(values: tuple[float, ...]) -> Ranks:
    return tuple(1 + sum(other > value for other in values) for value in values)


def _prefers(reply: Ranks | float | None) -> bool:
    return isinstance(reply, tuple) and len(set(reply)) > 1


def _in_words(reply: Ranks | float) -> str:
    if not isinstance(reply, tuple):
        return f"value {reply:g}"
    if not _prefers(reply):
        return "all equal"
    if len(reply) == 2:
        return "the first is better" if reply[0] == 1 else "the second is better"
    return f"ranks {', '.join(map(str, reply))} in the order shown"
