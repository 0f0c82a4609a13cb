"""Another sample's image, video or audio clip: any one of the run, or the image nearest to the sample's own.

It comes from a pool that is drawn from all samples before the first one, because neighbours within a shard are often alike."""

import asyncio
import contextlib
import heapq
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from pipeline.corrupt.kinds._kind import Kind, seeded_rng
from pipeline.media import statistics
from pipeline.media.decode import decode_image
from schemas.errors import RecipeError, RowError
from schemas.messages import sample_label, user
from schemas.operator import Context, Fitted, SampleRows
from schemas.ports import Engine, MediaStore
from schemas.records import Part, Reason, Sample, digest, media_parts
from schemas.requests import Embed, Failure


class Swap(Kind):
    """Another sample's file of the same media type (CHiP: any, RE-ALIGN: the nearest)."""

    kind: Literal["swap"] = "swap"
    by: Literal["chance", "statistics", "embedding"] = "chance"
    """any file of the pool; the image with the nearest statistics (entropy, edges, writing, as in filtering); or the nearest embedding"""
    model: str | None = None
    """for `by: embedding`: name of the recipe's model; its engine must provide embeddings (`hf`)"""
    pool: int = Field(2048, ge=1, le=100_000)
    """number of media in the pool, drawn from the whole run"""

    @model_validator(mode="after")
    def _check_model(self):
        if (self.model is None) == (self.by == "embedding"):
            raise ValueError("`by: embedding` needs a `model`; the other ways take none")
        return self


class PoolItem(NamedTuple):
    """A file of the pool."""

    media: str  # its id
    medium: str  # image, video or audio


class Pool:
    """The files to choose from. `figures`: statistics by media id, for `by: statistics`; empty otherwise."""

    def __init__(self, others: list[PoolItem], figures: dict[str, np.ndarray]):
        self.others = others
        self.figures = figures
        self._scale = np.std(list(figures.values()), axis=0) + 1e-9 if figures else 1.0
        self._vectors: dict[str, np.ndarray | Failure] = {}
        self._lock = asyncio.Lock()

    async def instead(self, sha: str, medium: str, kind: Swap, sample: Sample, context: Context) -> str:
        """The id of a file that the sample does not show, to replace the file `sha`.

        RowError NO_MATCH if the pool has none, and whatever the model's engine reports for the sample's own file."""
        others = [o.media for o in self.others if o.medium == medium and o.media not in sample.media]
        vectors = {}
        if kind.by == "statistics":
            vectors = self.figures | {sha: await asyncio.to_thread(_figures, sha, context.media)}
            vectors = {media: figures / self._scale for media, figures in vectors.items()}
        elif kind.by == "embedding":
            vectors = await self._embeddings(_embedder(kind, context), sha, medium)
            others = [o for o in others if o in vectors]
        if not others:
            detail = f"{sample_label(sample)}: the pool has no other {medium}; add samples or raise `pool`"
            raise RowError(Reason.NO_MATCH, detail)
        if not vectors:
            return others[seeded_rng(kind, sample.id, sha).integers(len(others))]
        return min(others, key=lambda other: (float(np.linalg.norm(vectors[other] - vectors[sha])), other))

    async def _embeddings(self, engine: Engine, sha: str, medium: str) -> dict[str, np.ndarray]:
        """Embeddings of `sha` and of the pool, each requested once; files that the model cannot embed are left out of the pool."""
        async with self._lock:
            new = [o.media for o in self.others if o.medium == medium and o.media not in self._vectors]
            self._vectors |= dict(zip(new, await asyncio.gather(*[_vector(engine, o, medium) for o in new])))
        own = await _vector(engine, sha, medium)
        if isinstance(own, Failure):
            raise RowError(own.reason, own.detail)
        return {media: v for media, v in self._vectors.items() if not isinstance(v, Failure)} | {sha: own}


def fit(seen: Iterable[SampleRows], kind: Kind | None, context: Context) -> Fitted:
    """The pool: `kind.pool` distinct media of the samples, drawn by the seed independently of their order, with their statistics if needed.

    `kind` must be a Swap; operators call this only if their `fits` says so."""
    assert isinstance(kind, Swap)
    rank = lambda other: digest(kind.seed, other.media)
    drawn: dict[str, PoolItem] = {}
    for other in _media(seen, ("image",) if kind.by == "statistics" else None):
        drawn[other.media] = other
        if len(drawn) > 2 * kind.pool:
            drawn = {o.media: o for o in heapq.nsmallest(kind.pool, drawn.values(), key=rank)}
    others = heapq.nsmallest(kind.pool, drawn.values(), key=rank)
    figures = {}
    if kind.by == "statistics":
        for other in others:
            with contextlib.suppress(RowError):  # reported when its own sample is processed
                figures[other.media] = _figures(other.media, context.media)
        others = [o for o in others if o.media in figures]
    return Fitted(digest(*(list(o) for o in others)), Pool(others, figures))


def pool_of(context: Context) -> Pool:
    """The pool that `fit` made for the step. RecipeError if the step has none."""
    if not isinstance(context.fitted, Pool):
        raise RecipeError(f"{context.step} cannot use `swap`, which needs all samples first; use another kind there")
    return context.fitted


def _media(seen: Iterable[SampleRows], kinds: tuple[str, ...] | None) -> Iterator[PoolItem]:
    for rows in seen:
        for part in media_parts(rows.sample.prompt):
            if part.media and (kinds is None or part.type in kinds):
                yield PoolItem(part.media, part.type)


def _figures(sha: str, store: MediaStore) -> np.ndarray:
    grey = statistics.grey(decode_image(store.read(sha), f"image {sha}", statistics.EDGE))
    return np.array([statistics.entropy(grey), statistics.edges(grey), statistics.writing(grey)])


def _embedder(kind: Swap, context: Context) -> Engine:
    engine = context.engines.get(kind.model or "")
    if engine is None or "Embed" not in engine.can:
        raise RecipeError(f"{context.step}: {kind.model} provides no embeddings; use a model on the engine hf")
    return engine


async def _vector(engine: Engine, sha: str, medium: str) -> np.ndarray | Failure:
    result = await engine.ask(Embed((user(Part(medium, media=sha)),)))
    return result if isinstance(result, Failure) else np.array(result.vector)
