"""What makers share: answers of one model to one prompt as Candidates, and their settings."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from pipeline.corrupt._apply import Spec, corrupted
from pipeline.corrupt.kinds import swap
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import Candidate, Media, Message, Reason, Rejection, Sample, candidate, digest
from schemas.requests import Generate


class SamplingSettings(Base):
    """How answers are drawn."""

    temperature: float = Field(1.0, ge=0)
    """0 is greedy, which allows only n=1"""
    top_p: float = Field(1.0, gt=0, le=1)
    """share of the probability that is sampled from"""
    top_k: int = Field(0, ge=0, le=10_000_000)
    """how many of the likeliest tokens are sampled from; 0 is all"""
    max_tokens: int = Field(512, ge=1, le=1_000_000)
    """longest answer, in tokens"""
    seed: int = 0
    """another seed draws other answers"""
    role: str | None = None
    """what these answers are: chosen or rejected, where the maker already knows"""


class MediaSettings(SamplingSettings):
    """The same, where the model may be shown something else than the sample shows."""

    media: Spec | None = None
    """what is shown instead: `none`, or a corruption; the sample keeps its media"""


def fits(settings: MediaSettings) -> bool:
    return isinstance(settings.media, swap.Swap)


def fit(seen: Iterable[SampleRows], settings: MediaSettings, context: Context) -> Fitted:
    """The pool of media that are shown instead."""
    return swap.fit(seen, settings.media, context)


def seed_of(seed: int, sample: str) -> int:
    """A seed of 31 bits that is the sample's own, so that neither order nor batch changes an answer."""
    return int(digest(seed, sample)[:8], 16) & 0x7FFFFFFF


def asked(messages: tuple[Message, ...], settings: SamplingSettings, seed: int, **more: Any) -> Generate:
    return Generate(
        messages, temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k,
        max_tokens=settings.max_tokens, seed=seed,
    )._replace(**more)  # fmt: skip


async def prompt_with_media(
    prompt: tuple[Message, ...], settings: MediaSettings, sample: Sample, context: Context
) -> tuple[tuple[Message, ...], list[Media]]:
    """The prompt as the model is shown it, and the Media that were made for it. RowError as `corrupted`."""
    return (prompt, []) if settings.media is None else await corrupted(prompt, settings.media, sample, context)


def rejection_of(parent: Candidate, reason: Reason, detail: str, context: Context) -> Rejection:
    """The note that no answer could be made of this one, which stays."""
    return Rejection(f"{parent.id}~{context.step}", "candidates", context.step, reason, detail, parent.sample)


def candidates_of(
    text: str, prefix: str, row: dict[str, Any], sample: Sample, context: Context
) -> list[Candidate | Rejection]:
    """The Candidate `prefix` + `text`, and a Rejection behind it where the model said nothing."""
    new = candidate(sample.id, context.step, prefix + text, **row)
    if text.strip():
        return [new]
    return [new, Rejection(new.id, "candidates", context.step, Reason.EMPTY_ANSWER, "", sample.id)]
