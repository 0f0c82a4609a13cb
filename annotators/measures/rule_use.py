"""Whether a rule suits the answers that it judges: how many of those that contain the known answer it takes for wrong, and what other rules say."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from annotators.rules import statement
from schemas.axes import TRUTH
from schemas.errors import NoVerdict, RowError
from schemas.records import Judgement, Outcome

MOST = 1000  # samples that are looked at
LEAST, SHARE = (
    10,
    0.9,
)  # answers that contain the known one; the share of them judged wrong at which another rule is proposed
PREFIX = "rule."  # of the annotator of a rule's judgements
_COMPARING = frozenset(("exact", "normalised", "number", "math", "class", "choice", "f1"))


class Known(NamedTuple):
    """What of a Sample a rule that compares answers needs."""

    answer: str
    question: str


class RuleUse:
    """Counts per judging step and rule, fed one sample at a time."""

    def __init__(self):
        self._found: dict[tuple[str, str], dict[str, int]] = {}

    def add(self, known: Known, answers: Mapping[str, str], judgements: Iterable[Judgement]) -> None:
        """Adds one sample: what is known, its answers by id, and its Judgements."""
        for j in judgements:
            rule = (j.annotator or "").removeprefix(PREFIX)
            if j.axis != TRUTH or j.outcome != Outcome.VERDICT or rule not in _COMPARING or j.items[0] not in answers:
                continue
            text = answers[j.items[0]]
            if not _right("contains", text, known):
                continue
            counts = self._found.setdefault((j.step, rule), {"contain": 0, "wrong": 0, "final": 0})
            counts["contain"] += 1
            if j.value is not None and j.value < 0:
                counts["wrong"] += 1
                counts["final"] += _right("final", text, known)

    def report(self) -> dict[str, dict]:
        """{step: {rule, contain, wrong (of these), final (of the wrong: right by `kind: final`), take (the rule to take)}}, of the steps whose rule
        takes at least SHARE of at least LEAST answers that contain the known one for wrong."""
        return {
            step: {"rule": rule, **counts, "take": "final" if counts["final"] >= counts["wrong"] / 2 else "contains"}
            for (step, rule), counts in self._found.items()
            if counts["contain"] >= LEAST and counts["wrong"] >= SHARE * counts["contain"]
        }


def _right(rule: str, text: str, known: Known) -> bool:
    try:
        if rule == "contains":
            return statement.contains(text, known.answer).value == 1
        return statement.final(text, known.answer, known.question).value == 1
    except (NoVerdict, RowError):
        return False
