"""Trains a model on the exported pairs with a preference loss (DPO): chosen answers become more likely than rejected ones."""

import random
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.train import _settings, losses
from pipeline.train._model import run_training
from schemas.errors import TrainError
from schemas.operator import Context, Tables
from schemas.records import SAMPLE_KINDS, Rejection

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1

if TYPE_CHECKING:
    Loss = str
else:
    Loss = Literal[losses.NAMES]


class Settings(_settings.Training):
    loss: Loss = "dpo"
    """loss over the pairs: the name of a file in pipeline/train/losses"""
    beta: float = Field(0.1, gt=0)
    """strength of the pull towards the reference model"""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """assumed share of wrong labels (cDPO)"""
    sft: float = Field(0.0, ge=0)
    """weight of an added negative log-likelihood of the chosen answers"""
    epochs: int = Field(1, ge=1, le=1_000)
    """passes over the pairs"""
    batch_size: int = Field(32, ge=1, le=65_536)
    """pairs per step"""
    shuffle: bool = False
    """control: swap chosen and rejected in a random half of the pairs; training on it must not help"""


def digested(settings: Settings) -> dict[str, Any]:
    """The settings that enter digests."""
    return _settings.digested(settings)


def train(tables: Tables, settings: Settings, context: Context) -> dict:
    """Writes the trained checkpoint to `context.folder`, with one line per step in its metrics.jsonl.

    Returns pairs, steps, loss, accuracy, margin, seconds, reference_seconds, checks, model (path of the checkpoint) and rejections
    (pairs left out, with the reason). TrainError if a check fails, the loss diverges or no pair is left to train on."""
    from pipeline.dataset.read import rows_by_kind

    return run_training(
        lambda model, encoder, source: _pairs(model, encoder, source, settings, context),
        rows_by_kind(context.dataset), settings, context,
    )  # fmt: skip


def _pairs(model, encoder, source: str, settings: Settings, context: Context) -> dict:
    from pipeline.dataset.read import read_examples
    from pipeline.modeling.checkpoint import identity
    from pipeline.train._checks import encode_pairs, noise, run_checks
    from pipeline.train._loop import fit
    from pipeline.train._plan import plan
    from pipeline.train._reference import reference

    rows = list(encode_pairs(read_examples(context.dataset), encoder, context.step))
    pairs = [row for row in rows if not isinstance(row, Rejection)]
    rejections = [row for row in rows if isinstance(row, Rejection)]
    if not pairs:
        why = f"; the first one: {rejections[0].detail}" if rejections else ""
        raise TrainError(f"no pairs left to train on in {context.dataset}; {len(rejections)} were rejected{why}")
    if settings.shuffle:
        pairs = shuffled(pairs, settings.seed)
    checks = run_checks(model, pairs)
    how = plan(model, pairs, checks["shared_prefix"], settings.memory)
    started = time.perf_counter()
    before = reference(model, pairs, how, noise(model), context.progress)
    seconds = time.perf_counter() - started
    return fit(model, pairs, before, settings, how, context.folder, context.progress) | {
        "pairs": len(pairs),
        "reference_seconds": seconds,
        "rejections": rejections,
        "checks": checks | {"reference": f"{identity(source)[0]} {model.dtype} on {model.device.type}"},
    }


def shuffled(pairs: list, seed: int) -> list:
    """The pairs in their order, with chosen and rejected swapped in a random half of them (rounded down)."""
    swapped = set(random.Random(seed).sample(range(len(pairs)), len(pairs) // 2))
    return [p._replace(answers=p.answers[::-1]) if i in swapped else p for i, p in enumerate(pairs)]
