"""The old name of `train.dpo` and `train.grpo`, which keeps working: its `loss` selects one of them."""

from typing import TYPE_CHECKING, Any, Literal

from pipeline.train import dpo, grpo, losses
from schemas.operator import Context, Tables
from schemas.records import SAMPLE_KINDS

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1
BUILDS = grpo.BUILDS

if TYPE_CHECKING:
    Either = str
else:
    Either = Literal[(*losses.NAMES, "grpo")]


class Settings(dpo.Settings, grpo.Settings):
    loss: Either = "dpo"
    """dpo trains on pairs, grpo on rewards of the model's own answers"""


def digested(settings: Settings) -> dict[str, Any]:
    """The settings that enter digests."""
    return settings.model_dump(mode="json", exclude={"memory"})


def train(tables: Tables, settings: Settings, context: Context) -> dict:
    """Runs grpo's `train` if `loss` is grpo, else dpo's."""
    return (grpo if settings.loss == "grpo" else dpo).train(tables, settings, context)
