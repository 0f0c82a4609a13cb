"""What makers share: answers of one model to one prompt as Candidates, and their settings."""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from schemas.operator import Context
from schemas.operator import Settings as Base
from schemas.ports import Failure, Generate
from schemas.records import Candidate, Message, Reason, Rejection, Sample, candidate, digest


class Drawing(Base):
    """How answers are drawn."""

    temperature: float = Field(1.0, ge=0)
    """0 is greedy, which allows only n=1"""
    top_p: float = Field(1.0, gt=0, le=1)
    """share of the probability that is sampled from"""
    top_k: int = Field(0, ge=0)
    """how many of the likeliest tokens are sampled from; 0 is all"""
    max_tokens: int = Field(512, ge=1)
    """longest answer, in tokens"""
    seed: int = 0
    """another seed draws other answers"""
    role: str | None = None
    """what these answers are: chosen or rejected, where the maker already knows"""


def seed_of(seed: int, sample: str) -> int:
    """A seed of 31 bits that is the sample's own, so that neither order nor batch changes an answer."""
    return int(digest(seed, sample)[:8], 16) & 0x7FFFFFFF


def asked(messages: tuple[Message, ...], settings: Drawing, seed: int, **more: Any) -> Generate:
    known = {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k,
             "max_tokens": settings.max_tokens, "seed": seed}  # fmt: skip
    return Generate(messages, **known | more)


def lost(failures: Iterable[Failure], sample: Sample, context: Context) -> list[Rejection]:
    """What a request that failed leaves, where the sample has other answers: the reason why these are missing."""
    return [Rejection(sample.id, "candidates", context.step, f.reason, f.detail, sample.id) for f in failures]


def made(text: str, prefix: str, row: dict[str, Any], sample: Sample, context: Context) -> list[Candidate | Rejection]:
    """The Candidate `prefix` + `text`, and a Rejection behind it where the model said nothing."""
    new = candidate(sample.id, context.step, prefix + text, **row)
    if text.strip():
        return [new]
    return [new, Rejection(new.id, "candidates", context.step, Reason.EMPTY_ANSWER, "", sample.id)]
