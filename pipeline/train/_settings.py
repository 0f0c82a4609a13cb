"""What every trainer may be told, and what trainers tell digests."""

from typing import Any, Literal

from pydantic import Field

from schemas import operator

WHEN_ONE = {
    "loss": "dpo", "beta": 0.1, "label_smoothing": 0.0, "sft": 0.0, "epochs": 1, "batch_size": 32, "shuffle": False,
    "rewards": [], "steps": 50, "prompts": 32, "n": 8, "temperature": 1.0, "max_tokens": 256,
}  # fmt: skip
"""what the settings of each trainer said of the other, when `train` was both: it stays in digests, so that what was trained then is kept.
Never changed: a new default of a trainer is no change of the other"""


class Training(operator.OperatorSettings):
    """Base of the trainers' settings."""

    model: str
    """name of the model to train, among the recipe's models"""
    lr: float = Field(5e-6, gt=0)
    """highest learning rate, reached after `warmup` steps; from there it falls linearly to zero"""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averages of gradient and squared gradient"""
    warmup: int = Field(10, ge=0, le=10_000_000)
    """steps until the learning rate is at its highest"""
    freeze: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
    """towers that do not train"""
    lora: int = Field(0, ge=0, le=65_536)
    """rank of low-rank adapters, merged before the model is saved; 0 trains all weights"""
    seed: int = 0
    """order of the rows, and what is drawn"""


def digested(settings: Training, **own: Any) -> dict[str, Any]:
    """What of a trainer's settings enters digests; `own`: what only says which trainer it is."""
    return {**WHEN_ONE, **own, **settings.model_dump(mode="json")}
