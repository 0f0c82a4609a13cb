"""Drops near-duplicates: samples with nearly the same prompt and media as an earlier one. The first is kept.

Images are compared by perceptual hash, videos by the hashes of four frames, audio clips by their bytes; prompts by MinHash over character
5-grams (Broder 1997). Media near the same first one count as the same. (Exact duplicates are already dropped by the source.)"""

from array import array
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.filter.similarity import lsh, media_hashes, shingles
from pipeline.filter.similarity.media_hashes import MediaHashes
from schemas.arrow import from_batch
from schemas.messages import sample_label_of
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Reason, Rejection, Sample, digest, media_parts

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1


class Settings(Base):
    by: Literal["both", "media", "prompt"] = "both"
    """what must be nearly the same: media and prompt, only the media, or only the prompt"""
    bits: int = Field(6, ge=0, le=10)
    """maximum number of differing bits, of 64, between perceptual hashes"""
    likeness: float = Field(0.9, ge=0.6, le=1)
    """minimum Jaccard similarity of two prompts' character 5-grams, 0.6 to 1"""


class _Fingerprints:
    """What is kept per sample: ids, numbers of its media, the group of samples with the same media, and the prompt's MinHash signature."""

    def __init__(self, tables: Tables, by: str, media: dict[str, MediaHashes], bits: int):
        self.media = media
        self._first = {kind: _first(hashes, bits) for kind, hashes in media.items()}
        self._shown, self._ends = array("q"), array("q", [0])
        ids, sources, groups, signatures = [], [], array("Q"), []
        for batch in tables.batches("samples"):
            ids.append(batch.column("id"))
            sources.append(batch.column("source"))
            prompts = []
            for row in from_batch("samples", batch):
                groups.append(self._group(row) if media else 0)
                prompts.append(shingles.joined_text(row.prompt))
            if by != "media":
                signatures += shingles.signatures(prompts)
        self.ids, self.sources = pa.chunked_array(ids, pa.string()), pa.chunked_array(sources, pa.string())
        self.groups = np.unique(np.frombuffer(groups, np.uint64), return_inverse=True)[1]
        self.signatures = np.array(signatures).reshape(-1, shingles.PERMUTATIONS)

    def _group(self, row: Sample) -> int:
        """A number shared by samples whose media are, one by one, near the same first ones."""
        codes = []
        shown = [(p.type, p.media) for p in media_parts(row.prompt) if p.media]
        for kind, sha in shown:
            number = self.media[kind].numbers.find(sha) if kind in self.media else -1
            self._shown.append(number * 2 + (kind == "video") if number >= 0 else -1)
            codes.append([kind, int(self._first[kind][number])] if number >= 0 else [kind, sha])
        self._ends.append(len(self._shown))
        return int(digest(codes)[:16], 16)

    def shown(self, i: int) -> list[int]:
        """Codes of a sample's media: 2 * number (+ 1 for videos); -1 without a hash."""
        return self._shown[self._ends[i] : self._ends[i + 1]].tolist()

    def apart(self, i: int, j: int) -> int:
        """Maximum number of differing bits between the media of two samples of a group."""
        codes = [(a, b) for a, b in zip(self.shown(i), self.shown(j)) if a >= 0]
        return max((int(self.media["video" if a % 2 else "image"].apart(a // 2, b // 2)) for a, b in codes), default=0)


def _first(media: MediaHashes, bits: int) -> np.ndarray:
    """For each media item the index of the earlier one that it counts as, or its own."""
    twins = lsh.near_duplicates(media.keys(bits), lambda i, j: media.apart(i, j) <= bits)
    return np.where(twins < 0, np.arange(len(twins)), twins)


def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """Returns a rejection for each sample near an earlier one that is kept, with that sample and the distance.

    Samples without media are compared by prompt only, and all kept with `by: media`. Memory per sample: its ids, 16 bytes per media item and
    512 bytes of prompt signature; no pixels or texts."""
    media = (
        {}
        if settings.by == "prompt"
        else media_hashes.find_media_hashes(media_hashes.media_of_run(tables), context.media)
    )
    prints = _Fingerprints(tables, settings.by, media, settings.bits)
    groups, signed = prints.groups, prints.signatures
    if not len(groups):
        return []
    if settings.by == "media":
        twins = lsh.near_duplicates([groups], lambda i, j: np.ones(len(i), bool))
    else:
        twins = lsh.near_duplicates(
            list(shingles.keys(signed, groups)),
            lambda i, j: (groups[i] == groups[j]) & (shingles.similarity(signed[i], signed[j]) >= settings.likeness),
        )
    out = []
    for j in np.flatnonzero(twins >= 0).tolist():
        i = int(twins[j])
        distances = [f"{prints.apart(i, j)} of 64 bits differ"] if media and prints.shown(j) else []
        if settings.by != "media":
            distances.append(f"prompt similarity {float(shingles.similarity(signed[i], signed[j])):.2f}")
        elif not prints.shown(j):
            continue
        name = prints.ids[j].as_py()
        detail = f"{_label(prints, j)}: nearly the same as {_label(prints, i)} ({', '.join(distances)}); keep only one of them"
        out.append(Rejection(name, "samples", context.step, Reason.DUPLICATE, detail, name))
    return out


def _label(prints: _Fingerprints, i: int) -> str:
    return sample_label_of(prints.ids[i].as_py(), prints.sources[i].as_py())
