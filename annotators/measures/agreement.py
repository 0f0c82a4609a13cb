"""Agreement between judges of the same items, and the reliability of each judge. A metric without data is None, never zero."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, groupby
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import numpy as np

from annotators.measures import aggregation
from schemas.axes import PREFERENCE

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
ENOUGH = 20  # votes needed to flag a judge's skill
SIDES = 10  # choices needed to flag a side bias
TIMED = 5  # timed questions needed to flag a judge as hurried
HURRIED = 1 / 3  # share of the others' median time below which a judge is flagged
GOLD = 0.7  # share of gold questions that a careful annotator answers right
UNLIKELY = 0.001  # probability of a run of equal answers below which it is flagged


class Vote(NamedTuple):
    """One judge's vote on one item, or an abstention."""

    question: str  # uid of the question
    item: str  # id of what was judged: equal for all who judged it, in whatever question
    annotator: str
    axis: str
    value: float | None  # None: skipped or cannot judge. On preferences above 0 is the first of the pair, 0 a tie
    seconds: float | None = None  # spent on the whole question
    left: bool | None = None  # the left (first shown) side was chosen; None for ties and without sides
    gold: bool | None = None  # whether it is right; None if the answer is not known
    repeat_of: str | None = None  # uid of the question that this one repeats with its sides swapped

    @property
    def label(self) -> float | None:
        """The value that agreement is computed on: on preferences only its sign."""
        if self.value is None or self.axis != PREFERENCE:
            return self.value
        return float(np.sign(self.value))

    @property
    def shown(self) -> str | float | None:
        """The choice as the judge saw it: "left", "right", or the label if there are no sides."""
        return self.label if self.left is None else "left" if self.left else "right"


def reliability(votes: Iterable[Vote], axis: str) -> dict[str, Any]:
    """Agreement and the reliability of each judge on `axis`, as plain values for JSON. `votes` are in the order they were given.

    {axis, votes, items, agreement: {each axis: {votes, items (with at least two votes), percent, alpha: {nominal, ordinal, interval},
    fleiss, cohen (mean over pairs of judges, weighted by common items)}}, annotators: {name: {votes, skipped (questions), skip_rate,
    agreement (mean share of the others with the same vote), skill (estimated probability of being right), gold, left ({n, share, low,
    high} with a 95 % interval; left excludes ties), seconds (median over the `timed` questions), ties (share), repeats ({n, share
    answered the same}), longest_run (equal choices in a row, as shown), flags (reasons to look at this judge, as text)}}}.

    Shares are 0..1. On preferences alpha uses the five steps, everything else the sign. Only a judge's first vote on an item counts;
    repeats count only for side bias, time and consistency."""
    votes = list(votes)
    first: dict[tuple[str, str, str], Vote] = {}
    for v in votes:
        if v.value is not None and v.repeat_of is None:
            first.setdefault((v.axis, v.annotator, v.item), v)
    by_axis = _grouped(first.values(), "axis")
    counted = by_axis.get(axis, [])
    skills, chance = _skills(counted)
    agreeing = _mean_agreement(counted)
    given = _grouped((v for v in votes if v.axis == axis), "annotator")
    cast = Counter(v.annotator for v in counted)
    people = {
        name: _person(mine, skills.get(name), agreeing.get(name), cast[name]) for name, mine in sorted(given.items())
    }
    answers = {name: Counter(v.shown for v in mine if v.value is not None) for name, mine in given.items()}
    everyone = sum(answers.values(), Counter())
    for name, person in people.items():
        person["flags"] = list(_flags(name, people, chance, given[name], everyone - answers[name]))
    return {
        "axis": axis,
        "votes": len(counted),
        "items": len({v.item for v in counted}),
        "agreement": {name: _agreement(group) for name, group in sorted(by_axis.items())},
        "annotators": people,
    }


def krippendorff_alpha(counts: np.ndarray, values: Sequence[float], level: Level) -> float | None:
    """Krippendorff's alpha, at most 1, of counts[item, value] with `values` in ascending order.

    None unless an item has two votes and two different values occur."""
    import krippendorff

    counts = counts[counts.sum(axis=1) > 1]
    seen = counts.sum(axis=0) > 0
    if seen.sum() < 2:
        return None
    return float(
        krippendorff.alpha(
            value_counts=counts[:, seen], value_domain=np.array(values)[seen], level_of_measurement=level
        )
    )


def percent_agreement(counts: np.ndarray) -> float | None:
    """Share, 0..1, of the pairs of votes on an item that agree, averaged over items of counts[item, label]. None without such a pair."""
    counts = counts[counts.sum(axis=1) > 1]
    votes = counts.sum(axis=1)
    return float(((counts * (counts - 1)).sum(axis=1) / (votes * (votes - 1))).mean()) if len(counts) else None


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Fleiss' kappa, at most 1, of counts[item, label], over items with at least two votes (numbers may differ).

    None without such an item, or if all votes are equal."""
    counts = counts[counts.sum(axis=1) > 1]
    if not len(counts):
        return None
    by_chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return None if by_chance == 1 else ((percent_agreement(counts) or 0.0) - by_chance) / (1 - by_chance)


def cohen_kappa(first: Sequence, second: Sequence) -> float | None:
    """Cohen's kappa, at most 1, of two judges' labels of the same items. None without items, or if all labels are equal."""
    if not first:
        return None
    a, b = Counter(first), Counter(second)
    by_chance = sum(a[label] * b[label] for label in a) / len(first) ** 2
    same = sum(x == y for x, y in zip(first, second, strict=True)) / len(first)
    return None if by_chance == 1 else (same - by_chance) / (1 - by_chance)


def wilson_interval(hits: float, n: float) -> tuple[float, float]:
    """95 % score interval (low, high), 0..1, of a share of `hits` in `n` >= 1 trials (E. B. Wilson, JASA 22, 1927)."""
    z, share = 1.959964, hits / n
    middle, half = share + z * z / (2 * n), z * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, (middle - half) / (1 + z * z / n)), min(1.0, (middle + half) / (1 + z * z / n))


def _grouped(votes: Iterable[Vote], by: str) -> dict[str, list[Vote]]:
    out: dict[str, list[Vote]] = defaultdict(list)
    for v in votes:
        out[getattr(v, by)].append(v)
    return out


def _counts(votes: list[Vote], field: str) -> tuple[np.ndarray, list[float]]:
    """(counts[item, value], the values in ascending order)."""
    coded, items, _, values = aggregation.encode_votes(
        [v.item for v in votes], [v.annotator for v in votes], [getattr(v, field) for v in votes]
    )
    counts = np.zeros((len(items), len(values)), dtype=int)
    np.add.at(counts, (coded.item, coded.label), 1)
    return counts, values


def _agreement(votes: list[Vote]) -> dict[str, Any]:
    steps, values = _counts(votes, "value")
    labels, _ = _counts(votes, "label")
    return {
        "votes": len(votes),
        "items": int((labels.sum(axis=1) > 1).sum()),
        "percent": _rounded(percent_agreement(labels)),
        "alpha": {level: _rounded(krippendorff_alpha(steps, values, level)) for level in LEVELS},
        "fleiss": _rounded(fleiss_kappa(labels)),
        "cohen": _rounded(_two_by_two(votes)),
    }


def _two_by_two(votes: list[Vote]) -> float | None:
    both: dict[tuple[str, str], tuple[list, list]] = defaultdict(lambda: ([], []))
    for group in _grouped(votes, "item").values():
        for a, b in combinations(sorted(group, key=lambda v: v.annotator), 2):
            both[a.annotator, b.annotator][0].append(a.label)
            both[a.annotator, b.annotator][1].append(b.label)
    kappas = [(kappa, len(a)) for a, b in both.values() if (kappa := cohen_kappa(a, b)) is not None]
    return sum(k * n for k, n in kappas) / sum(n for _, n in kappas) if kappas else None


def _skills(votes: list[Vote]) -> tuple[dict[str, float], float]:
    """({judge: estimated skill}, chance level: accuracy of always choosing the most frequent label), without judges whose skill the votes
    do not determine it (`aggregation.identifiable`); ({}, 1) if there are no others."""
    labels = [v.label for v in votes]
    coded, _, names, values = aggregation.encode_votes([v.item for v in votes], [v.annotator for v in votes], labels)
    told = aggregation.identifiable(coded)
    if not told.any() or len(values) < 2:
        return {}, 1.0
    if votes[0].axis == PREFERENCE:
        values = [-1.0, 0.0, 1.0]
        coded = aggregation.add_mirrored_votes(coded._replace(label=np.array(labels, dtype=np.intp) + 1), len(values))
    model = aggregation.dawid_skene(coded, len(values))
    skills = {
        name: skill for name, skill, known in zip(names, aggregation.skills(model).tolist(), told, strict=True) if known
    }
    return skills, float(model.prior.max())


def _mean_agreement(votes: list[Vote]) -> dict[str, float]:
    """{judge: mean share of the others on an item with the same label}; judges who share no item are left out."""
    shares: dict[str, list[float]] = defaultdict(list)
    for group in _grouped(votes, "item").values():
        labels = Counter(v.label for v in group)
        for v in group if len(group) > 1 else ():
            shares[v.annotator].append((labels[v.label] - 1) / (len(group) - 1))
    return {name: fmean(values) for name, values in shares.items()}


def _person(votes: list[Vote], skill: float | None, agreement: float | None, counted: int) -> dict[str, Any]:
    cast = [v for v in votes if v.value is not None]
    seconds = {v.question: v.seconds for v in votes if v.seconds is not None}
    gold = {v.question: v.gold for v in cast if v.gold is not None}
    asked = {(v.question, v.item): v.label for v in cast}
    repeats = [v.label == asked[key] for v in cast if (key := (v.repeat_of or "", v.item)) in asked]
    questions, answered = {v.question for v in votes}, {v.question for v in cast}
    return {
        "votes": counted,
        "skipped": len(questions - answered),
        "skip_rate": round(1 - len(answered) / len(questions), 4),
        "agreement": _rounded(agreement),
        "skill": _rounded(skill),
        "gold": _share(list(gold.values())),
        "seconds": _rounded(median(seconds.values())) if seconds else None,
        "timed": len(seconds),
        "left": _share([v.left for v in cast if v.left is not None]),
        "ties": round(sum(v.label == 0 for v in cast) / len(cast), 4) if cast and votes[0].axis == PREFERENCE else None,
        "repeats": {"n": len(repeats), "share": round(fmean(repeats), 4)} if repeats else None,
        "longest_run": _run(cast)[1],
    }


def _flags(name: str, people: dict[str, dict], chance: float, votes: list[Vote], others: Counter) -> Iterator[str]:
    """Reasons to look at this judge, as text."""
    me = people[name]
    if (
        me["skill"] is not None
        and me["votes"] >= ENOUGH
        and wilson_interval(me["skill"] * me["votes"], me["votes"])[0] <= chance
    ):
        yield f"skill {me['skill']:.0%} in {me['votes']} votes is not significantly above chance ({chance:.0%})"
    times = [p["seconds"] for who, p in people.items() if who != name and p["seconds"] is not None]
    if len(times) > 1 and me["timed"] >= TIMED and me["seconds"] < HURRIED * median(times):
        yield f"{me['seconds']:.0f} s per question; the others take {median(times):.0f} s"
    if (left := me["left"]) and left["n"] >= SIDES and not left["low"] <= 0.5 <= left["high"]:
        yield f"chose the left side {left['share']:.0%} of {left['n']} times ({left['low']:.0%} to {left['high']:.0%})"
    if (gold := me["gold"]) and gold["high"] < GOLD:
        yield f"{gold['share']:.0%} of {gold['n']} gold questions right ({gold['low']:.0%} to {gold['high']:.0%})"
    answer, length = _run([v for v in votes if v.value is not None])
    if total := others.total():
        usual = (others[answer] + 1) / (total + 2)
        if len(votes) * usual**length < UNLIKELY:
            yield f"the same answer {length} times in a row; others give it {usual:.0%} of the time"


def _run(cast: list[Vote]) -> tuple[str | float | None, int]:
    """(choice, length) of the longest run of equal choices as shown; (None, 0) without votes."""
    runs = [(answer, len(list(run))) for answer, run in groupby(v.shown for v in cast)]
    return max(runs, key=lambda run: run[1], default=(None, 0))


def _share(hits: list[bool]) -> dict[str, Any] | None:
    if not hits:
        return None
    low, high = wilson_interval(sum(hits), len(hits))
    return {"n": len(hits), "share": round(fmean(hits), 4), "low": round(low, 4), "high": round(high, 4)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
