"""Hallucination of a model on held-out scenes with known ground truth: open answers and yes/no questions, greedy decoding."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import Field, model_validator

from pipeline.evaluate._bootstrap import interval, keep, replicates
from pipeline.scenes.world import SCENES, SHARES, Kind, Scene, Task, World, draw, load_world, store_scene
from schemas.claim_patterns import Patterns, split, truth_of
from schemas.errors import EngineError
from schemas.figures import EVALUATION
from schemas.messages import user
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.ports import Engine
from schemas.records import Message, Reason, digest
from schemas.requests import Failure, Generate, Score, Scored
from schemas.text import word_count

READS = ()
LEAVES = ()
MEDIA = tuple(SCENES)
SCOPE = "table"
VERSION = 1
CHOICES = ("yes", "no")
T = TypeVar("T")


class Settings(Base):
    model: str
    """name of the recipe's model to evaluate"""
    media: tuple[Kind, ...] = Field(tuple(SHARES), min_length=1)
    """kinds of scenes that are asked about; those that the model takes, if it does not take all"""
    n: int = Field(400, ge=2, le=1_000_000)
    """held-out prompts of each media type"""
    questions: int = Field(3, ge=1, le=100)
    """yes/no questions per prompt, balanced between yes and no"""
    max_tokens: int = Field(64, ge=1, le=1_000_000)
    """maximum length of an answer, in tokens"""
    seed: int = 999
    """random seed of the prompts"""

    @model_validator(mode="after")
    def _each_once(self):
        if len(set(self.media)) < len(self.media):
            raise ValueError("`media` names a kind twice; name each once")
        return self


def digested(settings: Settings) -> dict[str, Any]:
    """The settings that enter digests: `media` only if it is not the default, so that keys from before stay."""
    found = settings.model_dump(mode="json")
    return found if set(settings.media) != set(SCENES) else {k: v for k, v in found.items() if k != "media"}


class Counts(NamedTuple):
    """The counts of one prompt, which add up over prompts."""

    answers: float  # 1
    hallucinated: float  # 1 if the answer has a false claim or is malformed
    false_claims: float
    claims: float
    recall: float  # 0..1
    words: float
    exact: float  # 1 if the answer is entirely true and complete
    right: float  # yes/no questions answered correctly
    true_yes: float  # of these, those whose true answer is yes
    false_yes: float
    false_no: float
    questions: float
    held_out: float  # 1 if training never showed the combination


class Item(NamedTuple):
    """One held-out prompt with its ground truth."""

    scene: Scene
    task: Task
    prompt: tuple[Message, ...]
    questions: list[tuple[tuple[Message, ...], bool]]  # (prompt, true answer is yes)


async def evaluate(tables: Tables, settings: Settings, context: Context) -> dict:
    """{media type: {metric: {value, low, high}}}, and `mean` with the unweighted mean over media types; 95 % bootstrap intervals.

    The metrics are those of `schemas.figures.EVALUATION`; a media type also has `held_out`, the hallucination on combinations that
    training never showed, if at least two prompts have one. Writes the resamples to `context.folder`, for the difference from another
    evaluation. EngineError if the model does not take a kind of media, or a request fails."""
    engine = context.engines[settings.model]
    _check_media(engine, settings)
    world = load_world()
    out, replicas, done = {}, [], 0
    kinds = [kind for kind in SCENES if kind in settings.media]
    total = len(kinds) * settings.n
    for kind in kinds:
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
    prompts = digest("scenes", kinds, settings.n, settings.questions, settings.seed)
    keep(context.folder, [name for name, *_ in EVALUATION], mean, prompts)
    return out


def _check_media(engine: Engine, settings: Settings) -> None:
    """EngineError if the model does not take the media of some kinds."""
    fits = [kind for kind in settings.media if kind.removeprefix("multi_") in engine.media]
    if len(fits) < len(settings.media):
        remedy = f"set `media: [{', '.join(fits)}]`" if fits else "evaluate it on rows of yours, with evaluate.rows"
        left = " or ".join(kind for kind in settings.media if kind not in fits)
        raise EngineError(f"cannot evaluate {settings.model}: it takes no {left}; {remedy}")


def _batches(kind: str, world: World, settings: Settings, context: Context) -> Iterator[list[Item]]:
    """The items of a media type in batches of 100, so that not all media are in memory at once."""
    for start in range(0, settings.n, 100):
        yield [item(kind, i, world, settings, context) for i in range(start, min(start + 100, settings.n))]


def item(kind: str, number: int, world: World, settings: Settings, context: Context) -> Item:
    """The held-out prompt with this number, the same for the same seed; its media are added to the store."""
    scene = draw(world, kind, f"{settings.seed}/{number}", "eval")
    rng = random.Random(f"evaluate {settings.seed}/{number}")
    parts, _ = store_scene(scene, context.media)
    task = rng.choice(scene.tasks())
    asked: list[tuple[tuple[Message, ...], bool]] = [
        ((user(*parts, question),), truth) for question, truth in scene.questions(rng, settings.questions)
    ]
    return Item(scene, task, (user(*parts, task.question),), asked)


async def _counts(item: Item, engine: Engine, patterns: Patterns, settings: Settings) -> Counts:
    """The counts of the model's answers to one prompt. EngineError if a request fails."""
    answer, scores = await asyncio.gather(
        engine.ask(Generate(item.prompt, 1, 0.0, 1.0, settings.max_tokens, 0)),
        asyncio.gather(*(engine.ask(Score(q, CHOICES)) for q, _ in item.questions)),
    )
    text = _checked(answer).answers[0].text
    facts = item.scene.facts(item.task)
    truth = truth_of(facts, split(patterns, item.task.question, text))
    pairs = [(_yes(_checked(score)), truth) for score, (_, truth) in zip(scores, item.questions, strict=True)]
    return Counts(
        answers=1, hallucinated=truth.false > 0, false_claims=truth.false, claims=truth.claims, recall=truth.recall, words=word_count(text), exact=truth.exact,
        right=sum(yes == truth for yes, truth in pairs), true_yes=sum(yes and truth for yes, truth in pairs),
        false_yes=sum(yes and not truth for yes, truth in pairs), false_no=sum(truth and not yes for yes, truth in pairs),
        questions=len(pairs), held_out=item.scene.held_out,
    )  # fmt: skip


def _checked(result: T | Failure) -> T:
    """The result. EngineError if it is a Failure: metrics over the remaining prompts would not be comparable."""
    if isinstance(result, Failure):
        detail = f"{result.reason}: {result.detail}"
        if result.reason == Reason.UNSUPPORTED_MEDIA:  # a model that was not loaded yet was known by its settings alone
            detail = f"{detail.partition('; ')[0]}; set `media:` to the kinds of scenes that it takes"
        raise EngineError(f"cannot evaluate the model: a held-out prompt failed: {detail}")
    return result


def _yes(score: Scored) -> bool:
    yes, no = (-np.inf if p is None else p for p in score.logprobs)
    return bool(yes > no)


def _figures(sums: np.ndarray) -> np.ndarray:
    """[r, fields of Counts] sums -> [r, 7] metrics in the order of EVALUATION. chair is 0 without claims, F1 is 0 without any yes."""
    s = Counts(*sums.T)
    figures = {
        "hallucination": s.hallucinated / s.answers,
        "chair": s.false_claims / np.maximum(s.claims, 1),
        "recall": s.recall / s.answers,
        "accuracy": s.exact / s.answers,
        "yes_no_accuracy": s.right / s.questions,
        "yes_no_f1": 2 * s.true_yes / np.maximum(2 * s.true_yes + s.false_yes + s.false_no, 1),
        "words": s.words / s.answers,
    }
    return np.stack([figures[name] for name, *_ in EVALUATION], 1)
