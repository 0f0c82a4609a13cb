"""What judges are worth, counted from their Judgements: how often they decide, how often they agree with the truth."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from schemas.records import Judgement, Outcome

TRUTH = "truth"


class Worth:
    """Counts of every judging step, fed one sample at a time; memory grows with the steps and media kinds, not with rows.

    Truth is what a Judgement on the axis `truth` says of the same item: a claim that stands (1) or not (0)."""

    def __init__(self):
        self.outcomes: dict[str, Counter] = defaultdict(Counter)
        self.annotators: dict[str, str] = {}
        self.agreed: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))

    def add(self, slips: Iterable[Judgement], kind: str) -> None:
        """The Judgements of one sample, whose media kind is `kind`."""
        slips = list(slips)
        truth = {s.items[0]: s.value for s in slips if s.axis == TRUTH and s.outcome == Outcome.VERDICT}
        for s in slips:
            if s.parents:  # a score rests on Judgements and is none of its own
                continue
            self.outcomes[s.step][s.outcome] += 1
            if s.annotator:
                self.annotators[s.step] = s.annotator
            if s.target == "claim" and s.axis != TRUTH and s.outcome == Outcome.VERDICT and s.items[0] in truth:
                for name in (kind, "all"):
                    count = self.agreed[s.step][name]
                    count[0] += s.value == truth[s.items[0]]
                    count[1] += 1

    def report(self) -> dict[str, dict]:
        """{step: {annotator, judgements, parse_rate, tie_rate, agreement_with_truth: {kind: share}}}. Rates are 0..1;
        a judge whose verdicts have no known truth has no agreement."""
        out = {}
        for step, outcomes in sorted(self.outcomes.items()):
            total = sum(outcomes.values())
            asked = total - outcomes[Outcome.ABSTAIN]
            parsed = outcomes[Outcome.VERDICT] + outcomes[Outcome.TIE]
            out[step] = {
                "annotator": self.annotators.get(step),
                "judgements": total,
                "outcomes": dict(sorted(outcomes.items())),
                "parse_rate": round(parsed / asked, 4) if asked else None,
                "tie_rate": round(outcomes[Outcome.TIE] / asked, 4) if asked else None,
                "agreement_with_truth": {k: round(a / n, 4) for k, (a, n) in sorted(self.agreed[step].items())},
            }
        return out
