"""Trains a model on its own answers to the samples: those rewarded above the others become more likely (GRPO, Shao 2024)."""

from collections import Counter
from typing import Any

from pydantic import Field

from pipeline.train import _settings
from pipeline.train._model import run_training
from schemas.errors import TrainError
from schemas.operator import Context, Tables
from schemas.records import SAMPLE_KINDS, Sample

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1
BUILDS = {"rewards": "reward"}


class Settings(_settings.Training):
    rewards: tuple[Any, ...] = ()
    """operators whose rewards are summed"""
    steps: int = Field(50, ge=1, le=10_000_000)
    """number of updates, each on new answers"""
    prompts: int = Field(32, ge=1, le=65_536)
    """prompts per step"""
    n: int = Field(8, ge=2, le=1_000)
    """answers per prompt"""
    temperature: float = Field(1.0, gt=0)
    """sampling temperature of the answers"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """maximum length of an answer, in tokens"""


def digested(settings: Settings) -> dict[str, Any]:
    """The settings that enter digests."""
    return _settings.digested(settings, loss="grpo")


def train(tables: Tables, settings: Settings, context: Context) -> dict:
    """Writes the trained checkpoint to `context.folder`, with one line per step in its metrics.jsonl.

    Returns samples, steps, loss, reward_first, reward_last, seconds, checks, model (path of the checkpoint) and rejections (samples left
    out, with the reason). TrainError if a check fails, the loss diverges or no sample is left to train on."""
    from schemas.arrow import from_batch

    samples = [row for batch in tables.batches("samples") for row in from_batch("samples", batch)]
    return run_training(
        lambda model, encoder, source: _rewards(model, encoder, samples, settings, context),
        Counter(row.kind for row in samples), settings, context,
    )  # fmt: skip


def _rewards(model, encoder, samples: list[Sample], settings: Settings, context: Context) -> dict:
    from pipeline.train._grpo import Prompts, fit

    if not context.built.get("rewards"):
        raise TrainError("`rewards` is empty; set a list of operators, for example `rewards: [judge.rule]`")
    prompts = Prompts(samples, encoder, context, settings.seed)
    result = fit(model, prompts, encoder, context.built["rewards"], settings, context.folder, context.progress)
    return result | {"samples": len(samples), "rejections": list(prompts.rejections.values())}
