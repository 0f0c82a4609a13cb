"""How much a model hallucinates on held-out scenes, where the truth is known: open answers and yes/no questions, greedy."""

import asyncio
import random
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import Field

from pipeline.evaluate._bootstrap import interval, replicates
from pipeline.scenes.world import SCENES, Scene, Task, World, draw, load_world, stored
from schemas.claim_patterns import Patterns, split, truth_of
from schemas.errors import EngineError
from schemas.figures import EVALUATION
from schemas.messages import user
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.ports import Engine
from schemas.records import Message
from schemas.requests import Failure, Generate, Score, Scored

READS = ()
LEAVES = ()
MEDIA = tuple(SCENES)
SCOPE = "table"
VERSION = 1
CHOICES = ("yes", "no")
T = TypeVar("T")


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


class Counts(NamedTuple):
    """What adds up over prompts, of one of them: the columns of a table that is summed."""

    answers: float  # 1
    hallucinated: float  # 1 where the answer holds a false claim or is malformed
    false_claims: float
    claims: float
    recall: float  # 0..1
    exact: float  # 1 where the answer is wholly true and complete
    right: float  # yes/no questions that are answered as is true
    true_yes: float  # of these, those whose answer is yes
    false_yes: float
    false_no: float
    questions: float
    held_out: float  # 1 where training never showed the combination


class Item(NamedTuple):
    """One held-out prompt with its truth."""

    scene: Scene
    task: Task
    prompt: tuple[Message, ...]
    questions: list[tuple[tuple[Message, ...], bool]]


async def evaluate(tables: Tables, settings: Settings, context: Context) -> dict:
    """{kind: {figure: {value, low, high}}} and the same under `mean`, the plain mean of the kinds. 95 % bootstrap intervals.

    The figures are those of `schemas.figures.EVALUATION`, and a kind's `held_out`: hallucination of the prompts with a combination that
    training never showed, where there are any."""
    engine = context.engines[settings.model]
    world = load_world()
    out, replicas, done = {}, [], 0
    total = len(SCENES) * settings.n
    for kind in SCENES:
        counts = []
        for batch in _batches(kind, world, settings, context):
            counts += await asyncio.gather(*(_counts(item, engine, world.patterns, settings) for item in batch))
            done += len(batch)
            context.progress(done, total, kind)
        table = np.array(counts, float)
        figures = replicates(table, _figures, settings.seed)
        replicas.append(figures)
        out[kind] = {name: interval(figures[:, i]) for i, (name, *_) in enumerate(EVALUATION)} | {"prompts": settings.n}
        held = table[Counts(*table.T).held_out == 1]
        if len(held) > 1:
            out[kind]["held_out"] = interval(replicates(held, _figures, settings.seed)[:, 0]) | {"prompts": len(held)}
    mean = np.mean(replicas, 0)
    out["mean"] = {name: interval(mean[:, i]) for i, (name, *_) in enumerate(EVALUATION)}
    return out


def _batches(kind: str, world: World, settings: Settings, context: Context) -> Iterator[list[Item]]:
    """The items of a kind, some at a time: scenes are small, but their media need not all be open."""
    for start in range(0, settings.n, 100):
        yield [item(kind, i, world, settings, context) for i in range(start, min(start + 100, settings.n))]


def item(kind: str, number: int, world: World, settings: Settings, context: Context) -> Item:
    scene = draw(world, kind, f"{settings.seed}/{number}", "eval")
    rng = random.Random(f"evaluate {settings.seed}/{number}")
    parts, _ = stored(scene, context.media)
    task = rng.choice(scene.tasks())
    asked: list[tuple[tuple[Message, ...], bool]] = [
        ((user(*parts, question),), truth) for question, truth in scene.questions(rng, settings.questions)
    ]
    return Item(scene, task, (user(*parts, task.question),), asked)


async def _counts(item: Item, engine: Engine, patterns: Patterns, settings: Settings) -> Counts:
    """What the model makes of one prompt. EngineError where it gives no answer."""
    answer, scores = await asyncio.gather(
        engine.ask(Generate(item.prompt, 1, 0.0, 1.0, settings.max_tokens, 0)),
        asyncio.gather(*(engine.ask(Score(q, CHOICES)) for q, _ in item.questions)),
    )
    text = _answered(answer).answers[0].text
    facts = item.scene.facts(item.task)
    truth = truth_of(facts, split(patterns, item.task.question, text))
    pairs = [(_yes(_answered(score)), wanted) for score, (_, wanted) in zip(scores, item.questions, strict=True)]
    return Counts(
        answers=1, hallucinated=truth.false > 0, false_claims=truth.false, claims=truth.claims, recall=truth.recall, exact=truth.exact,
        right=sum(said == wanted for said, wanted in pairs), true_yes=sum(said and wanted for said, wanted in pairs),
        false_yes=sum(said and not wanted for said, wanted in pairs), false_no=sum(wanted and not said for said, wanted in pairs),
        questions=len(pairs), held_out=item.scene.held_out,
    )  # fmt: skip


def _answered(result: T | Failure) -> T:
    """The result. EngineError where it is a Failure: figures of some of the prompts would be of another set."""
    if isinstance(result, Failure):
        raise EngineError(f"the model cannot be evaluated: a held-out prompt failed: {result.reason}: {result.detail}")
    return result


def _yes(score: Scored) -> bool:
    yes, no = (-np.inf if p is None else p for p in score.logprobs)
    return bool(yes > no)


def _figures(sums: np.ndarray) -> np.ndarray:
    """[r, columns of Counts] sums -> [r, 6] figures in the order of EVALUATION. F1 is 0 where nothing is answered yes and nothing is."""
    s = Counts(*sums.T)
    figures = {
        "hallucination": s.hallucinated / s.answers,
        "chair": s.false_claims / np.maximum(s.claims, 1),
        "recall": s.recall / s.answers,
        "accuracy": s.exact / s.answers,
        "yes_no_accuracy": s.right / s.questions,
        "yes_no_f1": 2 * s.true_yes / np.maximum(2 * s.true_yes + s.false_yes + s.false_no, 1),
    }
    return np.stack([figures[name] for name, *_ in EVALUATION], 1)
