"""Answers grown sentence by sentence: a model proposes several next sentences, each is scored, and the best and worst paths continue
(CSR's sentence-level beam search, arXiv 2405.14622). The best and the worst path make a pair, both written by the model itself.

The score of a sentence s is R(s) = (1 - l) P(s) + l S(s), with P its probability under the model, S the scorer's score (in CSR
max(100 cos(image, s), 0) by CLIP) and l = 0.9. The score of a path is the mean over its sentences. CSR's code uses ranks instead
of values, because P of a sentence is small compared to S: `by: rank`."""

import asyncio
import math
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.make._ask import AnswerSettings, generate_request, seed_of
from schemas.axes import SCORE
from schemas.errors import RowError
from schemas.finish import LENGTH, unfinished
from schemas.messages import assistant, sample_label
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
from schemas.requests import Answer, Beams, Failure, Generate
from schemas.text import text_key

READS = ("samples",)
LEAVES = ("candidates", "judgements")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
BUILDS = {"scorer": "rate"}
END = ". "  # stop string: engines cut it off, so a sentence has lost its full stop unless it ends the answer
SHORTEST = 4  # characters; shorter sentences are skipped, as in CSR's code


class Settings(AnswerSettings):
    model: str
    """name of the recipe's model that answers; sentences come from a diverse beam search if its engine supports `Beams`,
    otherwise they are sampled by `temperature`, `top_p` and `top_k`"""
    scorer: str | dict[str, Any]
    """operator that scores sentences, for example {judge.scorer: {kind: clip, model: clip}}"""
    weight: float = Field(0.9, ge=0, le=1)
    """l: weight of the scorer; the model's own probability has 1 - l"""
    by: Literal["value", "rank"] = "value"
    """combine the two by value, as in the paper, or by rank among the candidate sentences, as in its code"""
    beams: int = Field(5, ge=2, le=100)
    """candidate sentences after each path"""
    diversity: float = Field(3.0, ge=0)
    """diverse beam search: penalty of a token for each earlier beam that chose it; every beam is its own group"""
    best: int = Field(1, ge=1, le=100)
    """how many of the best paths continue if there are at least `beams` paths; otherwise all continue"""
    worst: int = Field(2, ge=1, le=100)
    """how many of the worst paths continue"""
    max_tokens: int = Field(70, ge=1, le=1_000_000)
    """maximum length of a sentence, in tokens"""
    max_chars: int = Field(1024, ge=1, le=1_000_000)
    """a path of this many characters ends, cut off as `on_cut` says"""

    @model_validator(mode="after")
    def _check_beams(self):
        if self.best + self.worst > self.beams:
            raise ValueError("`best` plus `worst` must not exceed `beams`")
        return self


class Path(NamedTuple):
    """A partial answer."""

    text: str = ""
    scores: tuple[float, ...] = ()  # one per sentence
    logprob: float = 0.0  # natural log, of the whole text
    tokens: int = 0
    finish: str | None = None  # stop, length; None: it may continue
    raw: tuple[str, ...] = ()  # "probability score" of each sentence

    @property
    def score(self) -> float:
        """Mean score of the sentences; a path without sentences has none."""
        return math.fsum(self.scores) / len(self.scores)


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Candidate | Judgement | Rejection]:
    """A Candidate with its `score` for every path that the model ended, equal texts once; one cut off by `max_chars` as `on_cut` says.

    A failed request, a sentence without a score, one that a tool call or a filter ended, and a path cut off are each a Rejection. RowError,
    which drops the sample, if the first request fails or the engine returns no log-probabilities (ENGINE_REFUSED). If no path ends, the
    sample is dropped for the reason of the first one lost, else EMPTY_ANSWER."""
    sample, engine = rows.sample, context.engines[settings.model]
    seed = seed_of(settings.seed, sample.id)
    live, done, lost = [Path()], [], []
    while live:
        found = await asyncio.gather(*(_extended(path, engine, sample, seed, settings, context) for path in live))
        grown = [path for paths, _ in found for path in paths]
        lost += [rejection for _, rejections in found for rejection in rejections]
        done += [path for path in grown if path.finish]
        live = _continuing([path for path in grown if not path.finish], settings)
    return _result_rows(done, lost, seed, engine, sample, settings, context)


async def _extended(
    path: Path, engine: Engine, sample: Sample, seed: int, settings: Settings, context: Context
) -> tuple[list[Path], list[Rejection]]:
    """The path extended by each proposed sentence, or the finished path if there is none; and the rejections."""
    lost = lambda reason, detail: Rejection(
        digest(sample.id, context.step, path.text, detail), "candidates", context.step, reason, detail, sample.id
    )
    result = await engine.ask(_next(path, engine, sample.prompt, settings, seed))
    if isinstance(result, Failure):
        if not path.text:
            raise RowError(result.reason, result.detail)
        return [], [lost(result.reason, result.detail)]
    broken = {
        a.finish: cut for a in result.answers if (cut := unfinished(a, settings.max_tokens)) and a.finish != LENGTH
    }
    refused = [lost(cut.reason, cut.detail) for cut in broken.values()]
    offered = _distinct_sentences([answer for answer in result.answers if answer.finish not in broken])
    if not offered:
        return [path._replace(finish="stop")] if path.text and not refused else [], refused
    scored = list(zip(offered, await context.built["scorer"](sample, [s.text for s in offered]), strict=True))
    refused += [lost(Reason.NO_VERDICT, f"no score for {s.text[:100]!r}") for s, value in scored if value is None]
    return _children(path, [(s, value) for s, value in scored if value is not None], settings), refused


def _next(path: Path, engine: Engine, prompt: tuple[Message, ...], settings: Settings, seed: int) -> Beams | Generate:
    """The request for the next sentences of a path."""
    messages = (*prompt, assistant(path.text)) if path.text else prompt
    if "Beams" in engine.can:
        return Beams(messages, settings.beams, settings.beams, settings.diversity, settings.max_tokens, (END,))
    own = int(digest(seed, path.text)[:8], 16) & 0x7FFFFFFF
    return generate_request(messages, settings, own, n=settings.beams, stop=(END,), logprobs=True)


class Sentence(NamedTuple):
    text: str
    logprob: float
    tokens: int
    finish: str | None  # None: the answer goes on


def _distinct_sentences(answers: Iterable[Answer]) -> list[Sentence]:
    """The distinct sentences among the answers."""
    found: dict[str, Sentence] = {}
    for answer in answers:
        if len(answer.text.strip()) >= SHORTEST:
            found.setdefault(text_key(answer.text), _sentence(answer))
    return list(found.values())


def _sentence(answer: Answer) -> Sentence:
    if answer.token_logprobs is None:
        raise RowError(
            Reason.ENGINE_REFUSED, "the engine returns no token log-probabilities; use another engine for the model"
        )
    each, text = answer.token_logprobs, answer.text
    if answer.finish != "stop":
        return Sentence(text, math.fsum(each), len(each), None)
    if text.rstrip().endswith((".", "!", "?")):
        return Sentence(text, math.fsum(each), len(each), "stop")
    return Sentence(text + ".", math.fsum(each[:-1]), len(each) - 1, None)  # the last token begins the next sentence


def _children(path: Path, scored: list[tuple[Sentence, float]], settings: Settings) -> list[Path]:
    """The path extended by each of the sentences."""
    probability = [math.exp(s.logprob) for s, _ in scored]
    values = [v for _, v in scored]
    compared = [probability, values]
    if settings.by == "rank":
        means = [s.logprob / max(1, s.tokens) for s, _ in scored]
        compared = [ranks(means), ranks(values)]
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
    """Minus the rank of each value divided by their number n: -1/n for the largest, -1 for the smallest; ties keep their order."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    place = {i: rank for rank, i in enumerate(order, 1)}
    return [-place[i] / len(values) for i in range(len(values))]


def _continuing(paths: list[Path], settings: Settings) -> list[Path]:
    """The paths that continue: the best and the worst, each once."""
    if len(paths) < settings.beams:
        return paths
    ranked = sorted(paths, key=lambda p: -p.score)
    return [*ranked[: settings.best], *ranked[-settings.worst :]]


def _result_rows(
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
        whole.setdefault(text_key(path.text), path)
    if not whole:
        reason, detail = (lost[0].reason, lost[0].detail) if lost else (Reason.EMPTY_ANSWER, "no path ended")
        return [Rejection(sample.id, "samples", context.step, reason, detail, sample.id)]
    out: list[Candidate | Judgement | Rejection] = []
    for index, path in enumerate(whole.values()):
        new = candidate(
            sample.id, context.step, path.text.strip(), role=settings.role, model=engine.identity, settings=context.version,
            seed=seed, index=index, tokens=path.tokens, finish=path.finish, logprob=round(path.logprob, 4),
        )  # fmt: skip
        score = judgement(
            sample.id, context.step, "candidate", (new.id,), SCORE,
            Finding(Outcome.VERDICT, round(path.score, 4), raw=" | ".join(path.raw)),
            Provenance(f"tree of {engine.identity}", context.version),
        )  # fmt: skip
        out += [new, score]
        if path.finish == LENGTH and settings.on_cut == "reject":
            detail = f"{sample_label(sample)}: max_chars ({settings.max_chars}) cut it off; raise max_chars"
            out.append(Rejection(new.id, "candidates", context.step, Reason.TRUNCATED, detail, sample.id))
    return [*out, *lost]
