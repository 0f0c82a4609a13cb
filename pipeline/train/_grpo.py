"""GRPO (Shao 2024): the model answers, and answers rewarded above others to the same prompt become more likely."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch

from pipeline.modeling.batch import parts
from pipeline.modeling.encode import Encoded, Encoder, Prompt
from pipeline.modeling.logps import answer_mask, token_logps
from pipeline.modeling.request_media import read
from pipeline.modeling.sampling import sample
from pipeline.train._checks import run_checks
from pipeline.train._loop import TAIL, Optimizer
from pipeline.train._plan import Plan, plan
from pipeline.train.losses._policy_gradient import advantages, policy_gradient
from schemas.errors import RowError, TrainError
from schemas.operator import Context
from schemas.records import Rejection, Sample, media_parts

Reward = Callable[[Sample, list[str]], list[float]]


class Prompts:
    """An endless stream of samples, reshuffled after each pass and encoded when drawn. Samples that cannot be encoded are `rejections`."""

    def __init__(self, samples: Sequence[Sample], encoder: Encoder, context: Context, seed: int):
        self.rejections: dict[str, Rejection] = {}
        self._stream = self._endless(list(samples), encoder, context, random.Random(seed))

    def draw(self, n: int) -> list[tuple[Sample, Prompt]]:
        """The next `n` samples with their encoded prompts. TrainError if none can be encoded."""
        return [next(self._stream) for _ in range(n)]

    def _endless(self, samples, encoder, context, rng) -> Iterator[tuple[Sample, Prompt]]:
        while len(self.rejections) < len(samples):
            rng.shuffle(samples)
            for row in samples:
                if row.id not in self.rejections:
                    try:
                        yield row, encoder.prompt(row.prompt, media_of(row, context), row.id)
                    except RowError as e:
                        self.rejections[row.id] = Rejection(row.id, "samples", context.step, e.reason, e.detail, row.id)
        raise TrainError(f"no samples left to train on; {len(self.rejections)} of {len(samples)} were rejected")


def media_of(row: Sample, context: Context) -> tuple[tuple[str, bytes], ...]:
    """(type, bytes) of each media item of the prompt. RowError if one is missing."""
    return tuple((part.type, read(context.media, part)) for part in media_parts(row.prompt))


def fit(
    model, prompts: Prompts, encoder: Encoder, rewards: Sequence[Reward], settings, folder: Path, progress: Callable
) -> dict:
    """Samples answers, rewards them and updates the model, `settings.steps` times. A step without any advantage updates nothing.

    Returns steps, checks, loss (mean over the last TAIL steps) and the mean reward of an answer over the first and last TAIL steps.
    TrainError if a check fails, the loss diverges or no step had an advantage."""
    generator = torch.Generator(model.device).manual_seed(settings.seed)
    optimizer = Optimizer(model, settings.lr, settings.betas, settings.warmup, settings.steps, folder)
    for step in range(settings.steps):
        drawn = prompts.draw(settings.prompts)
        answers = sample(
            model, [prompt for _, prompt in drawn], settings.n, settings.temperature, settings.max_tokens,
            encoder.stops, encoder.banned, generator,
        )  # fmt: skip
        if step == 0:
            pairs = [
                Encoded(row.id, row.kind, prompt, (a[0], a[1])) for (row, prompt), a in zip(drawn, answers, strict=True)
            ]
            checks = run_checks(model, pairs)
            how = plan(model, pairs, checks["shared_prefix"], settings.memory)
        texts = [[encoder.text(answer) for answer in several] for several in answers]
        reward = torch.tensor([_reward(rewards, row, t) for (row, _), t in zip(drawn, texts, strict=True)])
        rows = _rows([prompt for _, prompt in drawn], answers, advantages(reward), how)
        facts = {"reward": reward.mean().item(), "tokens": fmean(len(a) for several in answers for a in several)}
        for loss in _losses(model, rows, how):
            optimizer.add(loss)
        if rows:
            optimizer.step(**facts)
        else:
            optimizer.log(**facts)
        progress(step + 1, settings.steps, f"reward {facts['reward']:.3f}")
    if not any("loss" in line for line in optimizer.lines):
        raise TrainError("in every step all answers to a prompt got the same reward; raise n or temperature")
    all_rewards = [line["reward"] for line in optimizer.lines]
    return {
        "steps": settings.steps, "checks": checks, "loss": optimizer.last("loss"),
        "reward_first": fmean(all_rewards[:TAIL]), "reward_last": fmean(all_rewards[-TAIL:]),
    }  # fmt: skip


def _reward(rewards: Sequence[Reward], row: Sample, texts: list[str]) -> list[float]:
    """The sum of all rewards, one number per text."""
    return [float(sum(values)) for values in zip(*(reward(row, texts) for reward in rewards), strict=True)]


class Row(NamedTuple):
    """Answers to a prompt that are computed in one row."""

    prompt: Prompt
    answers: list[list[int]]
    advantages: list[float]


def _rows(prompts: list[Prompt], answers, advantage: torch.Tensor, how: Plan) -> list[Row]:
    """The answers that have an advantage; the others have no gradient. A prompt's answers share a row as far as the plan allows."""
    rows: list[Row] = []
    for prompt, several, weights in zip(prompts, answers, advantage.tolist(), strict=True):
        row = Row(prompt, [], [])
        for answer, weight in zip(several, weights, strict=True):
            if not weight:
                continue
            full = len(prompt.ids) + sum(map(len, row.answers)) + len(answer) > how.tokens
            if row.answers and (full or not how.shared):
                rows.append(row)
                row = Row(prompt, [], [])
            row.answers.append(answer)
            row.advantages.append(weight)
        rows += [row] if row.answers else []
    return rows


def _losses(model, rows: Sequence[Row], how: Plan) -> Iterator[torch.Tensor]:
    """Parts of the policy gradient loss, whose sum it is."""
    tokens = sum(len(answer) for row in rows for answer in row.answers)
    for part in parts(range(len(rows)), [len(r.prompt.ids) + sum(map(len, r.answers)) for r in rows], how.tokens):
        batch = how.collate([rows[i].prompt for i in part], [rows[i].answers for i in part], model.device)
        weights = torch.tensor([weight for i in part for weight in rows[i].advantages], device=model.device)
        yield policy_gradient(token_logps(model, batch, how.recompute(batch)), answer_mask(batch), weights, tokens)
