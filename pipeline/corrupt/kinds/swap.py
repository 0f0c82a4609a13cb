"""Another sample's picture, clip or sound: any of the run's, or the picture that is nearest to the sample's own.

The others come from a pool that is drawn before the first sample: a neighbour in a shard is often of one kind with it."""

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
    """Another sample's medium of the same kind (CHiP: any, RE-ALIGN: the nearest)."""

    kind: Literal["swap"] = "swap"
    by: Literal["chance", "statistics", "embedding"] = "chance"
    """any of the pool; the picture with the nearest figures (entropy, edges, writing: what sifting measures); or the nearest in a model's eyes"""
    model: str | None = None
    """by embedding: name of the recipe's model; its engine must give vectors, as `hf` does"""
    pool: int = Field(2048, ge=1, le=100_000)
    """so many media are drawn from the run to choose from"""

    @model_validator(mode="after")
    def _seen(self):
        if (self.model is None) == (self.by == "embedding"):
            raise ValueError("`model` is the one that sees what is near `by: embedding`; name it there and only there")
        return self


class Other(NamedTuple):
    """What may be shown instead."""

    media: str
    medium: str


class Pool:
    """What may be shown instead, and where each lies among the others."""

    def __init__(self, others: list[Other], figures: dict[str, np.ndarray]):
        self.others = others
        self.figures = figures
        self._scale = np.std(list(figures.values()), axis=0) + 1e-9 if figures else 1.0
        self._vectors: dict[str, np.ndarray | Failure] = {}
        self._asking = asyncio.Lock()

    async def instead(self, sha: str, medium: str, kind: Swap, sample: Sample, context: Context) -> str:
        """The id of a medium that the sample does not show. RowError NO_MATCH when there is none, and what the model says of the sample's own."""
        others = [o.media for o in self.others if o.medium == medium and o.media not in sample.media]
        place = {}
        if kind.by == "statistics":
            place = self.figures | {sha: await asyncio.to_thread(_figures, sha, context.media)}
            place = {media: figures / self._scale for media, figures in place.items()}
        elif kind.by == "embedding":
            place = await self._seen_by(_seeing(kind, context), sha, medium)
            others = [o for o in others if o in place]
        if not others:
            detail = f"{sample_label(sample)}: no other {medium} is in the pool; add samples or raise `pool`"
            raise RowError(Reason.NO_MATCH, detail)
        if not place:
            return others[seeded_rng(kind, sample.id, sha).integers(len(others))]
        return min(others, key=lambda other: (float(np.linalg.norm(place[other] - place[sha])), other))

    async def _seen_by(self, engine: Engine, sha: str, medium: str) -> dict[str, np.ndarray]:
        """Vectors of `sha` and of the pool, each of which is asked for once; what the model cannot take is left out of the pool."""
        async with self._asking:
            new = [o.media for o in self.others if o.medium == medium and o.media not in self._vectors]
            self._vectors |= dict(zip(new, await asyncio.gather(*[_vector(engine, o, medium) for o in new])))
        own = await _vector(engine, sha, medium)
        if isinstance(own, Failure):
            raise RowError(own.reason, own.detail)
        return {media: v for media, v in self._vectors.items() if not isinstance(v, Failure)} | {sha: own}


def fit(seen: Iterable[SampleRows], kind: Kind | None, context: Context) -> Fitted:
    """The pool: `pool` different media of the samples, drawn by the seed whatever their order, with their figures where these tell what is near.

    `kind` is a Swap: no other needs a pool, and an operator's `fits` says so."""
    assert isinstance(kind, Swap)
    place = lambda other: digest(kind.seed, other.media)
    drawn: dict[str, Other] = {}
    for other in _media(seen, ("image",) if kind.by == "statistics" else None):
        drawn[other.media] = other
        if len(drawn) > 2 * kind.pool:
            drawn = {o.media: o for o in heapq.nsmallest(kind.pool, drawn.values(), key=place)}
    others = heapq.nsmallest(kind.pool, drawn.values(), key=place)
    figures = {}
    if kind.by == "statistics":
        for other in others:
            with contextlib.suppress(RowError):  # its own sample's turn will say what is wrong with it
                figures[other.media] = _figures(other.media, context.media)
        others = [o for o in others if o.media in figures]
    return Fitted(digest(*(list(o) for o in others)), Pool(others, figures))


def pool_of(context: Context) -> Pool:
    """What `fit` found for the step."""
    if not isinstance(context.fitted, Pool):
        raise RecipeError(f"{context.step} never sees all samples, which `swap` must; use another kind there")
    return context.fitted


def _media(seen: Iterable[SampleRows], kinds: tuple[str, ...] | None) -> Iterator[Other]:
    for rows in seen:
        for part in media_parts(rows.sample.prompt):
            if part.media and (kinds is None or part.type in kinds):
                yield Other(part.media, part.type)


def _figures(sha: str, store: MediaStore) -> np.ndarray:
    grey = statistics.grey(decode_image(store.read(sha), f"image {sha}", statistics.EDGE))
    return np.array([statistics.entropy(grey), statistics.edges(grey), statistics.writing(grey)])


def _seeing(kind: Swap, context: Context) -> Engine:
    engine = context.engines.get(kind.model or "")
    if engine is None or "Embed" not in engine.can:
        raise RecipeError(f"{context.step}: {kind.model} gives no vectors; name a model of the engine hf")
    return engine


async def _vector(engine: Engine, sha: str, medium: str) -> np.ndarray | Failure:
    result = await engine.ask(Embed((user(Part(medium, media=sha)),)))
    return result if isinstance(result, Failure) else np.array(result.vector)
