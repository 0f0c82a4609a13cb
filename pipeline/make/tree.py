"""Answers grown sentence by sentence: a model offers several next sentences, each is scored, the best and the worst grow on
(CSR's sentence-level beam search, arXiv 2405.14622). Best against worst path is a pair, whose sides are both the model's own.

The score of a sentence s is R(s) = (1 - l) P(s) + l S(s): P its probability under the model, S what the scorer says of it (in
CSR max(100 cos(picture, s), 0) by CLIP), l = 0.9. A path's score is the mean over its sentences. CSR's code takes ranks instead
of values, since P of a sentence is small beside S: `by: rank`."""

import asyncio
import math
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.make._ask import SamplingSettings, asked, seed_of
from schemas.axes import SCORE
from schemas.errors import RowError
from schemas.messages import assistant
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import (
    SAMPLE_KINDS,
    Candidate,
    Finding,
    Judgement,
    Message,
    Outcome,
    Provenance,
    Reason,
    Rejection,
    Sample,
    candidate,
    digest,
    judgement,
)
from schemas.requests import Answer, Beams, Failure, Generate, Generated

READS = ("samples",)
LEAVES = ("candidates", "judgements")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
BUILDS = {"scorer": "rate"}
END = ". "  # cut before its space, a sentence has lost its point; one with which the answer ends has kept it
SHORTEST = 4  # characters of a sentence that is worth a node, as in CSR's code


class Settings(SamplingSettings):
    model: str
    """name of the recipe's model that answers. On an engine that answers `Beams` it offers the sentences of a diverse beam search,
    on every other one those that it draws by `temperature`, `top_p` and `top_k`"""
    scorer: str | dict[str, Any]
    """the operator that scores sentences, like {judge.scorer: {kind: clip, model: clip}}"""
    weight: float = Field(0.9, ge=0, le=1)
    """l: how much the scorer counts beside the model's own probability"""
    by: Literal["value", "rank"] = "value"
    """compare the two by their values, as the paper says, or by their ranks among the sentences offered, as its code does"""
    beams: int = Field(5, ge=2, le=100)
    """sentences that are offered behind each path"""
    diversity: float = Field(3.0, ge=0)
    """of a beam search: what a token costs each time that a beam before has chosen it; every beam is a group of its own"""
    best: int = Field(1, ge=1, le=100)
    """how many of the best paths grow on, where there are at least as many as `beams`; else all do"""
    worst: int = Field(2, ge=1, le=100)
    """how many of the worst do"""
    max_tokens: int = Field(70, ge=1, le=1_000_000)
    """longest sentence, in tokens"""
    max_chars: int = Field(1024, ge=1, le=1_000_000)
    """a path as long is an answer as it stands"""

    @model_validator(mode="after")
    def _grows(self):
        if self.best + self.worst > self.beams:
            raise ValueError("`best` and `worst` together are at most `beams`")
        return self


class Path(NamedTuple):
    """An answer on its way."""

    text: str = ""
    scores: tuple[float, ...] = ()  # of its sentences
    logprob: float = 0.0
    tokens: int = 0
    finish: str | None = None  # stop, length; None: it may grow
    raw: tuple[str, ...] = ()  # of each sentence its probability and what the scorer says

    @property
    def score(self) -> float:
        return math.fsum(self.scores) / len(self.scores)


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Candidate | Judgement | Rejection]:
    """Every path that came to its end, as a Candidate with its `score`, equal texts once.

    A path whose request fails or whose sentences have no score is a Rejection; where the first request fails, or the engine gives
    no probabilities (ENGINE_REFUSED), the sample goes."""
    sample, engine = rows.sample, context.engines[settings.model]
    seed = seed_of(settings.seed, sample.id)
    live, done, lost = [Path()], [], []
    while live:
        found = await asyncio.gather(*(_grown(path, engine, sample, seed, settings, context) for path in live))
        grown = [path for paths, _ in found for path in paths]
        lost += [rejection for _, rejections in found for rejection in rejections]
        done += [path for path in grown if path.finish]
        live = _kept([path for path in grown if not path.finish], settings)
    return _leave(done, lost, seed, engine, sample, settings, context)


async def _grown(
    path: Path, engine: Engine, sample: Sample, seed: int, settings: Settings, context: Context
) -> tuple[list[Path], list[Rejection]]:
    """The path with each sentence that is offered behind it, or the path itself where none is; and what could not be."""
    lost = lambda reason, detail: Rejection(
        digest(sample.id, context.step, path.text, detail), "candidates", context.step, reason, detail, sample.id
    )
    result = await engine.ask(_next(path, engine, sample.prompt, settings, seed))
    if isinstance(result, Failure):
        if not path.text:
            raise RowError(result.reason, result.detail)
        return [], [lost(result.reason, result.detail)]
    offered = _offered(result)
    if not offered:
        return [path._replace(finish="stop")] if path.text else [], []
    told = list(zip(offered, await context.built["scorer"](sample, [s.text for s in offered]), strict=True))
    without = [lost(Reason.NO_VERDICT, f"no score for {s.text[:100]!r}") for s, value in told if value is None]
    return _children(path, [(s, value) for s, value in told if value is not None], settings), without


def _next(path: Path, engine: Engine, prompt: tuple[Message, ...], settings: Settings, seed: int) -> Beams | Generate:
    """The request for the sentences behind a path."""
    messages = (*prompt, assistant(path.text)) if path.text else prompt
    if "Beams" in engine.can:
        return Beams(messages, settings.beams, settings.beams, settings.diversity, settings.max_tokens, (END,))
    own = int(digest(seed, path.text)[:8], 16) & 0x7FFFFFFF
    return asked(messages, settings, own, n=settings.beams, stop=(END,), logprobs=True)


class Sentence(NamedTuple):
    text: str
    logprob: float
    tokens: int
    finish: str | None  # None: more follows


def _offered(result: Generated) -> list[Sentence]:
    """The different sentences that the model offers."""
    found: dict[str, Sentence] = {}
    for answer in result.answers:
        if len(answer.text.strip()) >= SHORTEST:
            found.setdefault(answer.text.strip(), _sentence(answer))
    return list(found.values())


def _sentence(answer: Answer) -> Sentence:
    if answer.token_logprobs is None:
        raise RowError(
            Reason.ENGINE_REFUSED, "the engine gives no log-probabilities of tokens; ask the model by another one"
        )
    each, text = answer.token_logprobs, answer.text
    if answer.finish != "stop":
        return Sentence(text, math.fsum(each), len(each), None)
    if text.rstrip().endswith((".", "!", "?")):
        return Sentence(text, math.fsum(each), len(each), "stop")
    return Sentence(text + ".", math.fsum(each[:-1]), len(each) - 1, None)  # the last token begins the next sentence


def _children(path: Path, scored: list[tuple[Sentence, float]], settings: Settings) -> list[Path]:
    """The path with each of the sentences behind it."""
    probability = [math.exp(s.logprob) for s, _ in scored]
    likeness = [v for _, v in scored]
    compared = [probability, likeness]
    if settings.by == "rank":
        means = [s.logprob / max(1, s.tokens) for s, _ in scored]
        compared = [ranks(means), ranks(likeness)]
    out = []
    for (s, value), own, other, p in zip(scored, *compared, probability, strict=True):
        text = path.text + (" " if path.text and not s.text[:1].isspace() else "") + s.text
        out.append(
            Path(
                text, (*path.scores, (1 - settings.weight) * own + settings.weight * other), path.logprob + s.logprob,
                path.tokens + s.tokens, s.finish or ("length" if len(text) >= settings.max_chars else None),
                (*path.raw, f"{p:.4g} {value:g}"),
            )
        )  # fmt: skip
    return out


def ranks(values: list[float]) -> list[float]:
    """Minus the rank of each value as a share of their number: -1/n for the greatest, -1 for the least; equals in their order."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    place = {i: rank for rank, i in enumerate(order, 1)}
    return [-place[i] / len(values) for i in range(len(values))]


def _kept(paths: list[Path], settings: Settings) -> list[Path]:
    """Those that grow on: the best and the worst, each once."""
    if len(paths) < settings.beams:
        return paths
    ranked = sorted(paths, key=lambda p: -p.score)
    return [*ranked[: settings.best], *ranked[-settings.worst :]]


def _leave(
    done: list[Path],
    lost: list[Rejection],
    seed: int,
    engine: Engine,
    sample: Sample,
    settings: Settings,
    context: Context,
) -> list[Candidate | Judgement | Rejection]:
    whole: dict[str, Path] = {}
    for path in done:
        whole.setdefault(path.text.strip(), path)
    if not whole:
        return [Rejection(sample.id, "samples", context.step, Reason.EMPTY_ANSWER, "no path came to an end", sample.id)]
    out: list[Candidate | Judgement | Rejection] = []
    for index, (text, path) in enumerate(whole.items()):
        new = candidate(
            sample.id, context.step, text, role=settings.role, model=engine.identity, settings=context.version,
            seed=seed, index=index, tokens=path.tokens, finish=path.finish, logprob=round(path.logprob, 4),
        )  # fmt: skip
        slip = judgement(
            sample.id, context.step, "candidate", (new.id,), SCORE,
            Finding(Outcome.VERDICT, round(path.score, 4), raw=" | ".join(path.raw)),
            Provenance(f"tree of {engine.identity}", context.version),
        )  # fmt: skip
        out += [new, slip]
    return [*out, *lost]
