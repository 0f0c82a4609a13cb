"""Trains a model on the exported pairs (DPO) or on its own rewarded answers to the samples (GRPO)."""

import os
import random
import time
from typing import Any, Literal

from pydantic import Field

from schemas import operator
from schemas.errors import TrainError
from schemas.operator import Context, Tables
from schemas.records import SAMPLE_KINDS, Rejection

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1
BUILDS = {"rewards": "reward"}


class Settings(operator.Settings):
    model: str
    """name of the model to train, among the recipe's models"""
    loss: Literal["dpo", "grpo"] = "dpo"
    """dpo learns from pairs, grpo from rewards of the model's own answers"""
    beta: float = Field(0.1, gt=0)
    """dpo: how strongly the model is held to where it started"""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """dpo: probability that chosen and rejected are the wrong way round"""
    sft: float = Field(0.0, ge=0)
    """dpo: weight of the chosen answers' own negative log-likelihood"""
    epochs: int = Field(1, ge=1, le=1_000)
    """dpo: passes over the pairs"""
    batch_size: int = Field(32, ge=1, le=65_536)
    """dpo: pairs a step"""
    shuffle: bool = False
    """dpo: swap chosen and rejected in a seeded half of the pairs, the control that must not help"""
    rewards: tuple[Any, ...] = ()
    """grpo: operators whose rewards are summed"""
    steps: int = Field(50, ge=1, le=10_000_000)
    """grpo: updates, each on new answers"""
    prompts: int = Field(32, ge=1, le=65_536)
    """grpo: prompts a step"""
    n: int = Field(8, ge=2, le=1_000)
    """grpo: answers a prompt"""
    temperature: float = Field(1.0, gt=0)
    """grpo: temperature of the answers"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """grpo: longest answer"""
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


def train(tables: Tables, settings: Settings, context: Context) -> dict:
    """Writes the trained model to `context.folder`, as a folder of the same kind, and a line a step into metrics.jsonl.

    Returns pairs (or samples), steps, loss, seconds, checks, model (its path) and rejections (rows left out, and why);
    for pairs also accuracy, margin and reference_seconds, for rewards reward_first and reward_last.
    TrainError when a check fails or nothing is left to train on."""
    import torch

    from pipeline.modeling.checkpoint import folder_of
    from pipeline.modeling.encode import Encoder
    from pipeline.modeling.load import adapt, freeze, load, merge, save

    if not torch.cuda.is_available():  # more threads than free cores make small models ten times slower
        torch.set_num_threads(int(os.environ.get("TORCH_NUM_THREADS", "1")))
    torch.manual_seed(settings.seed)
    source = str(folder_of(context.models[settings.model]))
    encoder = Encoder(source)
    model = load(source)
    freeze(model, settings.freeze)
    if settings.lora:
        model = adapt(model, settings.lora)
    context.folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    result = (_rewards if settings.loss == "grpo" else _pairs)(model, encoder, source, tables, settings, context)
    result["seconds"] = time.perf_counter() - started
    save(merge(model), source, context.folder)
    return result | {"model": str(context.folder)}


def _pairs(model, encoder, source: str, tables: Tables, settings: Settings, context: Context) -> dict:
    from pipeline.dataset.read import read_examples
    from pipeline.modeling.checkpoint import identity
    from pipeline.train._checks import dry, noise, start_up
    from pipeline.train._loop import fit
    from pipeline.train._reference import reference

    rows = list(dry(read_examples(context.dataset), encoder, context.step))
    pairs = [row for row in rows if not isinstance(row, Rejection)]
    rejections = [row for row in rows if isinstance(row, Rejection)]
    if not pairs:
        why = f", the first because {rejections[0].detail}" if rejections else ""
        raise TrainError(f"no pair to train on in {context.dataset}: {len(rejections)} refused{why}")
    if settings.shuffle:
        pairs = shuffled(pairs, settings.seed)
    progress = context.progress or _silent
    checks = start_up(model, pairs)
    shared = checks["shared_prefix"]
    started = time.perf_counter()
    before = reference(model, pairs, shared, noise(model), progress)
    seconds = time.perf_counter() - started
    return fit(model, pairs, before, settings, shared, context.folder, progress) | {
        "pairs": len(pairs),
        "reference_seconds": seconds,
        "rejections": rejections,
        "checks": checks | {"reference": f"{identity(source)[0]} {model.dtype} on {model.device.type}"},
    }


def shuffled(pairs: list, seed: int) -> list:
    """The pairs in their order, a seeded half of them with chosen and rejected swapped."""
    swapped = set(random.Random(seed).sample(range(len(pairs)), len(pairs) // 2))
    return [p._replace(answers=p.answers[::-1]) if i in swapped else p for i, p in enumerate(pairs)]


def _rewards(model, encoder, source: str, tables: Tables, settings: Settings, context: Context) -> dict:
    from pipeline.train._grpo import Prompts, fit
    from schemas.arrow import from_batch

    if not context.built.get("rewards"):
        raise TrainError("grpo needs `rewards`: a list of operators, like `rewards: [judge.rule]`")
    samples = [row for batch in tables.batches("samples") for row in from_batch("samples", batch)]
    prompts = Prompts(samples, encoder, context, settings.seed)
    result = fit(
        model, prompts, encoder, context.built["rewards"], settings, context.folder, context.progress or _silent
    )
    return result | {"samples": len(samples), "rejections": list(prompts.rejections.values())}


def _silent(done: int, total: int, text: str) -> None:
    pass
