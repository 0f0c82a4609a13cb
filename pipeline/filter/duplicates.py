"""Near-duplicates: samples that ask nearly the same of nearly the same media. The first stays.

Pictures are compared by perceptual hash, videos by those of four frames, sounds by their bytes alone; prompts by MinHash over
runs of five characters. Media near the same first one count as the same. (What is equal byte for byte the source has
dropped already.)"""

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
    """what must be nearly the same: media and prompt, the media whatever is asked, or the prompt whatever is shown"""
    bits: int = Field(6, ge=0, le=10)
    """of 64 bits of a picture's hash, how many may differ"""
    likeness: float = Field(0.9, ge=0.6, le=1)
    """how many of all runs of characters in two prompts must be in both, 0.6 to 1"""


class _Gist:
    """What is held of the samples: of each its ids, its media as numbers, the group of those that show the same, and the
    signature of its prompt."""

    def __init__(self, tables: Tables, by: str, media: dict[str, MediaHashes], bits: int):
        self.media = media
        self._first = {kind: _first(one, bits) for kind, one in media.items()}
        self._shown, self._ends = array("q"), array("q", [0])
        ids, sources, groups, signatures = [], [], array("Q"), []
        for batch in tables.batches("samples"):
            ids.append(batch.column("id"))
            sources.append(batch.column("source"))
            prompts = []
            for row in from_batch("samples", batch):
                groups.append(self._group(row) if media else 0)
                prompts.append(shingles.shared_words(row.prompt))
            if by != "media":
                signatures += shingles.signatures(prompts)
        self.ids, self.sources = pa.chunked_array(ids, pa.string()), pa.chunked_array(sources, pa.string())
        self.groups = np.unique(np.frombuffer(groups, np.uint64), return_inverse=True)[1]
        self.signatures = np.array(signatures).reshape(-1, shingles.PERMUTATIONS)

    def _group(self, row: Sample) -> int:
        """A number that samples have in common whose media are, one by one, near the same first ones."""
        codes = []
        shown = [(p.type, p.media) for p in media_parts(row.prompt) if p.media]
        for kind, sha in shown:
            number = self.media[kind].numbers.find(sha) if kind in self.media else -1
            self._shown.append(number * 2 + (kind == "video") if number >= 0 else -1)
            codes.append([kind, int(self._first[kind][number])] if number >= 0 else [kind, sha])
        self._ends.append(len(self._shown))
        return int(digest(codes)[:16], 16)

    def shown(self, i: int) -> list[int]:
        return self._shown[self._ends[i] : self._ends[i + 1]].tolist()

    def apart(self, i: int, j: int) -> int:
        """In how many bits the media of two samples of one group differ at most."""
        codes = [(a, b) for a, b in zip(self.shown(i), self.shown(j)) if a >= 0]
        return max((int(self.media["video" if a % 2 else "image"].apart(a // 2, b // 2)) for a, b in codes), default=0)


def _first(media: MediaHashes, bits: int) -> np.ndarray:
    """For each medium the earlier one that it is counted as, or itself."""
    twin = lsh.twins(media.keys(bits), lambda i, j: media.apart(i, j) <= bits)
    return np.where(twin < 0, np.arange(len(twin)), twin)


def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """A rejection for each sample that is near to an earlier one which stays, naming it and how far they are apart.

    Samples without media are compared by prompt only, and stay where only media count. Of a sample are held its ids, 16 bytes
    a medium and 512 of its prompt's signature, neither pixels nor texts."""
    media = (
        {} if settings.by == "prompt" else media_hashes.find_media_hashes(media_hashes.listed(tables), context.media)
    )
    gist = _Gist(tables, settings.by, media, settings.bits)
    groups, signed = gist.groups, gist.signatures
    if not len(groups):
        return []
    if settings.by == "media":
        twin = lsh.twins([groups], lambda i, j: np.ones(len(i), bool))
    else:
        twin = lsh.twins(
            list(shingles.keys(signed, groups)),
            lambda i, j: (groups[i] == groups[j]) & (shingles.alike(signed[i], signed[j]) >= settings.likeness),
        )
    out = []
    for j in np.flatnonzero(twin >= 0).tolist():
        i = int(twin[j])
        said = [f"{gist.apart(i, j)} of 64 bits apart"] if media and gist.shown(j) else []
        if settings.by != "media":
            said.append(f"prompts alike by {float(shingles.alike(signed[i], signed[j])):.2f}")
        elif not gist.shown(j):
            continue
        name = gist.ids[j].as_py()
        detail = f"{_named(gist, j)}: nearly the same as {_named(gist, i)} ({', '.join(said)}); leave one of them out"
        out.append(Rejection(name, "samples", context.step, Reason.DUPLICATE, detail, name))
    return out


def _named(gist: _Gist, i: int) -> str:
    return sample_label_of(gist.ids[i].as_py(), gist.sources[i].as_py())
