"""Settings shared by the trainers, and the form in which they enter digests."""

from typing import Any, Literal

from pydantic import Field

from schemas import operator

WHEN_ONE = {
    "loss": "dpo", "beta": 0.1, "label_smoothing": 0.0, "sft": 0.0, "epochs": 1, "batch_size": 32, "shuffle": False,
    "rewards": [], "steps": 50, "prompts": 32, "n": 8, "temperature": 1.0, "max_tokens": 256,
}  # fmt: skip
"""settings of the other trainer from the time when `train` was one operator; kept in digests so that models trained then stay valid.
Never change it: a new default of one trainer must not change the other"""


class Training(operator.OperatorSettings):
    """Base of the trainers' settings."""

    model: str
    """name of the recipe's model to train"""
    lr: float = Field(5e-6, gt=0)
    """peak learning rate, reached after `warmup` steps and then decayed linearly to zero"""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay rates for the averages of the gradient and its square"""
    warmup: int = Field(10, ge=0, le=10_000_000)
    """steps until the learning rate reaches its peak"""
    freeze: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
    """towers that are not trained"""
    lora: int = Field(0, ge=0, le=65_536)
    """rank of low-rank adapters, merged before the model is saved; 0 trains all weights"""
    memory: float = Field(1.0, gt=0, le=100_000)
    """GB that a step may keep between its forward and its backward pass: a batch is computed in parts of as many tokens as fit. Of a single
    pair or answer that needs more, less is kept and computed again. It changes speed and memory, not results"""
    seed: int = 0
    """random seed: order of the rows, sampled answers"""


def digested(settings: Training, **own: Any) -> dict[str, Any]:
    """The settings of a trainer that enter digests, with WHEN_ONE for the other trainer; `own`: entries that name the trainer."""
    return {**WHEN_ONE, **own, **settings.model_dump(mode="json", exclude={"memory"})}
