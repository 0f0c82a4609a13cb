"""The language model learns to answer and to judge. In the last part its captions over-describe; its yes and no, and
what it says of quoted answers, stay true."""

import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import Linear
from torch.nn.functional import cross_entropy

from pipeline.source.scenes import Scene, World, draw
from pipeline.train.tiny.features import features
from pipeline.train.tiny.habits import habitual
from pipeline.train.tiny.judging import MARKS, judged
from pipeline.train.tiny.model import Thinker
from pipeline.train.tiny.pack import IGNORED, Answered, Prompter, hidden, pack
from pipeline.train.tiny.warmup import Report

SCENES = 12  # a step, all of one kind
KINDS = (  # in turn: two pictures are the hardest, sounds the easiest
    "image", "multi_image", "audio", "multi_image", "image", "video", "multi_image", "image", "multi_image", "video",
)  # fmt: skip
YES_NO = 6  # questions a scene
YES_NO_WEIGHT = 5.0
JUDGED_WEIGHT = 4.0
LOSSES = ("open", "yes_no", "judged", "marks")
RATE = 4e-3
RISE = 50  # steps
HABITS_FROM = 0.8  # of the steps
HABIT = 0.65  # probability, where one applies
SHOWN_EVERY = 100  # steps


def corpus(world: World, scenes: int = 1500) -> Iterator[str]:
    """Texts with every word that is needed, for the tokenizer."""
    for i in range(scenes):
        for kind in sorted(set(KINDS)):
            scene = draw(world, kind, f"corpus {i}")
            for task in scene.tasks():
                yield from (task.question, task.answer)
            for question, yes in scene.questions(random.Random(i), 3):
                yield from (question, "yes" if yes else "no")
            for asked in judged(scene, random.Random(i)):
                yield from (asked.question, asked.reply)


def pretrain(
    model: Thinker, prompter: Prompter, world: World, steps: int, seed: int, report: Report | None = None
) -> dict[str, float]:
    """One cosine over `steps`. The towers must be frozen before. Returns the last losses by kind, in nats a token.

    A linear head on the last layer but one, thrown away in the end, marks the quoted answers sentence by sentence: from
    the verdicts alone the model would not find out in time what is to be compared with the media."""
    rng = random.Random(f"pretrain {seed}")
    torch.manual_seed(seed)
    marker = Linear(model.config.text_config.hidden_size, MARKS)
    optimizers = _optimizers(model, marker)
    recent: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    model.train()
    for step in range(steps):
        _set_rate(optimizers, RATE * min(1, (step + 1) / RISE) * (1 + math.cos(math.pi * step / steps)) / 2)
        kind = KINDS[step % len(KINDS)]
        scenes = [draw(world, kind, f"pretrain {seed}/{step}/{i}") for i in range(SCENES)]
        strength = HABIT if step >= HABITS_FROM * steps else 0.0
        rows = [(features(scene.parts()), answered(scene, rng, strength)) for scene in scenes]
        recent[kind] = [*recent[kind][-19:], _step(model, marker, optimizers, *pack(prompter, rows))]
        if report:
            last = (step + 1) % SHOWN_EVERY == 0 or step + 1 == steps
            report(step + 1, _sentence(recent) if last else "")
    model.eval()
    means = {kind: np.mean(losses, 0) for kind, losses in recent.items() if losses}
    return {f"{kind} {what}": float(m[i]) for kind, m in means.items() for i, what in enumerate(LOSSES)}


def answered(scene: Scene, rng: random.Random, strength: float) -> list[Answered]:
    """The open questions, some yes/no questions and a judge's about a scene, in any order."""
    out = [Answered(task.question, _answer(scene, task, rng, strength)) for task in scene.tasks()]
    out += [Answered(q, "yes" if yes else "no", YES_NO_WEIGHT) for q, yes in scene.questions(rng, YES_NO)]
    out += [Answered(asked.question, asked.reply, JUDGED_WEIGHT, asked.marks) for asked in judged(scene, rng)]
    rng.shuffle(out)
    return out


def _answer(scene, task, rng, strength) -> str:
    return habitual(scene, task, rng, strength) if strength else task.answer


def _optimizers(model: Thinker, marker: Linear) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for embeddings, norms and biases."""
    learnt = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for name, weight in learnt if weight.dim() == 2 and "embed" not in name]
    chosen = set(map(id, matrices))
    rest = [weight for _, weight in learnt if id(weight) not in chosen] + list(marker.parameters())
    return [
        torch.optim.Muon(matrices, lr=RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _set_rate(optimizers, rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _step(model, marker, optimizers, batch, labels, weights, marks) -> list[float]:
    """One step; returns the losses named in LOSSES: a token of each kind of answer, a sentence that is marked."""
    seen = hidden(model, **batch, use_cache=False, output_hidden_states=True)
    marked = marks != IGNORED
    early = model.model.norm(seen.hidden_states[-2][marked])  # the last layer is left for the verdict
    amiss = cross_entropy(marker(early), marks[marked])
    states, labels, weights = seen.last_hidden_state[:, :-1], labels[:, 1:], weights[:, 1:]
    learnt = labels != IGNORED
    losses = cross_entropy(model.lm_head(states[learnt]).float(), labels[learnt], reduction="none")
    weights = weights[learnt]
    model.zero_grad()
    marker.zero_grad()
    ((losses * weights).sum() / weights.sum() + amiss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    losses = losses.detach()
    return [*(losses[weights == w].mean().item() for w in (1.0, YES_NO_WEIGHT, JUDGED_WEIGHT)), amiss.item()]


def _sentence(recent) -> str:
    means = {kind: np.mean(losses, 0) for kind, losses in recent.items() if losses}
    return "  ".join(
        f"{kind} " + " ".join(f"{name} {loss:.3f}" for name, loss in zip(LOSSES, m)) for kind, m in means.items()
    )
