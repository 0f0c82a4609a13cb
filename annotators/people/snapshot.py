"""A frozen copy of people's annotations: an immutable folder of rows, named by their digest, which keys the steps after it."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc as ipc

from annotators.people.ledger import LatestAnnotation, Ledger
from annotators.people.plan import SWAPPED
from annotators.people.question import PERSON
from schemas.arrow import TABLES, from_batch, to_batch
from schemas.axes import FAULTS, SKIPPED
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, candidate, judgement

TABLE_NAMES = ("judgements", "candidates")


class Snapshot:
    """The rows of a snapshot by sample. They stay on disk; memory holds only their positions."""

    def __init__(self, folder: Path):
        self._tables = {name: _read(folder / f"{name}.arrow") for name in TABLE_NAMES}
        self._places: dict[str, dict[str, tuple[int, int]]] = {name: {} for name in TABLE_NAMES}
        for name, table in self._tables.items():
            start = 0
            for sample, rows in groupby(s for c in table.column("sample").chunks for s in c.to_pylist()):
                count = sum(1 for _ in rows)
                self._places[name][sample] = start, count
                start += count

    def of(self, sample: str) -> list[Judgement | Candidate]:
        """The rows about one sample: rewritten answers first, then Judgements; empty if there are none."""
        out: list[Judgement | Candidate] = []
        for name in reversed(TABLE_NAMES):
            if place := self._places[name].get(sample):
                for batch in self._tables[name].slice(*place).to_batches():
                    out += from_batch(name, batch)
        return out


def take_snapshot(ledger: Ledger, folder: Path, step: str, version: str) -> tuple[str, Snapshot]:
    """(digest, Snapshot) of the usable annotations in the ledger. Equal annotations give the same digest and the same bytes.

    The caller must hold the ledger's lock (`Ledger.alone`)."""
    for leftover in folder.glob(".new*"):  # of a killed process
        shutil.rmtree(leftover)
    fresh = folder / ".new"
    fresh.mkdir(parents=True)
    total = hashlib.sha256()
    writers = {name: ipc.new_file(str(fresh / f"{name}.arrow"), TABLES[name][1]) for name in TABLE_NAMES}
    waiting: dict[str, list] = {name: [] for name in TABLE_NAMES}

    def flush(name: str) -> None:
        writers[name].write_batch(to_batch(name, waiting[name]))
        waiting[name] = []

    for answer in ledger.answers():
        for row in rows_of(answer, step, version):
            total.update(repr(row).encode())
            name = "candidates" if isinstance(row, Candidate) else "judgements"
            waiting[name].append(row)
            if len(waiting[name]) == 4096:
                flush(name)
    for name, writer in writers.items():
        flush(name)
        writer.close()
    key = total.hexdigest()[:32]
    if not (folder / key).exists():
        fresh.rename(folder / key)
    else:
        shutil.rmtree(fresh)
    return key, Snapshot(folder / key)


def rows_of(answer: LatestAnnotation, step: str, version: str) -> Iterator[Judgement | Candidate]:
    """One person's annotation as rows: a Judgement per verdict, and a Candidate if the answer was rewritten.

    `raw` of a Judgement is JSON: `seconds` spent, `rationale`, and on the axis `faults` the `spans` [start, end, class, severity,
    correction]. `order` is the index of the answer shown first; a repeat has attempt 1. A skipped question gives one abstention on
    the axis `skipped`."""
    question, reply = answer.question, answer.reply
    who = f"{PERSON}{answer.person}"
    by = Provenance(who, version, question.order[0], int(question.ask == SWAPPED), answer.revision)
    raw = {"seconds": answer.seconds, "rationale": reply.rationale if reply else None}
    if reply is None:
        target, items = _target(question.items, range(len(question.items)))
        yield judgement(question.sample, step, target, items, SKIPPED, Finding(Outcome.ABSTAIN, raw=_json(raw)), by)
        return
    if reply.text is not None:
        yield candidate(question.sample, step, reply.text, model=who, parent=question.items[0], index=answer.revision)
    for said in reply.said:
        target, items = _target(question.items, said.items)
        spans = (
            [[s.start, s.end, s.label, s.severity, s.correction] for s in reply.spans] if said.axis == FAULTS else None
        )
        yield judgement(
            question.sample, step, target, items, said.axis,
            Finding(said.outcome, said.value, raw=_json(raw | ({"spans": spans} if spans else {}))), by,
        )  # fmt: skip


def _target(items: tuple[str, ...], places: Iterable[int]) -> tuple[str, tuple[str, ...]]:
    chosen = tuple(items[i] for i in places)
    return ("candidate" if len(chosen) == 1 else "pair"), chosen


def _json(value: dict) -> str | None:
    known = {k: v for k, v in value.items() if v is not None}
    return json.dumps(known, sort_keys=True) if known else None


def _read(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return ipc.open_file(source).read_all()
