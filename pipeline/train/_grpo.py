"""GRPO (Shao 2024): the model answers, and answers rewarded above others to the same prompt become more likely."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean

import torch

from pipeline.modeling.batch import collate
from pipeline.modeling.encode import Encoded, Encoder, Prompt
from pipeline.modeling.logps import answer_mask, token_logps
from pipeline.modeling.request_media import read
from pipeline.modeling.sampling import sample
from pipeline.train._checks import run_checks
from pipeline.train._loop import TAIL, Optimizer
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
            checks = run_checks(
                model,
                [
                    Encoded(row.id, row.kind, prompt, (a[0], a[1]))
                    for (row, prompt), a in zip(drawn, answers, strict=True)
                ],
            )
        texts = [[encoder.text(answer) for answer in several] for several in answers]
        reward = torch.tensor([_reward(rewards, row, t) for (row, _), t in zip(drawn, texts, strict=True)])
        loss = _loss(model, [prompt for _, prompt in drawn], answers, advantages(reward), checks["shared_prefix"])
        facts = {"reward": reward.mean().item(), "tokens": fmean(len(a) for several in answers for a in several)}
        if loss is None:
            optimizer.log(**facts)
        else:
            optimizer.step(loss, **facts)
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


def _loss(model, prompts: list[Prompt], answers, advantage: torch.Tensor, shared: bool) -> torch.Tensor | None:
    """The policy gradient loss; None if every advantage is 0. Answers with advantage 0 have no gradient and are left out."""
    kept = [
        (prompt, [a for a, weight in zip(several, weights, strict=True) if weight], [w for w in weights if w])
        for prompt, several, weights in zip(prompts, answers, advantage.tolist(), strict=True)
        if any(weights)
    ]
    if not kept:
        return None
    batch = collate([prompt for prompt, *_ in kept], [several for _, several, _ in kept], shared).to(model.device)
    weights = torch.tensor([w for *_, several in kept for w in several], device=model.device)
    return policy_gradient(token_logps(model, batch), answer_mask(batch), weights)
