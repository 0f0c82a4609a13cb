"""Plans the questions for people: which answers, for which annotator group, which are repeated, which are gold."""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice
from typing import NamedTuple

from annotators.people.question import Question, Task, order, uid
from schemas import messages
from schemas.operator import SampleRows
from schemas.records import Candidate, Outcome, digest
from schemas.text import text_key

SWAPPED = 1  # `ask` of a repeat


class Draft(NamedTuple):
    """Answers of one sample that could become a question."""

    rank: tuple[float, str]  # priority: the lowest is asked first
    sample: str
    kind: str
    items: tuple[str, ...]
    texts: tuple[str, ...]
    prompt: str
    media: tuple[tuple[str, str], ...]
    gold: tuple[float, ...] | None
    prelabel: float | None = None


def drafts(seen: Iterable[SampleRows], settings, mimes: Callable[[Iterable[str]], dict[str, str]]) -> Iterator[Draft]:
    """All possible questions, sample by sample, without those that `route` leaves out.

    `mimes` maps media ids to {id: MIME type}."""
    for rows in seen:
        for chosen in _chosen(rows, settings):
            items = tuple(c.id for c in chosen)
            certainty = _certainty(rows, items, settings)
            if certainty is None:
                continue
            media = mimes(rows.sample.media)
            yield Draft(
                (certainty, digest(settings.seed, rows.sample.id, items)), rows.sample.id, rows.sample.kind, items,
                tuple(c.text for c in chosen), messages.readable(rows.sample.prompt), tuple((m, media[m]) for m in rows.sample.media),
                _known(rows, items, settings.gold_axis) if settings.gold else None,
                _judged(rows, items, settings.prelabels) if settings.prelabels else None,
            )  # fmt: skip


def _chosen(rows: SampleRows, settings) -> Iterator[tuple[Candidate, ...]]:
    """The answers of each question about a sample, in canonical order; texts in one question are different."""
    texts: dict[str, Candidate] = {}
    for c in rows.candidates:
        texts.setdefault(text_key(c.text), c)
    different = list(texts.values())
    rng = random.Random(digest("pick", settings.seed, rows.sample.id))
    if settings.of == "pairs":
        place = {c.id: i for i, c in enumerate(rows.candidates)}
        for pair in rows.pairs:
            if pair.chosen_id in place and pair.rejected_id in place:
                both = sorted((pair.chosen_id, pair.rejected_id), key=place.__getitem__)
                yield tuple(rows.candidates[place[i]] for i in both)
    elif settings.task == Task.PAIRWISE:
        pairs = list(combinations(different, 2))
        yield from rng.sample(pairs, min(settings.per_prompt, len(pairs)))
    elif settings.task == Task.RANKING:
        if len(different) > 1:
            yield tuple(different)
    else:
        picked = set(rng.sample(range(len(different)), min(settings.per_prompt, len(different))))
        yield from ((c,) for place, c in enumerate(different) if place in picked)


def _certainty(rows: SampleRows, items: tuple[str, ...], settings) -> float | None:
    """How clearly the judges separate these answers, 0 or more; None if the route leaves them out.

    `unsure`: the smallest difference of two scores by the same judge, 0 if a score is missing. `disagree`: 0 if two judges order two
    of the answers differently, else None."""
    if settings.route == "all":
        return 0.0
    scores: dict[str, dict[str, float]] = {}
    for s in rows.judgements:
        if (
            s.axis == settings.route_axis
            and s.target == "candidate"
            and s.outcome == Outcome.VERDICT
            and s.value is not None
        ):
            scores.setdefault(s.step, {})[s.items[0]] = s.value
    if settings.route == "unsure":
        gaps = [
            abs(judge[a] - judge[b]) if a in judge and b in judge else 0.0
            for judge in scores.values() or [{}]
            for a, b in combinations(items, 2)
        ]
        return min(gaps)
    for a, b in combinations(items, 2):
        judges = [judge for judge in scores.values() if a in judge and b in judge]
        signs = {(judge[a] > judge[b]) - (judge[a] < judge[b]) for judge in judges}
        if {1, -1} <= signs:
            return 0.0
    return None


def _known(rows: SampleRows, items: tuple[str, ...], axis: str) -> tuple[float, ...] | None:
    """The known quality of each answer; None if one is unknown or all are equal."""
    value = _values(rows, axis)
    known = tuple(value[i] for i in items if i in value)
    return known if len(known) == len(items) and len(set(known)) > 1 else None


def _judged(rows: SampleRows, items: tuple[str, ...], axis: str) -> float | None:
    """The judges' value on `axis`: of one answer its value; of two the verdict on the pair, else the difference of their values."""
    if len(items) == 2:
        for s in rows.judgements:
            if s.axis == axis and s.items == items and s.value is not None:
                return s.value
    value = _values(rows, axis)
    if any(i not in value for i in items):
        return None
    return value[items[0]] - (value[items[1]] if len(items) == 2 else 0)


def _values(rows: SampleRows, axis: str) -> dict[str, float]:
    return {
        s.items[0]: s.value
        for s in rows.judgements
        if s.axis == axis and s.target == "candidate" and s.outcome == Outcome.VERDICT and s.value is not None
    }


def select_drafts(found: Iterable[Draft], settings, asked: dict[tuple[str, tuple[str, ...]], bool]) -> list[Draft]:
    """The drafts to ask: those already `asked` (True: as gold), and as many new ones as the budget allows if each costs `most`
    annotations plus repeats, least certain first.

    A share `gold` of all are gold questions, if enough drafts have a known answer; the others lose theirs."""
    limit = (
        None if settings.budget is None else int(settings.budget / (settings.most + settings.overlap * settings.repeat))
    )
    old: list[Draft] = []

    def fresh() -> Iterator[Draft]:
        for draft in found:
            if (gold := asked.get((draft.sample, draft.items))) is None:
                yield draft
            else:
                old.append(draft if gold else draft._replace(gold=None))

    if limit is None:
        everything = list(fresh())
        stream, room = iter(everything), len(everything)
        golden = round(settings.gold * (len(old) + room)) - sum(d.gold is not None for d in old)
    else:
        stream, room = fresh(), max(0, limit - len(asked))
        golden = round(settings.gold * limit) - sum(asked.values())
    golden = min(room, max(0, golden))
    known: list[Draft] = []
    rest: list[Draft] = []
    while batch := list(islice(stream, max(room, 1024))):
        known = heapq.nsmallest(golden, (d for d in (*known, *batch) if d.gold), key=lambda d: d.rank[1][::-1])
        rest = heapq.nsmallest(room, (*rest, *batch), key=lambda d: d.rank)
    taken = {d.rank for d in known}
    others = [d._replace(gold=None) for d in rest if d.rank not in taken][: room - len(known)]
    return old + sorted(known + others, key=lambda d: d.rank[1])


def questions(draft: Draft, campaign: str, settings) -> Iterator[Question]:
    """The questions of a draft: one per annotator group (one in all without groups), and for a share `repeat`, drawn by the seed,
    one more with the answers in reverse order."""
    desks = groups_of(draft, settings)[: settings.overlap]
    rng = random.Random(digest("repeat", settings.seed, campaign, draft.sample, draft.items))
    for desk in desks:
        first = question(draft, campaign, settings, desk, 0)
        yield first
        if len(draft.items) > 1 and rng.random() < settings.repeat:
            yield question(draft, campaign, settings, desk, SWAPPED)


def groups_of(draft: Draft, settings) -> list[str]:
    """All annotator groups in the order in which they are asked about this draft; [""] if none are configured."""
    desks = list(settings.desks) or [""]
    random.Random(digest("desk", settings.seed, draft.sample, draft.items)).shuffle(desks)
    return desks


def question(draft: Draft, campaign: str, settings, desk: str, ask: int) -> Question:
    """The question of a draft for one annotator group; `ask` is 0, or SWAPPED for the repeat with the answers in reverse order."""
    name = uid(campaign, settings.task, draft.sample, draft.items, desk, ask)
    base = name if ask != SWAPPED else uid(campaign, settings.task, draft.sample, draft.items, desk, 0)
    places = order(base, len(draft.items), settings.seed, ask == SWAPPED)
    return Question(
        name, settings.task, draft.sample, draft.kind, draft.items, places, desk, ask, draft.gold, draft.prompt,
        draft.media, tuple(draft.texts[i] for i in places), 1 if desk else settings.overlap, draft.prelabel,
    )  # fmt: skip
