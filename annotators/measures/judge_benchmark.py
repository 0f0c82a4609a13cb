"""What a judge is worth on a set whose better answers are known: the figures of the benchmarks that publish such sets.

- VL-RewardBench, Multimodal RewardBench: accuracy over pairs, by category, and the mean of the categories.
- MM-RLHF-RewardBench: accuracy, and ACC+, the share of prompts all whose pairs are right; a tie is never right.
- MLLM-as-a-Judge: accuracy with and without ties, Pearson's r of scores, the normalised Levenshtein distance of rankings (0 is best).

Beside each accuracy stands that of a judge that only counts words."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from annotators.measures.ballots import PairKey, pair_key, value_of
from annotators.measures.judge_quality import Answer, JudgeQuality
from annotators.measures.preferences import preferences
from annotators.measures.streaming_stats import Correlation, Share
from schemas.axes import RANK, TRUTH
from schemas.records import Finding, Judgement, Outcome, Pair, Sample, judgement
from schemas.text import longer

SHARES = (
    "accuracy",
    "accuracy_plus",
    "accuracy_with_ties",
    "accuracy_of_decided",
    "decided",
    "read",
    "longer",
    "rank_distance",
)


class Bench:
    """Counts of one step's verdicts, fed one sample at a time; memory grows with the categories, not with rows."""

    def __init__(self, step: str, source: str):
        """`step` is measured by what the step `source` brought along: its pairs, and judgements on answers."""
        self._step, self._source = step, source
        self._shares: dict[str, dict[str, Share]] = defaultdict(lambda: defaultdict(Share))
        self._scores: dict[str, Correlation] = defaultdict(Correlation)
        self._worth = JudgeQuality()

    def add(
        self, sample: Sample, answers: Mapping[str, Answer], slips: Iterable[Judgement], pairs: Iterable[Pair]
    ) -> None:
        """One sample, whose category is its `split`, with its answers by id, its Judgements and the pairs that its source brought."""
        slips = list(slips)
        theirs, ours = ([s for s in slips if s.step == step] for step in (self._source, self._step))
        truth = {o.pair: o.sign for o in preferences(theirs)}
        for pair in pairs:
            if pair.chosen_id and pair.rejected_id:
                truth[pair_key(pair.chosen_id, pair.rejected_id)] = 1 if pair.chosen_id < pair.rejected_id else -1
        verdicts: dict[PairKey, float] = defaultdict(float)
        for o in preferences(ours):
            verdicts[o.pair] += o.value
        for name in {sample.split or "all", "all"}:
            self._pairs(name, truth, verdicts, answers)
            self._rated(name, theirs, ours)
        known = [
            judgement(sample.id, self._source, "pair", pair, TRUTH, Finding(Outcome.VERDICT, float(sign)))
            for pair, sign in truth.items()
        ]
        self._worth.add(sample.kind, answers, [*known, *ours])

    def report(self) -> dict[str, Any]:
        """{categories: {name or `all`: {pairs, each of SHARES, scores}}, macro: {accuracy, longer}, worth}: plain values for JSON.

        accuracy: of the pairs on which the judge said anything, those on which it prefers the better answer; a tie does not. accuracy_plus: of the
        prompts all whose pairs it could judge, those where all are right. accuracy_with_ties: of all pairs, known ties among them, those on which it says what is known.
        accuracy_of_decided: of the pairs on which it prefers one answer. decided: how many these are. read: of all pairs, those on which it said anything.
        longer: the accuracy of preferring more words, one half where both have as many. rank_distance: of rankings, 0..1. scores: the correlation with what is known of single answers.
        Several verdicts on a pair (asked both ways round, or again) count by their sum. macro: means over the categories, None of fewer than two."""
        categories: dict[str, dict[str, Any]] = {}
        for name in sorted({*self._shares, *self._scores}, key=lambda name: (name == "all", name)):
            shares = self._shares[name]
            figures = {figure: shares[figure].figure() if figure in shares else None for figure in SHARES}
            categories[name] = {"pairs": shares["read"].n, **figures, "scores": self._scores[name].figure()}
        apart = [of for name, of in categories.items() if name != "all"]
        macro = {name: _mean([of[name] for of in apart]) for name in ("accuracy", "longer")}
        return {"categories": categories, "macro": macro, "worth": self._worth.report().get(self._step)}

    def _pairs(
        self, name: str, truth: dict[PairKey, int], verdicts: dict[PairKey, float], answers: Mapping[str, Answer]
    ) -> None:
        counts: dict[str, list[float]] = defaultdict(lambda: [0, 0])

        def count(figure: str, hit: float) -> None:
            counts[figure][0] += hit
            counts[figure][1] += 1

        for pair, sign in truth.items():
            value = verdicts.get(pair)
            count("read", value is not None)
            if value is not None:
                count("accuracy_with_ties", (value > 0) - (value < 0) == sign)
            if not sign:
                continue
            a, b = (answers.get(item) for item in pair)
            if a and b:
                count("longer", (1 + longer(a.text, b.text) * sign) / 2)
            if value is not None:
                count("accuracy", value * sign > 0)
                count("decided", value != 0)
            if value:
                count("accuracy_of_decided", value * sign > 0)
        right, judged = counts["accuracy"]
        if judged and judged == sum(sign != 0 for sign in truth.values()):
            count("accuracy_plus", right == judged)
        for figure, (hits, n) in counts.items():
            if n:
                self._shares[name][figure].add(hits, int(n))

    def _rated(self, name: str, theirs: list[Judgement], ours: list[Judgement]) -> None:
        """Scores of single answers, and rankings of several."""
        mine: dict[str, list[float]] = defaultdict(list)
        for s in ours:
            if s.target == "candidate" and (value := value_of(s)) is not None:
                mine[s.items[0]].append(value)
        ranked: dict[str, float] = {}
        for s in theirs:
            if s.target != "candidate" or (value := value_of(s)) is None or s.items[0] not in mine:
                continue
            if s.axis == RANK:
                ranked[s.items[0]] = value
            else:
                self._scores[name].add(value, fmean(mine[s.items[0]]))
        if len(ranked) > 1 and len(ranked) == sum(s.axis == RANK for s in theirs):
            known = sorted(ranked, key=lambda item: -ranked[item])
            found = sorted(ranked, key=lambda item: -fmean(mine[item]))
            self._shares[name]["rank_distance"].add(distance(known, found) / len(known))


def distance(a: list, b: list) -> int:
    """V. Levenshtein's: the fewest insertions, deletions and replacements that make one list the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def _mean(shares: list[dict | None]) -> float | None:
    found = [of["share"] for of in shares if of]
    return round(fmean(found), 4) if len(found) > 1 else None
