"""Decontamination: drops samples that overlap with a benchmark.

A sample is dropped if its text contains a given share of a benchmark question's word n-grams (13 words, as for GPT-3, Brown et al. 2020;
a shorter question is one n-gram), or if it has an image or video of the benchmark."""

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
from pipeline.storage.urls import fill_variables
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
    """benchmarks by name: a file, or settings of `source.rows`: {mmbench: {path: mmbench.parquet, columns: {prompt: question}}}"""
    words: int = Field(13, ge=1, le=1_000)
    """length of the word n-grams compared"""
    shortest: int = Field(8, ge=1, le=1_000)
    """for questions with fewer words, only the media are compared: short questions are too common"""
    overlap: float = Field(0.5, gt=0, le=1)
    """share of a question's n-grams that a sample must contain to count as contaminated"""
    bits: int | None = Field(6, ge=0, le=10)
    """maximum number of differing bits, of 64, between perceptual hashes; null turns the media comparison off"""

    @field_validator("sets", mode="before")
    @classmethod
    def _paths(cls, sets):
        return (
            {n: {"path": s} if isinstance(s, str) else s for n, s in sets.items()} if isinstance(sets, dict) else sets
        )


def named_files(settings: Settings) -> list[str]:
    """The files that the step's key depends on: the benchmarks' rows (their media are assumed not to change)."""
    return [s.path for s in settings.sets.values()]


def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """Returns a rejection for each contaminated sample, with the benchmark, its row and the score, and one for each benchmark row that
    cannot be read, since nothing is protected against it. InputError if a benchmark cannot be read at all.

    Compares the samples' prompts and references. Memory: 16 bytes per n-gram and per media item of the benchmarks, 24 per media item of the run."""
    benchmarks = _Benchmarks(settings, context)
    out = benchmarks.rejections
    media_match = (
        benchmarks.media_matcher(settings.bits, tables, context) if settings.bits is not None else lambda row: None
    )
    for batch in tables.batches("samples"):
        for row in from_batch("samples", batch):
            if overlap := media_match(row) or benchmarks.text_match(row):
                detail = f"{sample_label(row)}: {overlap}; it must not be trained on"
                out.append(Rejection(row.id, "samples", context.step, Reason.CONTAMINATED, detail, row.id))
    return out


class _HashOnlyStore:
    """A media store that keeps only perceptual hashes."""

    def __init__(self):
        self.hashes: dict[str, np.ndarray | None] = {}

    def add(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        if name not in self.hashes:
            kind = {"pillow": "image", "av": "video"}.get(sniff(data, name).library)
            try:
                self.hashes[name] = media_hashes.hashes(data, kind, name) if kind else None
            except RowError:  # only audio in a video container
                self.hashes[name] = None
        return name

    def read(self, sha: str) -> bytes:
        raise KeyError(sha)

    def missing(self, names: Iterable[str]) -> Iterator[str]:
        return iter(names)

    def form(self, sha: str, name: str) -> None:
        """There are no bytes to make forms of."""

    def keep_form(self, sha: str, name: str, made: str) -> None:
        """Nothing to keep."""

    def sync(self) -> None:
        """Nothing to sync."""


class _Benchmarks:
    """The benchmarks' n-grams and perceptual hashes, each with its row."""

    def __init__(self, settings: Settings, context: Context):
        self.settings = settings
        self.rejections: list[Rejection] = []
        self._rows: list[str] = []
        self._runs: dict[int, tuple[array, array]] = {}  # n -> hashes of n-grams, and the numbers of their rows
        self._totals = array("q")
        self._hashes = {kind: (MediaHashes(kind), array("q")) for kind in media_hashes.FRAMES}
        for name, where in settings.sets.items():
            self._read(name, where, context)
        self._sorted = {}
        for n, (runs, owners) in self._runs.items():
            order = np.argsort(np.frombuffer(runs, np.uint64), kind="stable")
            self._sorted[n] = np.frombuffer(runs, np.uint64)[order], np.frombuffer(owners, np.int64)[order]

    def _read(self, name: str, where: rows.Settings, context: Context) -> None:
        store, waiting = _HashOnlyStore(), []
        for row in rows.read(fill_variables(where), replace(context, media=store)):
            if isinstance(row, Media):
                waiting.append(row)
                continue
            if isinstance(row, Sample):
                self._add(f"{name} {row.source}", row, [(m, store.hashes[m.id]) for m in waiting])
            else:
                self.rejections.append(row._replace(id=f"{name}:{row.id}", detail=f"{name}: {row.detail}"))
            waiting = []

    def _add(self, name: str, row: Sample, media: list[tuple[Media, np.ndarray | None]]) -> None:
        number = len(self._rows)
        self._rows.append(name)
        for medium, hashes in media:
            if hashes is not None:
                known, owners = self._hashes[medium.kind]
                known.add(medium.id, hashes)
                owners.append(number)
        question = words.words(words.joined_text(row.prompt))
        n = min(self.settings.words, len(question))
        found = set(words.grams(question, n)) if n >= min(self.settings.shortest, self.settings.words) else ()
        self._totals.append(len(found))
        if found:
            runs, owners = self._runs.setdefault(n, (array("Q"), array("q")))
            runs.extend(found)
            owners.extend([number] * len(found))

    def text_match(self, row: Sample) -> str | None:
        """Describes the benchmark question with the largest overlap, if it reaches `overlap`; else None."""
        text = words.words(f"{words.joined_text(row.prompt)} {row.reference or ''}")
        best = (0.0, "")
        for n, (runs, owners) in self._sorted.items():
            mine = np.unique(np.array(words.grams(text, n), np.uint64))
            starts, ends = np.searchsorted(runs, mine), np.searchsorted(runs, mine, "right")
            hit = [owners[start:end] for start, end in zip(starts, ends) if start < end]
            if hit:
                numbers, counts = np.unique(np.concatenate(hit), return_counts=True)
                shares = counts / np.frombuffer(self._totals, np.int64)[numbers]
                top = int(shares.argmax())
                found = f"contains {shares[top]:.2f} of the {n}-word n-grams of {self._rows[numbers[top]]}"
                best = max(best, (float(shares[top]), found))
        return best[1] if best[0] >= self.settings.overlap else None

    def media_matcher(self, bits: int, tables: Tables, context: Context) -> Callable[[Sample], str | None]:
        """Returns a function that describes the benchmark row with one of a sample's media (at most `bits` bits differ), or None."""
        media = media_hashes.find_media_hashes(media_hashes.media_of_run(tables), context.media)
        found = {}
        for kind, (known, owners) in self._hashes.items():
            known.close()
            both = np.concatenate([known.hashes, media[kind].hashes])
            apart = lambda i, j, both=both: phash.distance(both[i], both[j]).max(axis=-1)
            count = len(owners)
            keys = lsh.bands(both[:, known.frames // 2], max(bits, 1))
            matches = lsh.near_earlier(
                keys, np.arange(count), np.arange(count, len(both)), lambda i, j, a=apart: a(i, j) <= bits
            )
            found[kind] = [
                (self._rows[owners[i]], int(apart(i, count + j))) if i >= 0 else None
                for j, i in enumerate(matches.tolist())
            ]

        def match(row: Sample) -> str | None:
            shown = [(p.type, p.media) for p in media_parts(row.prompt) if p.media]
            for kind, sha in shown:
                number = media[kind].numbers.find(sha) if kind in found else -1
                if number >= 0 and (hit := found[kind][number]):
                    return f"its {kind} is also in {hit[0]} ({hit[1]} of 64 bits differ)"
            return None

        return match
