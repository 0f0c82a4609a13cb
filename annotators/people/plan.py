"""Which questions go to people: which answers, to whom, which of them twice, which of them with a known answer."""

import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, islice
from typing import NamedTuple

from annotators.people.question import Question, Task, order, uid
from schemas import messages
from schemas.operator import SampleRows
from schemas.records import Candidate, Outcome, digest

SWAPPED = 1  # `ask` of a repeat


class Draft(NamedTuple):
    """Answers of one sample that could be asked about."""

    rank: tuple[float, str]  # those with the least are asked first
    sample: str
    kind: str
    items: tuple[str, ...]
    texts: tuple[str, ...]
    prompt: str
    media: tuple[tuple[str, str], ...]
    gold: tuple[float, ...] | None
    prelabel: float | None = None


def drafts(seen: Iterable[SampleRows], settings, mimes: Callable[[Iterable[str]], dict[str, str]]) -> Iterator[Draft]:
    """Everything that the settings would have people judge, sample by sample; what the route leaves out is not among it.

    `mimes` gives the MIME type of media by their ids."""
    for rows in seen:
        for chosen in _chosen(rows, settings):
            items = tuple(c.id for c in chosen)
            doubt = _doubt(rows, items, settings)
            if doubt is None:
                continue
            media = mimes(rows.sample.media)
            yield Draft(
                (doubt, digest(settings.seed, rows.sample.id, items)), rows.sample.id, rows.sample.kind, items,
                tuple(c.text for c in chosen), messages.readable(rows.sample.prompt), tuple((m, media[m]) for m in rows.sample.media),
                _known(rows, items, settings.gold_axis) if settings.gold else None,
                _judged(rows, items, settings.prelabels) if settings.prelabels else None,
            )  # fmt: skip


def _chosen(rows: SampleRows, settings) -> Iterator[tuple[Candidate, ...]]:
    """The answers of each question about a sample, in their canonical order; no text stands twice in one question."""
    texts: dict[str, Candidate] = {}
    for c in rows.candidates:
        texts.setdefault(c.text, c)
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


def _doubt(rows: SampleRows, items: tuple[str, ...], settings) -> float | None:
    """How little the judges' verdicts say about these answers, least first; None where the route leaves them out.

    `unsure`: the difference of the two nearest scores. `disagree`: 0 where two judging steps order two of the answers in
    opposite ways, else left out. An answer that a judge left without a verdict is in doubt as much as can be."""
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
            abs(of[a] - of[b]) if a in of and b in of else 0.0
            for of in scores.values() or [{}]
            for a, b in combinations(items, 2)
        ]
        return min(gaps)
    for a, b in combinations(items, 2):
        signs = {(of[a] > of[b]) - (of[a] < of[b]) for of in scores.values() if a in of and b in of}
        if {1, -1} <= signs:
            return 0.0
    return None


def _known(rows: SampleRows, items: tuple[str, ...], axis: str) -> tuple[float, ...] | None:
    """How good each answer is known to be, where that tells them apart."""
    value = _values(rows, axis)
    known = tuple(value[i] for i in items if i in value)
    return known if len(known) == len(items) and len(set(known)) > 1 else None


def _judged(rows: SampleRows, items: tuple[str, ...], axis: str) -> float | None:
    """What judges say on `axis`: of one answer its value, of two the verdict on the pair, else by how much the first is better."""
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


def select(found: Iterable[Draft], settings, asked: dict[tuple[str, tuple[str, ...]], bool]) -> list[Draft]:
    """The drafts that are asked: those `asked` already (True: as a gold question), and as many more as the budget of annotations
    allows when each is asked of `most`, most doubtful first. A share `gold` of all are drafts with a known answer, as far as there
    are any; no other draft keeps what is known of it."""
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
    while some := list(islice(stream, max(room, 1024))):
        known = heapq.nsmallest(golden, (d for d in (*known, *some) if d.gold), key=lambda d: d.rank[1][::-1])
        rest = heapq.nsmallest(room, (*rest, *some), key=lambda d: d.rank)
    taken = {d.rank for d in known}
    others = [d._replace(gold=None) for d in rest if d.rank not in taken][: room - len(known)]
    return old + sorted(known + others, key=lambda d: d.rank[1])


def questions(draft: Draft, campaign: str, settings) -> Iterator[Question]:
    """The questions of a draft: one a desk that is asked (one in all where desks are shared), and for a seeded share of the
    drafts one more with the answers in reversed order."""
    desks = groups_of(draft, settings)[: settings.overlap]
    rng = random.Random(digest("repeat", settings.seed, campaign, draft.sample, draft.items))
    for desk in desks:
        first = question(draft, campaign, settings, desk, 0)
        yield first
        if len(draft.items) > 1 and rng.random() < settings.repeat:
            yield question(draft, campaign, settings, desk, SWAPPED)


def groups_of(draft: Draft, settings) -> list[str]:
    """All desks in the order in which this draft is dealt to them; one shared desk where none are named."""
    desks = list(settings.desks) or [""]
    random.Random(digest("desk", settings.seed, draft.sample, draft.items)).shuffle(desks)
    return desks


def question(draft: Draft, campaign: str, settings, desk: str, ask: int) -> Question:
    """A repeat is the first asking with the answers in reversed order."""
    name = uid(campaign, settings.task, draft.sample, draft.items, desk, ask)
    base = name if ask != SWAPPED else uid(campaign, settings.task, draft.sample, draft.items, desk, 0)
    places = order(base, len(draft.items), settings.seed, ask == SWAPPED)
    return Question(
        name, settings.task, draft.sample, draft.kind, draft.items, places, desk, ask, draft.gold, draft.prompt,
        draft.media, tuple(draft.texts[i] for i in places), 1 if desk else settings.overlap, draft.prelabel,
    )  # fmt: skip
