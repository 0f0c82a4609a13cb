"""An image that looks the same to people but different to a model (AdPO); made by an engine with gradients."""

from typing import Literal

from pydantic import Field

from pipeline.corrupt.kinds._kind import Kind, seeded_rng
from schemas.errors import RecipeError, RowError, StoreError
from schemas.operator import Context
from schemas.records import Sample
from schemas.requests import Failure, Perturb


class Adversarial(Kind):
    """Projected gradient descent (PGD) away from the image's features in the model's vision encoder (AdPO; Madry et al. 2018)."""

    kind: Literal["adversarial"] = "adversarial"
    model: str
    """name of the recipe's model whose encoder is attacked; its engine must provide gradients (`hf`)"""
    epsilon: float = Field(8, gt=0, le=255)
    """largest change of a channel value, of 255"""
    step: float = Field(2, gt=0, le=255)
    """step size, of 255"""
    steps: int = Field(10, ge=1, le=10_000)
    """number of PGD steps"""


async def perturbed_picture(sha: str, kind: Adversarial, sample: Sample, context: Context) -> bytes:
    """The bytes of the image that the engine made and stored.

    RowError if the engine cannot process this image; RecipeError if it has no gradients at all; StoreError if the image was made
    in an earlier run and is missing from the media store."""
    engine = context.engines.get(kind.model)
    if engine is None or "Perturb" not in engine.can:
        raise RecipeError(f"{context.step}: {kind.model} cannot perturb images; use a model on the engine hf")
    seed = int(seeded_rng(kind, sample.id, sha).integers(2**31))
    result = await engine.ask(Perturb(sha, kind.epsilon, kind.step, kind.steps, seed))
    if isinstance(result, Failure):
        raise RowError(result.reason, result.detail)
    try:
        return context.media.read(result.media)
    except KeyError:
        detail = f"the image that {kind.model} made of {sha} is missing from the media store; set another seed for {context.step}"
        raise StoreError(detail) from None
