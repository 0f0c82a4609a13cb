"""The old name of `train.dpo` and `train.grpo`, which goes on working: its `loss` says which of them."""

from typing import TYPE_CHECKING, Literal

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
    """dpo learns from pairs, grpo from rewards of the model's own answers"""


def train(tables: Tables, settings: Settings, context: Context) -> dict:
    """As `train` of grpo where `loss` says so, else as that of dpo."""
    return (grpo if settings.loss == "grpo" else dpo).train(tables, settings, context)
