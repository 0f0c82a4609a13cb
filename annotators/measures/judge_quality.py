"""Judge quality: parse rate, agreement with the ground truth, with people and with itself, and biases.

A preference is a bias only if the truth does not share it: the share of verdicts for the longer answer is reported with how often the
longer answer is better on the same pairs, and likewise for answers by the judge's own model."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from annotators.measures.ballots import PairKey, value_of
from annotators.measures.preferences import Preference, preferences
from annotators.measures.same_reply import SameReplies
from annotators.measures.streaming_stats import Calibration, Quantiles, Share
from annotators.people.question import PERSON
from schemas import figures
from schemas.axes import TRUTH
from schemas.records import Judgement, Outcome
from schemas.text import same_text, word_count

NEAR = 0.1  # lengths are equal if they differ by at most this share of the longer one


class Answer(NamedTuple):
    """An answer as far as figures depend on it."""

    text: str
    model: str | None = None  # identity of the model that wrote it
    step: str | None = None  # the step that made it


class JudgeQuality:
    """Streaming metrics of every judging step (scores and juries included), fed one sample at a time; memory grows with the steps and
    media kinds, not with rows.

    The truth of an item comes from Judgements on the axis `truth`: whether a claim holds (1 or 0), or which of two answers is better.
    The step that provides it is not measured by it."""

    def __init__(self):
        self._outcomes: dict[str, Counter] = defaultdict(Counter)
        self._annotators: dict[str, str] = {}
        self._shares: dict[str, dict[str, Share]] = defaultdict(lambda: defaultdict(Share))
        self._calibrations: dict[str, Calibration] = defaultdict(Calibration)
        self._masses: dict[str, Quantiles] = defaultdict(Quantiles)
        self._taken: Counter[str] = Counter()
        self._same = SameReplies()

    def add(self, kind: str, answers: Mapping[str, Answer], judgements: Iterable[Judgement]) -> None:
        """Adds one sample: its media kind, its answers by id, and its Judgements."""
        judgements = list(judgements)
        counts: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
        for s in judgements:
            self._outcomes[s.step][s.outcome] += 1
            if s.mass is not None:
                self._masses[s.step].add(s.mass)
                self._taken[s.step] += s.prob is not None
            if s.annotator:
                self._annotators[s.step] = "people" if _person(s.annotator) else s.annotator
        self._same.add(judgements)
        self._claims(judgements, kind, counts)
        self._repeats(judgements, counts)
        self._orders(judgements, kind, answers, counts)
        for (step, figure), (hits, n) in counts.items():
            self._shares[step][figure].add(hits, int(n))

    def report(self) -> dict[str, dict]:
        """{step: {annotator, judgements, outcomes, parse_rate, tie_rate, agreement_with_truth: {kind or `all`: share}, calibration,
        and a share under the name of each of `schemas.figures.JUDGE`, mass, same_reply}}.

        Rates are 0..1. Shares are as from `streaming_stats.Share.figure` and the calibration as from `Calibration.figure`; None without data.
        `mass`: the probability that the allowed words had as the first token, as from `Quantiles.figure`, and the share `taken` of the verdicts
        that was taken from it. `same_reply` is as from `SameReplies.figure`."""
        out = {}
        for step, outcomes in sorted(self._outcomes.items()):
            total = sum(outcomes.values())
            asked = total - outcomes[Outcome.ABSTAIN]
            parsed = outcomes[Outcome.VERDICT] + outcomes[Outcome.TIE]
            shares = self._shares[step]
            agreed = {
                name.partition(" ")[2]: share for name, share in sorted(shares.items()) if name.startswith("truth ")
            }
            out[step] = {
                "annotator": self._annotators.get(step),
                "judgements": total,
                "outcomes": dict(sorted(outcomes.items())),
                "parse_rate": round(parsed / asked, 4) if asked else None,
                "tie_rate": round(outcomes[Outcome.TIE] / asked, 4) if asked else None,
                "agreement_with_truth": {name: share.figure() for name, share in agreed.items()},
                **{f.name: shares[f.name].figure() if f.name in shares else None for f in figures.JUDGE},
                "calibration": self._calibrations[step].figure() if step in self._calibrations else None,
                "mass": self._mass(step),
                "same_reply": self._same.figure(step),
            }
        return out

    def _mass(self, step: str) -> dict | None:
        found = self._masses[step].figure() if step in self._masses else None
        return found and found | {"taken": round(self._taken[step] / found["n"], 4)}

    def _claims(self, judgements: list[Judgement], kind: str, counts) -> None:
        known = {s.items[0]: value_of(s) for s in judgements if s.axis == TRUTH and s.target == "claim"}
        for s in judgements:
            if s.target != "claim" or s.axis == TRUTH or value_of(s) is None or known.get(s.items[0]) is None:
                continue
            right = value_of(s) == known[s.items[0]]
            for name in (kind, "all"):
                _count(counts, s.step, f"truth {name}", right)
            if s.prob is not None:
                self._calibrations[s.step].add(s.prob, right)

    def _repeats(self, judgements: list[Judgement], counts) -> None:
        """Self-consistency: the same verdict when asked again in the same order; on pairs only the sign counts."""
        first: dict[tuple, float] = {}
        for s in judgements:
            if (value := value_of(s)) is None or s.axis == TRUTH:
                continue
            value = float((value > 0) - (value < 0)) if s.target == "pair" else value
            asked = (s.step, s.annotator, s.axis, s.items, s.order)
            if asked in first:
                _count(counts, s.step, "consistency", value == first[asked])
            else:
                first[asked] = value

    def _orders(self, judgements: list[Judgement], kind: str, answers: Mapping[str, Answer], counts) -> None:
        truth_steps = {s.step for s in judgements if s.axis == TRUTH}
        found = [o for o in preferences(judgements) if not _equal_texts(o.pair, answers)]
        truth = {o.pair: o.sign for o in found if o.axis == TRUTH and o.value}
        people = {name for name in {o.annotator for o in found} if _person(name)}
        crowd: Counter[PairKey] = Counter()
        for o in found if people else ():
            if o.annotator in people:
                crowd[o.pair] += o.sign
        shown = {item for o in found for item in o.pair}
        lengths = {
            item: word_count(answers[item].text) for item in shown if item in answers
        }  # counted once per answer, which may be in many pairs
        by_order: dict[tuple, dict[str, int]] = {}
        for o in found:
            if o.step in truth_steps:
                continue
            right = truth.get(o.pair)
            if right:
                _count(counts, o.step, "decided", o.value != 0)
            if o.shown is not None:
                signs = by_order.setdefault((o.step, o.annotator, o.axis, o.pair), {})
                signs[o.shown] = signs.get(o.shown, 0) + o.sign
            if not o.value:
                continue
            if right:
                for name in (kind, "all"):
                    _count(counts, o.step, f"truth {name}", o.sign == right)
                if o.prob is not None:
                    self._calibrations[o.step].add(o.prob, o.sign == right)
            if crowd and crowd[o.pair] and o.annotator not in people:
                _count(counts, o.step, "agreement_with_people", o.sign * crowd[o.pair] > 0)
            if o.shown is not None:
                _count(counts, o.step, "shown_first", o.shown == o.pair[o.sign < 0])
            _biases(o, right, answers, lengths, counts)
        for (step, *_), signs in by_order.items():
            if len(signs) == 2:
                first, second = signs.values()
                _count(counts, step, "contradicted", first * second < 0)


def _biases(
    o: Preference, right: int | None, answers: Mapping[str, Answer], lengths: Mapping[str, int], counts
) -> None:
    a, b = (answers.get(item) for item in o.pair)
    if a is None or b is None:
        return
    first, second = (lengths[item] for item in o.pair)
    if side := (first > second) - (first < second):
        _count(counts, o.step, "longer", o.sign == side)
        if right:
            _count(counts, o.step, "longer_truth", right == side)
    if right and abs(first - second) <= NEAR * max(first, second):
        _count(counts, o.step, "equal_length", o.sign == right)
    mine = (a.model == o.annotator) - (b.model == o.annotator)
    if mine:
        _count(counts, o.step, "own", o.sign == mine)
        if right:
            _count(counts, o.step, "own_truth", right == mine)


def _equal_texts(pair: PairKey, answers: Mapping[str, Answer]) -> bool:
    """Whether both answers have the same text, so that neither can be better."""
    a, b = (answers.get(item) for item in pair)
    return a is not None and b is not None and same_text(a.text, b.text)


def _person(annotator: str | None) -> bool:
    return annotator is not None and annotator.startswith(PERSON)


def _count(counts, step: str, figure: str, hit: bool) -> None:
    count = counts[step, figure]
    count[0] += hit
    count[1] += 1
