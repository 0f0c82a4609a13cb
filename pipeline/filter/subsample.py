"""Subsamples so that rare samples remain: by weighted strata, or evenly over clusters.

`strata` is MM-RLHF's: long, short and multiple-choice questions 4 : 5 : 1, where long means a reference of more than 128 characters.
`clusters` is its other step: k-means with 100 clusters, the same number from each. Instead of its CLIP embedding: that of a model of the
recipe, or a cheap one (8 x 8 grey values and a 4 x 4 x 4 colour histogram, or hashed character n-grams of the prompt)."""

import asyncio
import hashlib
import re
import tempfile
from array import array
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from itertools import islice
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
from PIL import Image
from pydantic import Field, model_validator

from pipeline.filter.similarity import media_hashes, shingles
from pipeline.media import phash
from schemas.arrow import from_batch
from schemas.errors import EngineError, RowError
from schemas.messages import sample_label_of
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Reason, Rejection, Sample
from schemas.requests import Embed, Failure

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 2

GRID, LEVELS, PROMPT_WIDTH = 8, 4, 256
PICTURE_WIDTH = GRID**2 + LEVELS**3
ALONE = "without a picture"
UNEMBEDDED = "not embedded"
TOGETHER = 64  # samples embedded by a model at a time
EMBEDDINGS = {
    "picture": f"picture ({GRID} x {GRID} grey values, {LEVELS} x {LEVELS} x {LEVELS} colour histogram)",
    "prompt": f"prompt (character 3- to 5-grams hashed into {PROMPT_WIDTH} dimensions)",
}
_OPTIONS = re.compile(r"(?:^|\s)\(?A[.):]\s.*?(?:^|\s)\(?B[.):]\s", re.DOTALL)


class Settings(Base):
    n: int = Field(ge=1)
    """number of samples kept; all if there are fewer"""
    by: Literal["strata", "clusters"] = "strata"
    """what is balanced"""
    weights: dict[Literal["long", "short", "mcq"], float] = Field({"long": 4, "short": 5, "mcq": 1})
    """shares of the strata; a stratum not named is dropped. If one has too few samples, the others make up for it"""
    long: int = Field(128, ge=0, le=10_000_000)
    """minimum characters of a long reference, exclusive"""
    clusters: int = Field(100, ge=2, le=100_000)
    """number of k-means clusters"""
    embedding: Literal["picture", "prompt", "model"] = "picture"
    """what is clustered; samples without a picture, or without an embedding from the model, form a cluster of their own"""
    model: str | None = None
    """for `embedding: model`: a model of the recipe on an engine that can embed (hf); it sees prompt and media"""
    seed: int = 0
    """seed of the draw and of k-means"""

    @model_validator(mode="after")
    def _shares(self):
        if any(w < 0 for w in self.weights.values()) or not sum(self.weights.values()):
            raise ValueError("`weights` must not be negative, and at least one must be above 0")
        if (self.model is not None) != (self.by == "clusters" and self.embedding == "model"):
            raise ValueError("set `model` together with `by: clusters, embedding: model`, or none of them")
        return self


def keep(tables: Tables, settings: Settings, context: Context) -> dict | Coroutine:
    """Returns a rejection for each sample not drawn, with its stratum or cluster; and, for the step's record, the numbers before and
    after by group, and the embedding.

    Which samples of a stratum are kept depends only on their ids and the seed. Embeddings (0.5 to 1 kB each) are stored in a temporary
    file; in memory are each sample's id and a few numbers. EngineError if the model's engine cannot embed."""
    if settings.model:
        return _by_model(tables, settings, context)
    if settings.by == "clusters":
        return _evenly(tables, _clusters(tables, settings, context), EMBEDDINGS[settings.embedding], settings, context)
    labels = [stratum(row, settings.long) for row in _samples(tables)]
    return _chosen(tables, labels, {**settings.weights}, "stratum {}", settings, context)


async def _by_model(tables: Tables, settings: Settings, context: Context) -> dict:
    """Clusters by a model's embeddings. EngineError if its engine cannot embed."""
    engine = context.engines[settings.model or ""]
    if "Embed" not in engine.can:
        raise EngineError(f"{context.step}: {engine.identity} cannot embed; use a model on the engine hf")
    with tempfile.TemporaryFile() as file:
        points, width, samples = array("q"), 0, _samples(tables)
        while chunk := list(islice(samples, TOGETHER)):
            for found in await asyncio.gather(*(engine.ask(Embed(row.prompt)) for row in chunk)):
                if isinstance(found, Failure):
                    points.append(-1)
                    continue
                width = len(found.vector)
                points.append(file.tell() // (4 * width))
                file.write(np.asarray(found.vector, np.float32).tobytes())
            context.progress(len(points), None, "embedded")
        labels = _grouped(points, width, file, UNEMBEDDED, settings)
    return _evenly(tables, labels, f"model {engine.identity}", settings, context)


def _evenly(tables: Tables, labels: list[str], embedding: str, settings: Settings, context: Context) -> dict:
    weights = dict.fromkeys(labels, 1.0)
    return _chosen(tables, labels, weights, f"{{}} by {settings.embedding}", settings, context) | {
        "embedding": embedding
    }


def _chosen(
    tables: Tables, labels: Sequence[str], weights: Mapping[str, float], form: str, settings: Settings, context: Context
) -> dict:
    ids, sources = _names(tables)
    had = Counter(labels)
    quota = allocate(had, weights, settings.n)
    places = Counter()
    out = []
    for i in sorted(range(len(labels)), key=lambda i: _draw(settings.seed, ids[i].as_py())):
        places[labels[i]] += 1
        if places[labels[i]] > quota[labels[i]]:
            name, label = ids[i].as_py(), form.format(labels[i])
            detail = f"{sample_label_of(name, sources[i].as_py())}: {label} keeps {quota[labels[i]]} of {had[labels[i]]}; raise n to keep more"
            out.append((i, Rejection(name, "samples", context.step, Reason.NOT_SAMPLED, detail, name)))
    counts = {name: {"had": had[name], "kept": quota[name]} for name in sorted(had)}
    return {"rejections": [row for _, row in sorted(out)], "samples": counts}


def allocate(had: Mapping[str, int], weights: Mapping[str, float], n: int) -> dict[str, int]:
    """How many of each group are kept: `n` in total, by weight, but never more than a group has; other groups make up the difference.

    Fractions go to the largest remainders. Less than `n` if the groups with a weight have fewer in total."""
    quota = dict.fromkeys(had, 0)
    open_ = sorted(g for g in had if weights.get(g, 0) > 0)
    while open_:
        left, total = n - sum(quota.values()), sum(weights[g] for g in open_)
        exact = {g: left * (weights[g] / total) for g in open_}
        full = [g for g in open_ if exact[g] >= had[g]]
        if not full:
            quota |= {g: int(exact[g]) for g in open_}
            for g in sorted(open_, key=lambda g: int(exact[g]) - exact[g])[: n - sum(quota.values())]:
                quota[g] += 1
            break
        quota |= {g: had[g] for g in full}
        open_ = [g for g in open_ if g not in full]
    return quota


def _draw(seed: int, name: str) -> bytes:
    """A stable random order of samples: adding rows does not change which of two comes first."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()


def _names(tables: Tables) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    found = list(tables.batches("samples", ["id", "source"]))
    return tuple(pa.chunked_array([b.column(name) for b in found], pa.string()) for name in ("id", "source"))


def _samples(tables: Tables) -> Iterator[Sample]:
    for batch in tables.batches("samples"):
        yield from from_batch("samples", batch)


def stratum(row: Sample, long: int) -> str:
    """mcq: the prompt lists options A and B, or the answer is a letter; else long or short by the reference's length."""
    if _OPTIONS.search(shingles.joined_text(row.prompt)) or re.fullmatch(r"\(?[A-J][.)]?", row.answer or ""):
        return "mcq"
    return "long" if len(row.reference or "") > long else "short"


def _clusters(tables: Tables, settings: Settings, context: Context) -> list[str]:
    """Each sample's cluster, by a cheap embedding."""
    with tempfile.TemporaryFile() as file:
        if settings.embedding == "picture":
            points, width = _pictures(tables, context, file), PICTURE_WIDTH
        else:
            points, width = _prompts(tables, file), PROMPT_WIDTH
        return _grouped(points, width, file, ALONE, settings)


def _grouped(points: Sequence[int], width: int, file: BinaryIO, alone: str, settings: Settings) -> list[str]:
    """Each sample's cluster, by the index of its vector in the file; `alone` is the label of samples without one (-1)."""
    from sklearn.cluster import MiniBatchKMeans

    file.flush()
    count = file.tell() // (4 * width) if width else 0
    if not count:
        return [alone] * len(points)
    embedded = np.memmap(file, np.float32, "r", shape=(count, width))
    k = min(settings.clusters, count)
    found = MiniBatchKMeans(k, random_state=settings.seed, n_init=1, batch_size=1024).fit(embedded).labels_
    return [f"cluster {found[point]} of {k}" if point >= 0 else alone for point in points]


def _pictures(tables: Tables, context: Context, file: BinaryIO) -> array:
    """Writes the embedding of each image and video; returns for each sample the index of its first one, or -1."""
    numbers = media_hashes.Numbers()
    for name, _, found in media_hashes.measured(media_hashes.media_of_run(tables), context.media, embedded):
        if not isinstance(found, RowError):
            numbers.add(name)
            file.write(found.tobytes())
    numbers.close()
    shown = ((numbers.find(name) for name in row.media) for row in _samples(tables))
    return array("q", (next((number for number in found if number >= 0), -1) for found in shown))


def embedded(data: bytes, kind: str, name: str) -> np.ndarray:
    """A picture's (or a video's first frame's) embedding: [PICTURE_WIDTH] float32 of unit length. Half is the grey values minus their
    mean, half the square roots of the histogram's shares, both equally weighted. RowError if it cannot be decoded."""
    picture = next(iter(phash.pictures(data, kind, 1, media_hashes.EDGE, name))).resize((64, 64))
    grey = np.asarray(picture.convert("L").resize((GRID, GRID), Image.Resampling.BOX), np.float32).ravel()
    grey -= grey.mean()
    levels = np.asarray(picture).reshape(-1, 3) // (256 // LEVELS)
    colours = np.bincount(levels @ (LEVELS**2, LEVELS, 1), minlength=LEVELS**3) / len(levels)
    return np.concatenate([grey / max(float(np.linalg.norm(grey)), 1e-6), np.sqrt(colours)]).astype(np.float32) / 2**0.5


def _prompts(tables: Tables, file: BinaryIO) -> range:
    """Writes the embedding of each sample's prompt; returns their indices."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=PROMPT_WIDTH, dtype=np.float32)
    count = 0
    for batch in tables.batches("samples"):
        if texts := [
            " ".join(shingles.words(shingles.joined_text(row.prompt))) for row in from_batch("samples", batch)
        ]:
            file.write(hashing.transform(texts).toarray().tobytes())
            count += len(texts)
    return range(count)
