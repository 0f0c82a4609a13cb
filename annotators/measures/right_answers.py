"""The share of right answers, by rule, step, model and media kind."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from annotators.measures.judge_quality import Answer
from annotators.measures.streaming_stats import Share
from schemas.axes import FORMAT, TRUTH
from schemas.records import Judgement, Outcome


class Group(NamedTuple):
    """Answers that are counted together."""

    judge: str  # the step that knows which are right
    rule: str  # its annotator, such as rule.number
    axis: str  # truth or format
    step: str | None  # the step that made the answers
    model: str | None  # identity of the model that wrote them


class RightAnswers:
    """Streaming shares, fed one sample at a time; memory grows with the groups and media kinds, not with rows.

    An answer is right if its value on the axis `truth`, or `format`, is 0; below it is wrong. One that a rule cannot read, since it states
    several answers or none, is not right; other answers without a verdict are not counted."""

    def __init__(self):
        self._shares: dict[Group, dict[str, Share]] = defaultdict(lambda: defaultdict(Share))

    def add(self, kind: str, answers: Mapping[str, Answer], judgements: Iterable[Judgement]) -> None:
        """Adds one sample: its media kind, its answers by id, and its Judgements."""
        counts: dict[Group, list[int]] = defaultdict(lambda: [0, 0])
        for j in judgements:
            if (
                j.target != "candidate"
                or j.axis not in (TRUTH, FORMAT)
                or j.outcome not in (Outcome.VERDICT, Outcome.UNPARSABLE)
            ):
                continue
            if answer := answers.get(j.items[0]):
                count = counts[Group(j.step, j.annotator or j.step, j.axis, answer.step, answer.model)]
                count[0] += j.value is not None and j.value >= 0
                count[1] += 1
        for group, (right, n) in counts.items():
            for name in (kind, "all"):
                self._shares[group][name].add(right, n)

    def report(self) -> list[dict[str, Any]]:
        """A dict per group, with the fields of Group and `shares`: {media kind or `all`: as from `streaming_stats.Share.figure`}."""
        key = lambda group: [text or "" for text in group]
        return [
            group._asdict() | {"shares": {name: share.figure() for name, share in self._shares[group].items()}}
            for group in sorted(self._shares, key=key)
        ]
