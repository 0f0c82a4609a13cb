"""Sampled answers: n of one model to each prompt."""

from pydantic import Field

from schemas.operator import Context, Rows
from schemas.operator import Settings as Base
from schemas.ports import Failure, Generate
from schemas.records import SAMPLE_KINDS, Candidate, Reason, Rejection, candidate, digest

READS = ("samples",)
LEAVES = ("candidates",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    model: str
    """name of the recipe's model that answers"""
    n: int = Field(4, ge=1)
    """answers a prompt"""
    temperature: float = Field(1.0, ge=0)
    """0 is greedy, which allows only n=1"""
    top_p: float = Field(1.0, gt=0, le=1)
    """share of the probability that is sampled from"""
    max_tokens: int = Field(512, ge=1)
    """longest answer, in tokens"""
    seed: int = 0
    """another seed draws other answers"""
    role: str | None = None
    """what these answers are: chosen or rejected, where the maker already knows"""


def seed_of(seed: int, sample: str) -> int:
    """A seed of 31 bits that is the sample's own, so that neither order nor batch changes an answer."""
    return int(digest(seed, sample)[:8], 16) & 0x7FFFFFFF


async def make(rows: Rows, settings: Settings, context: Context) -> list[Candidate | Rejection]:
    sample, engine = rows.sample, context.engines[settings.model]
    seed = seed_of(settings.seed, sample.id)
    result = await engine.ask(
        Generate(sample.prompt, settings.n, settings.temperature, settings.top_p, settings.max_tokens, seed)
    )
    if isinstance(result, Failure):
        return [Rejection(sample.id, "samples", context.step, result.reason, result.detail, sample.id)]
    out: list[Candidate | Rejection] = []
    for index, answer in enumerate(result.answers):
        row = candidate(
            sample.id, context.step, answer.text, role=settings.role, model=engine.identity, settings=context.version,
            seed=seed, index=index, tokens=answer.tokens, finish=answer.finish, logprob=answer.logprob,
        )  # fmt: skip
        out.append(row)
        if not answer.text.strip():
            out.append(Rejection(row.id, "candidates", context.step, Reason.EMPTY_ANSWER, "", sample.id))
    return out
