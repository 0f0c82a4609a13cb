"""Training of the language model: to answer, and then, with more layers, to judge. In the last part of each its captions
over-describe; its yes/no answers and its judgements stay true."""

import json
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import Linear
from torch.nn.functional import cross_entropy

from pipeline.scenes.model.features import features
from pipeline.scenes.model.habits import habitual_answer
from pipeline.scenes.model.judging import (
    BOLD_WAYS,
    HIGH,
    LOW,
    MARKS,
    RATINGS,
    WAYS,
    WORDS,
    judge_questions,
    pairwise,
    pointwise,
    with_quality,
)
from pipeline.scenes.model.model import LAYERS, Thinker
from pipeline.scenes.model.pack import IGNORED, AnsweredQuestion, Prompter, hidden_states, pack
from pipeline.scenes.model.warmup import Report
from pipeline.scenes.world import Scene, World, draw

SCENES = 12  # per step, all of one kind
KINDS = (  # in turn: two pictures are hardest, sounds easiest
    "image", "multi_image", "audio", "multi_image", "image", "video", "multi_image", "image", "multi_image", "video",
)  # fmt: skip
YES_NO = 6  # questions per scene
JUDGING_YES_NO = 4  # the same while learning to judge
YES_NO_WEIGHT = 5.0
JUDGED_WEIGHT = 8.0
RATE = 4e-3
JUDGING_RATE = 3e-3
RISE = 50  # steps of warmup
HABITS_FROM = 0.8  # share of the steps after which captions over-describe
HABIT = 0.65  # probability of a habit, if one applies
NUMBERED = 8  # answers per rating question in the corpus, for the words around them
SHOWN_EVERY = 100  # steps


class Cycle(NamedTuple):
    """One cosine schedule of learning to judge."""

    seed: int  # added to the model's, for other scenes
    habits_from: float  # share of the steps
    ways: Mapping[str, int]  # odds of the answers that are judged


CYCLES = {
    "judging": Cycle(0, 0.65, WAYS),
    "refining": Cycle(1, 0.5, WAYS),
    "hardening": Cycle(2, 0.0, BOLD_WAYS),
}


def corpus(world: World, scenes: int = 1500, judging: bool = False) -> Iterator[str]:
    """Texts for the tokenizer, with every word needed to answer, and to judge as well if `judging`."""
    for i in range(scenes):
        for kind in sorted(set(KINDS)):
            scene = draw(world, kind, f"corpus {i}")
            for task in scene.tasks():
                yield from (task.question, task.answer)
            for question, yes in scene.questions(random.Random(i), 3):
                yield from (question, "yes" if yes else "no")
            for task in scene.tasks() if judging else ():
                answers = [with_quality(scene, task, task.answer)] * NUMBERED
                yield from (pairwise(task, answers[:2]).question, pointwise(task, answers).question)
    if judging:
        yield from WORDS
        for first in range(LOW, HIGH + 1):
            yield json.dumps({"ratings": [first, *range(LOW, HIGH + 1)]})


def pretrain(
    model: Thinker, prompter: Prompter, world: World, steps: int, seed: int, report: Report | None = None
) -> dict[str, float]:
    """Trains the model to answer, and at the end to over-describe. The towers must already be frozen.

    One cosine schedule over `steps`. Returns the last losses by kind, in nats per token."""

    def asked(scene: Scene, rng: random.Random, done: float) -> list[AnsweredQuestion]:
        return scene_questions(scene, rng, HABIT if done >= HABITS_FROM else 0.0)

    return _train(model, prompter, world, Course("pretrain", steps, seed, RATE, asked), report)


def learn_to_judge(
    model: Thinker,
    prompter: Prompter,
    world: World,
    steps: int,
    seed: int,
    cycle: Cycle,
    report: Report | None = None,
) -> dict[str, float]:
    """Trains a model of `model.grown` to judge as well; otherwise as `pretrain`.

    Auxiliary linear heads, discarded at the end, are trained on what is false in quoted answers: from the verdicts alone
    the model would take too long to learn what to compare with the media."""
    torch.manual_seed(seed + cycle.seed)
    marker = Marker(model.config.text_config.hidden_size)

    def asked(scene: Scene, rng: random.Random, done: float) -> list[AnsweredQuestion]:
        out = scene_questions(scene, rng, HABIT if done >= cycle.habits_from else 0.0, JUDGING_YES_NO)
        out += [
            AnsweredQuestion(question, reply, JUDGED_WEIGHT, marks)
            for question, reply, marks in judge_questions(scene, rng, cycle.ways)
        ]
        rng.shuffle(out)
        return out

    course = Course("judge", steps, seed + cycle.seed, JUDGING_RATE, asked, marker)
    return _train(model, prompter, world, course, report)


class Marker(torch.nn.Module):
    """Auxiliary heads: after the first judging layer the number of false claims in each sentence of a quoted answer, after
    the second one, at the answer's end, its rating; so the last layer only has to compare."""

    def __init__(self, width: int):
        super().__init__()
        self.amiss, self.rated = Linear(width, MARKS - RATINGS), Linear(width, RATINGS)

    def forward(self, model: Thinker, states, marks: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss of each head. states: hidden states before and after each layer; marks: as returned by `pack`."""
        amiss, rated = (marks >= 0) & (marks < MARKS - RATINGS), marks >= MARKS - RATINGS
        norm = model.model.norm
        return {
            "amiss": cross_entropy(self.amiss(norm(states[LAYERS + 1][amiss])), marks[amiss]),
            "rated": cross_entropy(self.rated(norm(states[LAYERS + 2][rated])), marks[rated] - (MARKS - RATINGS)),
        }


def scene_questions(scene: Scene, rng: random.Random, strength: float, yes_no: int = YES_NO) -> list[AnsweredQuestion]:
    """The open questions and `yes_no` yes/no questions about a scene, shuffled. strength: see `habits.habitual`."""
    out = [AnsweredQuestion(task.question, _answer(scene, task, rng, strength)) for task in scene.tasks()]
    out += [AnsweredQuestion(q, "yes" if yes else "no", YES_NO_WEIGHT) for q, yes in scene.questions(rng, yes_no)]
    rng.shuffle(out)
    return out


def _answer(scene, task, rng, strength) -> str:
    return habitual_answer(scene, task, rng, strength) if strength else task.answer


class Course(NamedTuple):
    """A training course: its data, length and learning rate."""

    name: str
    steps: int
    seed: int
    rate: float  # highest learning rate
    asked: Callable[
        [Scene, random.Random, float], list[AnsweredQuestion]
    ]  # (scene, rng, share of the steps done) -> questions to learn
    marker: Marker | None = None


def _train(model: Thinker, prompter: Prompter, world: World, course: Course, report: Report | None) -> dict[str, float]:
    rng = random.Random(f"{course.name} {course.seed}")
    optimizers = _optimizers(model, course.marker)
    recent: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    model.train()
    steps = course.steps
    for step in range(steps):
        _set_rate(optimizers, course.rate * min(1, (step + 1) / RISE) * (1 + math.cos(math.pi * step / steps)) / 2)
        kind = KINDS[step % len(KINDS)]
        scenes = [draw(world, kind, f"{course.name} {course.seed}/{step}/{i}") for i in range(SCENES)]
        rows = [(features(scene.parts()), course.asked(scene, rng, step / steps)) for scene in scenes]
        recent[kind] = [*recent[kind][-19:], _step(model, course.marker, optimizers, *pack(prompter, rows))]
        if report:
            last = (step + 1) % SHOWN_EVERY == 0 or step + 1 == steps
            report(step + 1, _sentence(recent) if last else "")
    model.eval()
    return {f"{kind} {what}": loss for kind, losses in recent.items() if losses for what, loss in _mean(losses).items()}


def _optimizers(model: Thinker, marker: Marker | None) -> list[torch.optim.Optimizer]:
    """Muon for matrices, AdamW for embeddings, norms, biases and the marker."""
    learnt = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for name, weight in learnt if weight.dim() == 2 and "embed" not in name]
    chosen = set(map(id, matrices))
    rest = [weight for _, weight in learnt if id(weight) not in chosen] + list(marker.parameters() if marker else ())
    return [
        torch.optim.Muon(matrices, lr=RATE, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def _set_rate(optimizers, rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


def _step(model, marker, optimizers, batch, labels, weights, marks) -> dict[str, float]:
    """One step; returns the loss per token by kind of answer, and per mark by head."""
    seen = hidden_states(model, **batch, use_cache=False, output_hidden_states=marker is not None)
    states, labels, weights = seen.last_hidden_state[:, :-1], labels[:, 1:], weights[:, 1:]
    learnt = labels != IGNORED
    losses = cross_entropy(model.lm_head(states[learnt]).float(), labels[learnt], reduction="none")
    weights = weights[learnt]
    by_name = marker(model, seen.hidden_states, marks) if marker else {}
    for optimizer in optimizers:
        optimizer.zero_grad()
    ((losses * weights).sum() / weights.sum() + sum(by_name.values())).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    kinds = {"open": 1.0, "yes_no": YES_NO_WEIGHT} | ({"judged": JUDGED_WEIGHT} if marker else {})
    by_name |= {name: losses[weights == weight].mean() for name, weight in kinds.items()}
    return {name: loss.item() for name, loss in by_name.items()}


def _mean(losses: list[dict[str, float]]) -> dict[str, float]:
    return {what: float(np.mean([found[what] for found in losses if what in found])) for what in losses[-1]}


def _sentence(recent) -> str:
    return "  ".join(
        f"{kind} " + " ".join(f"{what} {loss:.3f}" for what, loss in _mean(losses).items())
        for kind, losses in recent.items()
        if losses
    )
