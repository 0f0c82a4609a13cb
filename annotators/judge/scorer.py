"""A scorer model as a judge: it gives each answer a number and says no word.

reward      a reward model's number (PDS-DPO's ArmoRM)
clip        how well an answer fits the media: 100 times the cosine of their vectors, at least 0 (CLIPScore, arXiv 2104.08718, as
            CSR scales it, arXiv 2405.14622; CLIP-DPO); of several media the one that fits best
likelihood  the log-probability of the answer under a model; against a `reference` model beta times the difference, which is DPO's
            implicit reward (arXiv 2305.18290)
"""

import asyncio
import math
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from schemas import messages
from schemas.axes import SCORE
from schemas.errors import RecipeError
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.ports import Engine
from schemas.records import (
    SAMPLE_KINDS,
    Finding,
    Judgement,
    Outcome,
    Provenance,
    Sample,
    judgement,
    media_parts,
)
from schemas.requests import Embed, Embedded, Failure, Likelihood, Likely, Rate, Rated, Result
from schemas.text import sentences

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1

ASKS = {"reward": Rate, "clip": Embed, "likelihood": Likelihood}
FIT = {
    "reward": "a model ...ForSequenceClassification on the engine hf",
    "clip": "a model of two encoders, like CLIP, on the engine hf",
    "likelihood": "a model on vllm or hf, or a server that is vLLM's",
}


class Settings(Base):
    model: str
    """name of the recipe's model that scores"""
    kind: Literal["reward", "clip", "likelihood"]
    """what it is asked for: a reward model's number, likeness of text and media, or how probable the answer is"""
    media: bool = True
    """show the media with the question; false for a reward model that reads text only, or for what the words alone make probable"""
    per: Literal["answer", "sentence"] = "answer"
    """of clip: compare the whole answer, or take the mean over its sentences (CLIP reads 77 tokens)"""
    normalise: Literal["length"] | None = None
    """of likelihood: divide by the number of tokens, so that long answers do not lose by their length"""
    reference: str | None = None
    """of likelihood: name of the model against which the first one is held"""
    beta: float = Field(0.1, gt=0)
    """of likelihood with a reference: DPO's beta"""
    axis: str = SCORE
    """what the judgements are called, for the pair rule's `axis`"""

    @model_validator(mode="after")
    def _own(self):
        of = {"per": "clip", "normalise": "likelihood", "reference": "likelihood", "beta": "likelihood"}
        for name, kind in of.items():
            if name in self.model_fields_set and kind != self.kind:
                raise ValueError(f"`{name}` is a setting of `kind: {kind}`")
        if self.kind == "clip" and not self.media:
            raise ValueError("`kind: clip` compares with the media")
        return self


class Scored(NamedTuple):
    outcome: str  # one of Outcome
    value: float | None
    raw: str | None = None


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` a Candidate. It abstains of an answer without words, and clip of a sample without media; what the engine cannot
    answer is `failed`. Equal texts are asked once. RecipeError where the model is none that scores by this kind."""
    texts = list(dict.fromkeys(c.text for c in rows.candidates))
    scored = dict(zip(texts, await _scored(rows.sample, texts, settings, context), strict=True))
    by = Provenance(" against ".join(context.engines[name].identity for name in _models(settings)), context.version)
    out = []
    for c in rows.candidates:
        outcome, value, raw = scored[c.text]
        out.append(
            judgement(c.sample, context.step, "candidate", (c.id,), settings.axis, Finding(outcome, value, raw=raw), by)
        )
    return out


async def rate(sample: Sample, texts: list[str], settings: Settings, context: Context) -> list[float | None]:
    """The scores of texts that may become answers, for makers that choose among them; None where there is none."""
    return [s.value for s in await _scored(sample, texts, settings, context)]


def _models(settings: Settings) -> list[str]:
    return [settings.model, *([settings.reference] if settings.reference else [])]


async def _scored(sample: Sample, texts: list[str], settings: Settings, context: Context) -> list[Scored]:
    engines = [context.engines[name] for name in _models(settings)]
    for engine in engines:
        # a decoder embeds too, but its vectors of texts and pictures have nothing in common
        if ASKS[settings.kind].__name__ not in engine.can or (settings.kind == "clip" and "Generate" in engine.can):
            raise RecipeError(
                f"{context.step}: {engine.identity} cannot score by `kind: {settings.kind}`; name {FIT[settings.kind]}"
            )
    if settings.kind == "clip":
        return await _clip(sample, texts, settings, engines[0])
    shown = sample.prompt if settings.media else messages.without_media(sample.prompt)
    requests = [
        engine.ask(ASKS[settings.kind]((*shown, messages.assistant(t))))
        for t in texts
        if t.strip()
        for engine in engines
    ]
    results = iter(await asyncio.gather(*requests))
    return [_of([next(results) for _ in engines], settings) if t.strip() else NOTHING for t in texts]


NOTHING = Scored(Outcome.ABSTAIN, None, "the answer has no words")


def _of(results: list[Result], settings: Settings) -> Scored:
    if failed := _failed(results):
        return failed
    if settings.kind == "reward":
        (value,) = (r.value for r in results if isinstance(r, Rated))
        return Scored(Outcome.VERDICT, value)
    values = [likelihood(r.logprobs, settings.normalise) for r in results if isinstance(r, Likely)]
    value = settings.beta * (values[0] - values[1]) if settings.reference else values[0]
    return Scored(
        Outcome.VERDICT, round(value, 4), " ".join(f"{v:.4f}" for v in values) if settings.reference else None
    )


def likelihood(logprobs: tuple[float, ...], normalise: str | None) -> float:
    """The natural log of an answer's probability, or its mean over the tokens."""
    return math.fsum(logprobs) / (len(logprobs) if normalise else 1)


def _failed(results: list[Result]) -> Scored | None:
    return next(
        (Scored(Outcome.FAILED, None, f"{r.reason}: {r.detail}") for r in results if isinstance(r, Failure)), None
    )


async def _clip(sample: Sample, texts: list[str], settings: Settings, engine: Engine) -> list[Scored]:
    media = media_parts(sample.prompt)
    if not media:
        return [Scored(Outcome.ABSTAIN, None, "the sample has no media")] * len(texts)
    pieces = {t: [s.strip() for s in sentences(t)] if settings.per == "sentence" else [t] for t in texts if t.strip()}
    asked = list(dict.fromkeys(piece for cut in pieces.values() for piece in cut))
    requests = [engine.ask(Embed((messages.user(x),))) for x in (*media, *asked)]
    results = await asyncio.gather(*requests)
    seen, said = results[: len(media)], dict(zip(asked, results[len(media) :], strict=True))
    out = []
    for text in texts:
        cut = pieces.get(text)
        if not cut:
            out.append(NOTHING)
        elif failed := _failed([*seen, *(said[piece] for piece in cut)]):
            out.append(failed)
        else:
            looks = [s.vector for s in seen if isinstance(s, Embedded)]
            read = [s.vector for s in (said[piece] for piece in cut) if isinstance(s, Embedded)]
            each = [max(clip_score(look, vector) for look in looks) for vector in read]
            out.append(Scored(Outcome.VERDICT, round(sum(each) / len(each), 4)))
    return out


def clip_score(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """100 times the cosine of two vectors of length 1, at least 0; range 0..100."""
    return max(0.0, 100 * sum(a * b for a, b in zip(one, other, strict=True)))
