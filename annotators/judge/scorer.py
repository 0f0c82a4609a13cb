"""A scoring model as a judge: it gives each answer a number and generates no text.

reward      the output of a reward model (PDS-DPO's ArmoRM)
clip        similarity of answer and media: max(0, 100 x cosine of their embeddings) (CLIPScore, arXiv 2104.08718, scaled as in CSR,
            arXiv 2405.14622; CLIP-DPO); with several media the maximum
likelihood  log-probability of the answer under a model; with a `reference` model, beta x the difference, which is DPO's implicit
            reward (arXiv 2305.18290)
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
    "reward": "a ...ForSequenceClassification model on the engine hf",
    "clip": "a dual-encoder model like CLIP on the engine hf",
    "likelihood": "a model on vllm or hf, or a vLLM server",
}


class Settings(Base):
    model: str
    """the recipe's model that scores, by name"""
    kind: Literal["reward", "clip", "likelihood"]
    """output of a reward model, similarity of text and media, or log-probability of the answer"""
    media: bool = True
    """show the media with the question; false for a text-only reward model, or for the likelihood from text alone"""
    per: Literal["answer", "sentence"] = "answer"
    """clip: score the whole answer, or the mean over its sentences (CLIP reads at most 77 tokens)"""
    normalise: Literal["length"] | None = None
    """likelihood: divide by the number of tokens, so that long answers are not penalised"""
    reference: str | None = None
    """likelihood: name of the reference model"""
    beta: float = Field(0.1, gt=0)
    """likelihood with a reference: DPO's beta"""
    axis: str = SCORE
    """axis of the judgements; a pair rule names it in its `axis`"""

    @model_validator(mode="after")
    def _own(self):
        kinds = {"per": "clip", "normalise": "likelihood", "reference": "likelihood", "beta": "likelihood"}
        for name, kind in kinds.items():
            if name in self.model_fields_set and kind != self.kind:
                raise ValueError(f"`{name}` is a setting of `kind: {kind}`; remove it, or use that kind")
        if self.kind == "clip" and not self.media:
            raise ValueError("`kind: clip` needs the media; remove `media: false`")
        return self


class Scored(NamedTuple):
    outcome: str  # one of Outcome
    value: float | None
    raw: str | None = None


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` per Candidate; equal texts are requested once.

    It abstains on an empty answer, and with clip on a sample without media; if the engine fails, the outcome is `failed`. RecipeError if
    the model cannot score by this `kind`."""
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
    """The score of each text, None where there is none; for makers that choose among possible answers."""
    return [s.value for s in await _scored(sample, texts, settings, context)]


def _models(settings: Settings) -> list[str]:
    return [settings.model, *([settings.reference] if settings.reference else [])]


async def _scored(sample: Sample, texts: list[str], settings: Settings, context: Context) -> list[Scored]:
    engines = [context.engines[name] for name in _models(settings)]
    for engine in engines:
        # a decoder can embed too, but its embeddings of texts and images are not comparable
        if ASKS[settings.kind].__name__ not in engine.can or (settings.kind == "clip" and "Generate" in engine.can):
            raise RecipeError(
                f"{context.step}: {engine.identity} does not support `kind: {settings.kind}`; use {FIT[settings.kind]}"
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
    return [_score([next(results) for _ in engines], settings) if t.strip() else NOTHING for t in texts]


NOTHING = Scored(Outcome.ABSTAIN, None, "the answer has no words")


def _score(results: list[Result], settings: Settings) -> Scored:
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
    """Log-probability of an answer (natural log, at most 0): the sum over its tokens, or their mean if `normalise` is set."""
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
    different = list(dict.fromkeys(piece for cut in pieces.values() for piece in cut))
    requests = [engine.ask(Embed((messages.user(x),))) for x in (*media, *different)]
    results = await asyncio.gather(*requests)
    of_media, of_texts = results[: len(media)], dict(zip(different, results[len(media) :], strict=True))
    out = []
    for text in texts:
        cut = pieces.get(text)
        if not cut:
            out.append(NOTHING)
        elif failed := _failed([*of_media, *(of_texts[piece] for piece in cut)]):
            out.append(failed)
        else:
            media_vectors = [s.vector for s in of_media if isinstance(s, Embedded)]
            text_vectors = [s.vector for s in (of_texts[piece] for piece in cut) if isinstance(s, Embedded)]
            each = [max(clip_score(medium, text) for medium in media_vectors) for text in text_vectors]
            out.append(Scored(Outcome.VERDICT, round(sum(each) / len(each), 4)))
    return out


def clip_score(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """max(0, 100 x cosine) of two unit vectors of equal dimension; range 0..100 (CLIPScore, arXiv 2104.08718)."""
    return max(0.0, 100 * sum(a * b for a, b in zip(one, other, strict=True)))
