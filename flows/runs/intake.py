"""Groups what sources yield by sample; for sources that also yield answers and pairs, merges repeated samples.

Preference sets contain many pairs per prompt, often far apart. They are merged in a temporary SQLite database on disk, so that memory
stays flat; the price is that the first sample waits for the last row."""

import pickle
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from flows.runs.contradictions import contradictory
from schemas.arrow import TABLE_OF
from schemas.messages import sample_label
from schemas.records import Candidate, Judgement, Media, Pair, Reason, Rejection, Sample, digest
from schemas.text import text_key


class Arrival(NamedTuple):
    """A Sample with the Media before it and its own rows (Candidates, Claims, Judgements, Pairs) after it."""

    media: list[Media]
    sample: Sample
    rows: list


Stream = Iterator[Arrival | Rejection | None]  # None: nothing yet, other tasks may run


def arrivals(records: Iterable, every: int) -> Stream:
    """Groups the records of a source into arrivals and rejections, with a None after each `every` of them.

    Media without a following Sample are dropped; a row belongs to the Sample before it. ValueError if there is none."""
    waiting: list[Media] = []
    now: Arrival | None = None
    count = 0
    for row in records:
        of_now = now is not None and not isinstance(row, Media | Sample) and row.sample == now.sample.id
        if now is not None and not of_now:
            yield now
            now, count = None, count + 1
        if isinstance(row, Media):
            waiting.append(row)
        elif isinstance(row, Sample):
            now, waiting = Arrival(waiting, row, []), []
        elif isinstance(row, Rejection):
            yield row
            waiting, count = [], count + 1
        elif now is None:
            raise ValueError(f"a source yields a {type(row).__name__} without its Sample before it")
        else:
            now.rows.append(row)
        if count >= every:
            yield None
            count = 0
    if now is not None:
        yield now


def merge_repeated(stream: Stream, kept: Collection[str] = ()) -> Stream:
    """Merges repeated Samples into their first occurrence, with the rows of all of them.

    Repeated answers and judgements are dropped; an answer that is chosen in one pair and rejected in another loses its role. A repeated
    pair, a contradicting judgement and a repeated Sample without rows become rejections that name the row; so do pairs that contradict each
    other, unless both are of steps in `kept`, also where their prompts differ in white space: these stay Samples of their own."""
    places: dict[bytes, int] = {}
    alike: dict[bytes, list[int]] = {}  # a prompt without its white space -> the places of its Samples
    count = 0
    with closing(sqlite3.connect("", check_same_thread=False)) as spool:
        spool.execute("PRAGMA journal_mode = OFF")
        spool.execute("CREATE TABLE arrivals (place INTEGER, body BLOB)")
        for item in stream:
            if item is None:
                yield None
                continue
            place = places.setdefault(bytes.fromhex(item.sample.id), count) if isinstance(item, Arrival) else count
            if isinstance(item, Arrival) and any(isinstance(row, Pair) for row in item.rows):
                same = alike.setdefault(bytes.fromhex(_prompt_key(item.sample)), [])
                if place not in same:
                    same.append(place)
            count += place == count
            spool.execute("INSERT INTO arrivals VALUES (?, ?)", (place, pickle.dumps(item, 5)))
        places.clear()
        spool.execute("CREATE INDEX by_place ON arrivals (place)")
        elsewhere: dict[str, str] = {}
        for several in [several for several in alike.values() if len(several) > 1]:
            elsewhere |= _contradicted_elsewhere(spool, several, kept)
        alike.clear()
        found = spool.execute("SELECT place, body FROM arrivals ORDER BY place, rowid")
        for _, group in groupby(found, itemgetter(0)):
            first, *others = [pickle.loads(body) for _, body in group]
            yield from _together(first, others, kept, elsewhere) if isinstance(first, Arrival) else [first]


def _prompt_key(sample: Sample) -> str:
    """Equal for two prompts that differ in white space only."""
    parts = [[(part.type, part.media or text_key(part.text or "")) for part in m.parts] for m in sample.prompt]
    return digest([m.role for m in sample.prompt], parts)


def _contradicted_elsewhere(spool: sqlite3.Connection, places: list[int], kept: Collection[str]) -> dict[str, str]:
    """{id of a pair: where the pair is from that contradicts it}, of the Samples at these places, whose prompts differ in white space only."""
    marks = ", ".join("?" * len(places))
    bodies = spool.execute(f"SELECT body FROM arrivals WHERE place IN ({marks}) ORDER BY place, rowid", places)
    arrived = [pickle.loads(body) for (body,) in bodies]
    pairs = [(row, sample_label(a.sample)) for a in arrived for row in a.rows if isinstance(row, Pair)]
    where = {pair.id: label for pair, label in pairs}
    return {
        pair.id: where[other.id]
        for pair, other in contradictory([pair for pair, _ in pairs])
        if pair.sample != other.sample and not {pair.step, other.step} <= set(kept)
    }


def _together(
    first: Arrival, others: list[Arrival], kept: Collection[str], elsewhere: dict[str, str]
) -> Iterator[Arrival | Rejection]:
    """One merged arrival, then rejections of the repetitions and of pairs that are contradicted, here or `elsewhere`."""
    rows: dict[tuple[str, str], Any] = {}
    places: dict[str, str] = {}  # id of a pair -> where it is from
    said: dict[tuple, Pair] = {}  # what pairs say -> the first that says it
    media = {m.id: m for m in first.media}
    twins: list[Rejection] = []
    for times, arrival in enumerate((first, *others), 1):
        media |= {m.id: m for m in arrival.media if m.id not in media}
        where = sample_label(arrival.sample)
        if times > 1 and not arrival.rows:
            twins.append(duplicate_rejection(arrival.sample, times))
        for row in arrival.rows:
            key = TABLE_OF[type(row)], row.id
            before = rows.get(key)
            if (
                isinstance(row, Pair) and isinstance(before, Pair) and before.label != row.label
            ):  # one answer, labelled good and bad
                row = row._replace(id=digest(row.id, str(row.label)))
                key = "pairs", row.id
                before = rows.get(key)
            if before is None and isinstance(row, Pair):
                before = said.get(_said(row))  # in other white space
            if before is None:
                rows[key] = row
                if isinstance(row, Pair):
                    said[_said(row)], places[row.id] = row, where
                continue
            if isinstance(row, Candidate) and isinstance(before, Candidate):
                if row.role != before.role:
                    rows[key] = row._replace(role=None)
            elif not (isinstance(row, Judgement) and row == before):
                detail = f"{where}: duplicate {key[0][:-1]}; remove one of them"
                twins.append(Rejection(f"{row.id}~{times}", key[0], row.step, Reason.DUPLICATE, detail, row.sample))
    pairs = [row for row in rows.values() if isinstance(row, Pair)]
    against = {pair.id: elsewhere[pair.id] for pair in pairs if pair.id in elsewhere}
    against |= {
        pair.id: places[other.id] for pair, other in contradictory(pairs) if not {pair.step, other.step} <= set(kept)
    }
    for pair in pairs:
        if pair.id in against:
            says = (
                "prefers the other answer to this prompt" if pair.rejected else "labels the same answer the other way"
            )
            detail = f"{places[pair.id]}: {against[pair.id]} {says}; remove one of them, or set `contradictions: keep`"
            twins.append(Rejection(pair.id, "pairs", pair.step, Reason.CONTRADICTION, detail, pair.sample))
            del rows["pairs", pair.id]
    yield Arrival(list(media.values()), first.sample, sorted(rows.values(), key=lambda row: ORDER.index(type(row))))
    yield from twins


def _said(pair: Pair) -> tuple:
    """What makes a pair the same as another one with the same media: its texts without their white space, their models, its label."""
    texts = text_key(pair.chosen), pair.rejected and text_key(pair.rejected)
    return *texts, pair.generator_chosen, pair.generator_rejected, pair.label, pair.rejected_media


ORDER = list(TABLE_OF)  # record types in the order in which a run makes them


def duplicate_rejection(sample: Sample, times: int) -> Rejection:
    """The rejection of a Sample that occurs for the `times`-th time."""
    detail = f"{sample_label(sample)}: duplicate of an earlier prompt with the same media; remove one of them"
    return Rejection(f"{sample.id}~{times}", "samples", sample.step, Reason.DUPLICATE, detail)
