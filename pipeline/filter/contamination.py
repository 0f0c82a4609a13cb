"""Decontamination: samples that a benchmark asks too must not be trained on.

A sample goes when it holds a share of the runs of words of a benchmark's question (13 words, as for GPT-3; the whole question
where it is shorter), or shows a picture that the benchmark shows."""

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from pydantic import Field, field_validator

from pipeline.filter.similarity import lsh, media_hashes
from pipeline.filter.similarity import shingles as words
from pipeline.filter.similarity.media_hashes import MediaHashes
from pipeline.media import phash
from pipeline.media.sniff import sniff
from pipeline.source import rows
from pipeline.storage.urls import filled
from schemas.arrow import from_batch
from schemas.errors import RowError
from schemas.messages import sample_label
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Reason, Rejection, Sample, media_parts

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1


class Settings(Base):
    sets: dict[str, rows.Settings] = Field(min_length=1)
    """the benchmarks by name: a file, or what `source.rows` may be told: {mmbench: {path: mmbench.parquet, columns: {prompt: question}}}"""
    words: int = Field(13, ge=1, le=1_000)
    """length of the runs of words that are compared"""
    shortest: int = Field(8, ge=1, le=1_000)
    """of a question of fewer words only the pictures are compared: anybody asks it"""
    overlap: float = Field(0.5, gt=0, le=1)
    """what part of a question's runs in one sample makes it contaminated"""
    bits: int | None = Field(6, ge=0, le=10)
    """of 64 bits of a picture's hash, how many may differ; null leaves pictures uncompared"""

    @field_validator("sets", mode="before")
    @classmethod
    def _paths(cls, sets):
        return (
            {n: {"path": s} if isinstance(s, str) else s for n, s in sets.items()} if isinstance(sets, dict) else sets
        )


def named_files(settings: Settings) -> list[str]:
    """What the step's key rests on: the benchmarks' rows (media beside them are taken to stay what they are)."""
    return [s.path for s in settings.sets.values()]


def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """A rejection for each contaminated sample, naming the set, its row and the score; and one for each row of a benchmark that
    cannot be read, against which nothing is protected. InputError when a benchmark cannot be read at all.

    Compared are a sample's prompt and reference. Held are 16 bytes for each run of words and each picture of the benchmarks,
    and 24 for each picture of the run."""
    known = _Benchmarks(settings, context)
    out = known.rejections
    shown = known.shown(settings.bits, tables, context) if settings.bits is not None else lambda row: None
    for batch in tables.batches("samples"):
        for row in from_batch("samples", batch):
            if said := shown(row) or known.asked(row):
                detail = f"{sample_label(row)}: {said}; it must not be trained on"
                out.append(Rejection(row.id, "samples", context.step, Reason.CONTAMINATED, detail, row.id))
    return out


class _Eye:
    """A media store that keeps only what media look like."""

    def __init__(self):
        self.hashes: dict[str, np.ndarray | None] = {}

    def add(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        if name not in self.hashes:
            kind = {"pillow": "image", "av": "video"}.get(sniff(data, name).library)
            try:
                self.hashes[name] = media_hashes.hashes(data, kind, name) if kind else None
            except RowError:  # sound in a video's container
                self.hashes[name] = None
        return name

    def read(self, sha: str) -> bytes:
        raise KeyError(sha)

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        return iter(names)

    def sync(self) -> None:
        """Nothing is kept."""


class _Benchmarks:
    """What is known of the benchmarks: their runs of words and the looks of their media, each with its row."""

    def __init__(self, settings: Settings, context: Context):
        self.settings = settings
        self.rejections: list[Rejection] = []
        self._rows: list[str] = []
        self._runs: dict[int, tuple[array, array]] = {}  # number of words -> hashes of runs, and whose they are
        self._totals = array("q")
        self._looks = {kind: (MediaHashes(kind), array("q")) for kind in media_hashes.FRAMES}
        for name, where in settings.sets.items():
            self._read(name, where, context)
        self._sorted = {}
        for n, (runs, owners) in self._runs.items():
            order = np.argsort(np.frombuffer(runs, np.uint64), kind="stable")
            self._sorted[n] = np.frombuffer(runs, np.uint64)[order], np.frombuffer(owners, np.int64)[order]

    def _read(self, name: str, where: rows.Settings, context: Context) -> None:
        eye, waiting = _Eye(), []
        for row in rows.read(filled(where), replace(context, media=eye)):
            if isinstance(row, Media):
                waiting.append(row)
                continue
            if isinstance(row, Sample):
                self._learn(f"{name} {row.source}", row, [(m, eye.hashes[m.id]) for m in waiting])
            else:
                self.rejections.append(row._replace(id=f"{name}:{row.id}", detail=f"{name}: {row.detail}"))
            waiting = []

    def _learn(self, name: str, row: Sample, media: list[tuple[Media, np.ndarray | None]]) -> None:
        number = len(self._rows)
        self._rows.append(name)
        for medium, hashes in media:
            if hashes is not None:
                known, owners = self._looks[medium.kind]
                known.add(medium.id, hashes)
                owners.append(number)
        asked = words.words(words.shared_words(row.prompt))
        n = min(self.settings.words, len(asked))
        found = set(words.grams(asked, n)) if n >= min(self.settings.shortest, self.settings.words) else ()
        self._totals.append(len(found))
        if found:
            runs, owners = self._runs.setdefault(n, (array("Q"), array("q")))
            runs.extend(found)
            owners.extend([number] * len(found))

    def asked(self, row: Sample) -> str | None:
        """Which benchmark's question the sample holds the most of, when it is enough."""
        held = words.words(f"{words.shared_words(row.prompt)} {row.reference or ''}")
        best = (0.0, "")
        for n, (runs, owners) in self._sorted.items():
            mine = np.unique(np.array(words.grams(held, n), np.uint64))
            starts, ends = np.searchsorted(runs, mine), np.searchsorted(runs, mine, "right")
            hit = [owners[start:end] for start, end in zip(starts, ends) if start < end]
            if hit:
                numbers, counts = np.unique(np.concatenate(hit), return_counts=True)
                shares = counts / np.frombuffer(self._totals, np.int64)[numbers]
                top = int(shares.argmax())
                said = f"{self._rows[numbers[top]]} asks it ({shares[top]:.2f} of its runs of {n} words)"
                best = max(best, (float(shares[top]), said))
        return best[1] if best[0] >= self.settings.overlap else None

    def shown(self, bits: int, tables: Tables, context: Context) -> Callable[[Sample], str | None]:
        """A function that says of a sample which benchmark shows one of its media, in at most `bits` other bits."""
        media = media_hashes.find_media_hashes(media_hashes.listed(tables), context.media)
        found = {}
        for kind, (known, owners) in self._looks.items():
            known.close()
            both = np.concatenate([known.hashes, media[kind].hashes])
            apart = lambda i, j, both=both: phash.distance(both[i], both[j]).max(axis=-1)
            count = len(owners)
            keys = lsh.bands(both[:, known.frames // 2], max(bits, 1))
            twin = lsh.earlier(
                keys, np.arange(count), np.arange(count, len(both)), lambda i, j, a=apart: a(i, j) <= bits
            )
            found[kind] = [
                (self._rows[owners[i]], int(apart(i, count + j))) if i >= 0 else None
                for j, i in enumerate(twin.tolist())
            ]

        def said(row: Sample) -> str | None:
            shown = [(p.type, p.media) for p in media_parts(row.prompt) if p.media]
            for kind, sha in shown:
                number = media[kind].numbers.find(sha) if kind in found else -1
                if number >= 0 and (hit := found[kind][number]):
                    return f"{hit[0]} shows its {kind} ({hit[1]} of 64 bits apart)"
            return None

        return said
