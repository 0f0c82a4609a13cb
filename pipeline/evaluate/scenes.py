"""How much a model hallucinates on held-out scenes, where the truth is known: open answers and yes/no questions, greedy."""

import asyncio
import random
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pydantic import Field

from pipeline.evaluate._bootstrap import interval, replicates
from pipeline.source import scenes
from schemas.claim_patterns import Patterns, split, truth_of
from schemas.errors import EngineError
from schemas.figures import EVALUATION
from schemas.messages import user
from schemas.operator import Context, Tables
from schemas.operator import Settings as Base
from schemas.ports import Engine, Failure, Generate, Score
from schemas.records import Message

READS = ()
LEAVES = ()
MEDIA = tuple(scenes.SCENES)
SCOPE = "table"
VERSION = 1
CHOICES = ("yes", "no")


class Settings(Base):
    model: str
    """name of the recipe's model that is evaluated"""
    n: int = Field(400, ge=2, le=1_000_000)
    """held-out prompts of each media kind"""
    questions: int = Field(3, ge=1, le=100)
    """yes/no questions a prompt, as many true as false over all"""
    max_tokens: int = Field(64, ge=1, le=1_000_000)
    """longest answer"""
    seed: int = 999
    """another seed draws other prompts"""


class Item(NamedTuple):
    """One held-out prompt with its truth."""

    scene: scenes.Scene
    task: scenes.Task
    prompt: tuple[Message, ...]
    questions: list[tuple[tuple[Message, ...], bool]]


async def evaluate(tables: Tables, settings: Settings, context: Context) -> dict:
    """{kind: {figure: {value, low, high}}} and the same under `mean`, the plain mean of the kinds. 95 % bootstrap intervals.

    The figures are those of `schemas.figures.EVALUATION`, and a kind's `held_out`: hallucination of the prompts with a combination that
    training never showed, where there are any."""
    engine = context.engines[settings.model]
    world = scenes.load_world()
    out, replicas, done = {}, [], 0
    total = len(scenes.SCENES) * settings.n
    for kind in scenes.SCENES:
        counts = []
        for batch in _batches(kind, world, settings, context):
            counts += await asyncio.gather(*(_counts(item, engine, world.patterns, settings) for item in batch))
            done += len(batch)
            context.progress(done, total, kind)
        table = np.array(counts, float)
        figures = replicates(table, _figures, settings.seed)
        replicas.append(figures)
        out[kind] = {name: interval(figures[:, i]) for i, (name, *_) in enumerate(EVALUATION)} | {"prompts": settings.n}
        held = table[table[:, -1] == 1]
        if len(held) > 1:
            out[kind]["held_out"] = interval(replicates(held, _figures, settings.seed)[:, 0]) | {"prompts": len(held)}
    mean = np.mean(replicas, 0)
    out["mean"] = {name: interval(mean[:, i]) for i, (name, *_) in enumerate(EVALUATION)}
    return out


def _batches(kind: str, world: scenes.World, settings: Settings, context: Context) -> Iterator[list[Item]]:
    """The items of a kind, some at a time: scenes are small, but their media need not all be open."""
    for start in range(0, settings.n, 100):
        yield [item(kind, i, world, settings, context) for i in range(start, min(start + 100, settings.n))]


def item(kind: str, number: int, world: scenes.World, settings: Settings, context: Context) -> Item:
    scene = scenes.draw(world, kind, f"{settings.seed}/{number}", "eval")
    rng = random.Random(f"evaluate {settings.seed}/{number}")
    parts, _ = scenes.stored(scene, context.media)
    task = rng.choice(scene.tasks())
    asked = [((user(*parts, question),), truth) for question, truth in scene.questions(rng, settings.questions)]
    return Item(scene, task, (user(*parts, task.question),), asked)


async def _counts(item: Item, engine: Engine, patterns: Patterns, settings: Settings) -> list[float]:
    """What adds up over prompts: answers, with a false claim, false, claims, recall, exact, then questions right, tp, fp, fn, asked."""
    requests = [
        Generate(item.prompt, 1, 0.0, 1.0, settings.max_tokens, 0),
        *(Score(q, CHOICES) for q, _ in item.questions),
    ]
    answer, *scores = await asyncio.gather(*(engine.ask(r) for r in requests))
    for result in (answer, *scores):
        if isinstance(result, Failure):
            raise EngineError(
                f"the model cannot be evaluated: a held-out prompt failed: {result.reason}: {result.detail}"
            )
    facts = item.scene.facts(item.task)
    claims = split(patterns, item.task.question, answer.answers[0].text)
    truth = truth_of(facts, claims)
    row: list[float] = [1, truth.false > 0, truth.false, truth.claims, truth.recall, truth.exact]
    said = [_yes(s) for s in scores]
    true = [t for _, t in item.questions]
    pairs = list(zip(said, true, strict=True))
    row += [sum(s == t for s, t in pairs), sum(s and t for s, t in pairs), sum(s and not t for s, t in pairs)]
    return [*row, sum(t and not s for s, t in pairs), len(pairs), item.scene.held_out]


def _yes(score) -> bool:
    yes, no = (-np.inf if p is None else p for p in score.logprobs)
    return bool(yes > no)


def _figures(sums: np.ndarray) -> np.ndarray:
    """[r, 12] sums -> [r, 6] figures in the order of EVALUATION. F1 is 0 where nothing is answered yes and nothing is."""
    n, bad, false, claims, recall, exact, right, tp, fp, fn, asked, _ = sums.T
    f1 = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    return np.stack([bad / n, false / np.maximum(claims, 1), recall / n, exact / n, right / asked, f1], 1)
