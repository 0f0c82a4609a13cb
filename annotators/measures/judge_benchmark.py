"""Metrics of a judge on labelled preference data, as defined by the benchmarks that publish such data.

- VL-RewardBench, Multimodal RewardBench: accuracy over pairs, per category, and the mean over categories.
- MM-RLHF-RewardBench: accuracy, and ACC+, the share of prompts all of whose pairs are right; a tie is never right.
- MLLM-as-a-Judge: accuracy with and without ties, Pearson's r of scores, normalised Levenshtein distance of rankings (0 is best).

Each accuracy comes with that of a baseline that prefers the longer answer."""

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


class JudgeBenchmark:
    """Streaming metrics of one judging step, fed one sample at a time; memory grows with the categories, not with rows."""

    def __init__(self, step: str, source: str):
        """Measures the step `step` against the labels of the step `source`: its pairs, and its judgements on answers."""
        self._step, self._source = step, source
        self._shares: dict[str, dict[str, Share]] = defaultdict(lambda: defaultdict(Share))
        self._scores: dict[str, Correlation] = defaultdict(Correlation)
        self._worth = JudgeQuality()

    def add(
        self, sample: Sample, answers: Mapping[str, Answer], judgements: Iterable[Judgement], pairs: Iterable[Pair]
    ) -> None:
        """Adds one sample: its answers by id, its Judgements, and the labelled pairs of its source. Its category is its `split`."""
        judgements = list(judgements)
        theirs, ours = ([s for s in judgements if s.step == step] for step in (self._source, self._step))
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

        accuracy: of the pairs with any verdict, those on which it prefers the better answer; a tie is not right.
        accuracy_plus: of the prompts on all of whose pairs it has a verdict, those with all of them right.
        accuracy_with_ties: of the pairs with any verdict, known ties among them, those with the known label.
        accuracy_of_decided: accuracy on the pairs on which it prefers one answer; decided: the share of these.
        read: of all pairs, those with any verdict that could be parsed.
        longer: accuracy of preferring the answer with more words, one half if both have as many.
        rank_distance: normalised Levenshtein distance of rankings, 0..1. scores: correlation with known scores of single answers.
        Several verdicts on a pair (both orders, repeats) count by their sum. macro: means over categories, None for fewer than two.
        Shares are as from `streaming_stats.Share.figure`, None without data; worth is the step's entry of `JudgeQuality.report`."""
        categories: dict[str, dict[str, Any]] = {}
        for name in sorted({*self._shares, *self._scores}, key=lambda name: (name == "all", name)):
            shares = self._shares[name]
            figures = {figure: shares[figure].figure() if figure in shares else None for figure in SHARES}
            categories[name] = {"pairs": shares["read"].n, **figures, "scores": self._scores[name].figure()}
        single = [category for name, category in categories.items() if name != "all"]
        macro = {name: _mean([category[name] for category in single]) for name in ("accuracy", "longer")}
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
        """Scores of single answers and rankings of several."""
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
            self._shares[name]["rank_distance"].add(levenshtein(known, found) / len(known))


def levenshtein(a: list, b: list) -> int:
    """Levenshtein distance: the minimum number of insertions, deletions and replacements that turn list `a` into `b` (V. Levenshtein, 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def _mean(shares: list[dict | None]) -> float | None:
    found = [share["share"] for share in shares if share]
    return round(fmean(found), 4) if len(found) > 1 else None
