"""A picture that looks the same to people and like something else to the model (AdPO): what an engine with gradients makes."""

from typing import Literal

from pydantic import Field

from pipeline.corrupt.kinds._kind import Kind, seeded_rng
from schemas.errors import RecipeError, RowError, StoreError
from schemas.operator import Context
from schemas.records import Sample
from schemas.requests import Failure, Perturb


class Adversarial(Kind):
    """Moved by projected gradient descent away from what the model's vision encoder makes of it (AdPO; values of Madry et al. 2018)."""

    kind: Literal["adversarial"] = "adversarial"
    model: str
    """name of the recipe's model whose encoder is misled; its engine must have gradients, as `hf` has"""
    epsilon: float = Field(8, gt=0, le=255)
    """largest change of a channel, of 255"""
    step: float = Field(2, gt=0, le=255)
    """change of a step, of 255"""
    steps: int = Field(10, ge=1, le=10_000)
    """steps of the descent"""


async def perturbed(sha: str, kind: Adversarial, sample: Sample, context: Context) -> bytes:
    """The picture that the engine put into the store. RowError for what the engine cannot do with this picture; RecipeError when it
    can do it with none; StoreError when the picture was made before and is gone."""
    engine = context.engines.get(kind.model)
    if engine is None or "Perturb" not in engine.can:
        raise RecipeError(f"{context.step}: {kind.model} cannot perturb pictures; name a model of the engine hf")
    seed = int(seeded_rng(kind, sample.id, sha).integers(2**31))
    result = await engine.ask(Perturb(sha, kind.epsilon, kind.step, kind.steps, seed))
    if isinstance(result, Failure):
        raise RowError(result.reason, result.detail)
    try:
        return context.media.read(result.media)
    except KeyError:
        detail = f"the media store has lost what {kind.model} made of {sha}: give {context.step} another seed"
        raise StoreError(detail) from None
