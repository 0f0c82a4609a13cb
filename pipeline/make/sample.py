"""Sampled answers: n per prompt from one model, or from k models out of a pool (VLFeedback: 4 of 12; MM-RLHF: 3 to 5)."""

import random

from pydantic import Field, model_validator

from pipeline.make._ask import (
    AnswerSettings,
    MediaSettings,
    answer_rows,
    generate_request,
    prompt_with_media,
    seed_of,
)
from pipeline.make._ask import fit as fit  # part of this operator
from pipeline.make._ask import fits as fits
from schemas import prompts
from schemas.messages import question_of, with_question
from schemas.operator import Context, SampleRows, gather
from schemas.records import SAMPLE_KINDS, Candidate, Media, Rejection, digest
from schemas.requests import Failure

READS = ("samples",)
LEAVES = ("media", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
EDITION = 1  # answers that were cut off are rejected


class Settings(MediaSettings, AnswerSettings):
    model: str | None = None
    """name of the recipe's model that answers"""
    models: tuple[str, ...] = ()
    """alternative: a pool of the recipe's models"""
    k: int | None = Field(None, ge=1, le=1_000)
    """how many models of the pool answer each prompt, chosen by the seed; all by default"""
    n: int = Field(4, ge=1, le=1_000)
    """answers per prompt, model and temperature"""
    temperatures: tuple[float, ...] = ()
    """several temperatures instead of one: SIMA takes a greedy answer and one at 0.8"""
    stop: tuple[str, ...] = ()
    """stop strings: an answer ends before the first of these"""
    logprobs: bool = False
    """keep the log-probability of each token"""
    prompt: str | None = None
    """file with {question} that replaces the sample's question (STIC's long, structured prompt)"""

    @model_validator(mode="after")
    def _check(self):
        if bool(self.model) == bool(self.models):
            raise ValueError("set either one `model` or a pool of `models`")
        if self.k is not None and self.k > len(self.models):
            raise ValueError(f"`k` is {self.k}, but `models` has only {len(self.models)}")
        if any(t < 0 for t in self.temperatures):
            raise ValueError("`temperatures` must not be negative")
        if self.n > 1 and 0 in (self.temperatures or (self.temperature,)):
            raise ValueError("greedy answers (temperature 0) are all the same; set n: 1")
        return self


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, ""),) if settings.prompt else ()


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Candidate | Rejection]:
    """Candidates ordered by model, temperature and index. `prompt` is set only if it differs from the sample's.

    A failed request is a Rejection and the other answers stay; if all requests fail, the sample is dropped."""
    sample, prompt = rows.sample, rows.sample.prompt
    for template in prompt_texts(settings):
        prompt = with_question(prompt, prompts.fill(template, question=question_of(prompt)))
    prompt, media = await prompt_with_media(prompt, settings, sample, context)
    seed = seed_of(settings.seed, sample.id)
    ways = [
        (name, t) for name in _models_of(settings, sample.id) for t in settings.temperatures or (settings.temperature,)
    ]
    kept = {"n": settings.n, "stop": settings.stop, "logprobs": settings.logprobs}
    results = await gather(
        context.engines[name].ask(generate_request(prompt, settings, seed, temperature=t, **kept)) for name, t in ways
    )
    failures = [r for r in results if isinstance(r, Failure)]
    if len(failures) == len(results):
        return [Rejection(sample.id, "samples", context.step, failures[0].reason, failures[0].detail, sample.id)]
    out: list[Media | Candidate | Rejection] = [*media]
    out += [Rejection(sample.id, "candidates", context.step, f.reason, f.detail, sample.id) for f in failures]
    for place, ((name, t), result) in enumerate(zip(ways, results, strict=True)):
        if isinstance(result, Failure):
            continue
        how = f"{context.version} temperature={t:g}" if settings.temperatures else context.version
        for index, answer in enumerate(result.answers):
            row = {
                "role": settings.role, "model": context.engines[name].identity, "settings": how, "seed": seed,
                "index": place * settings.n + index, "prompt": prompt if prompt != sample.prompt else None,
            }  # fmt: skip
            out += answer_rows(answer, "", row, sample, settings, context)
    return out


def _models_of(settings: Settings, sample: str) -> list[str]:
    """Names of the models that answer this sample, in the order of the pool."""
    if settings.model:
        return [settings.model]
    if settings.k is None:
        return list(settings.models)
    rng = random.Random(digest("models", settings.seed, sample))
    return [settings.models[i] for i in sorted(rng.sample(range(len(settings.models)), settings.k))]
