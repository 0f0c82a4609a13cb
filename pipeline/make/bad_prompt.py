"""Answers to a bad prompt (STIC, arXiv 2405.19716), which asks the model to imagine things instead of looking."""

import random

from pipeline.make._ask import AnswerSettings, answer_rows, generate_request, seed_of
from schemas import prompts
from schemas.errors import RecipeError
from schemas.messages import with_question
from schemas.operator import Context, SampleRows
from schemas.records import SAMPLE_KINDS, Candidate, Rejection, digest
from schemas.requests import Failure

READS = ("samples",)
LEAVES = ("candidates",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
EDITION = 1  # answers that were cut off are rejected


class Settings(AnswerSettings):
    model: str
    """name of the recipe's model that answers"""
    role: str | None = "rejected"
    """role of these answers"""
    prompt: str | None = None
    """file of bad prompts, one per line, instead of the bundled bad_prompt.txt"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, "bad_prompt.txt"),)


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Candidate | Rejection]:
    """One answer to one of the bad prompts, chosen by the seed, which replaces the sample's question.

    A failed request drops the sample with the failure's reason. RecipeError if the file has no prompts."""
    sample, engine = rows.sample, context.engines[settings.model]
    lines = [line.strip() for line in prompt_texts(settings)[0].splitlines() if line.strip()]
    if not lines:
        raise RecipeError(f"{context.step}: the file {settings.prompt} contains no prompts; write one per line")
    line = random.Random(digest("bad", settings.seed, sample.id)).choice(lines)
    prompt = with_question(sample.prompt, line)
    seed = seed_of(settings.seed, sample.id)
    result = await engine.ask(generate_request(prompt, settings, seed))
    if isinstance(result, Failure):
        return [Rejection(sample.id, "samples", context.step, result.reason, result.detail, sample.id)]
    (answer,) = result.answers
    row = {
        "role": settings.role, "model": engine.identity, "settings": context.version, "seed": seed, "prompt": prompt,
    }  # fmt: skip
    return answer_rows(answer, "", row, sample, settings, context)
