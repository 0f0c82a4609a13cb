"""A model rates answers, all of a prompt in one call (VLFeedback, arXiv 2312.10665) or one per call, overall or on axes with rubrics."""

import json
import random
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, model_validator

from annotators.judge import _parse
from annotators.judge._ask import (
    JudgeReply,
    JudgeSettings,
    ask_with_retry,
    judge_messages,
    numbered_answers,
    template,
)
from schemas import prompts
from schemas.axes import RATING
from schemas.errors import NotAsked
from schemas.operator import Context, SampleRows, gather
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, digest, judgement
from schemas.requests import Form

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 4
EDITION = 1  # samples without media are asked about in other words
Rubric = Literal["helpfulness", "visual_faithfulness", "ethical_considerations"]
WHOLE = "ratings"  # key of the overall ratings in the reply
RATINGS = "[one whole number for each answer, in their order]"
RATIONALE = '"why, in a sentence or two for each answer"'


class Settings(JudgeSettings):
    low: int = Field(1, ge=-1_000, le=1_000)
    """rating of the worst answers"""
    high: int = Field(5, ge=-1_000, le=1_000)
    """rating of the best answers; LLaVA-Critic uses scales up to 10 and 100"""
    axis: str = RATING
    """axis of the judgements; a pair rule names it in its `axis`. With `axes`, their names are used instead"""
    axes: tuple[Rubric, ...] | dict[str, str] = ()
    """rate on each of these axes: {name: rubric}, or names of the built-in rubrics (VLFeedback, for ratings 1 to 5): helpfulness,
    visual_faithfulness, ethical_considerations"""
    together: bool = True
    """rate all answers in one call; false: one call per answer, so that they are not compared with each other"""
    order: Literal["random", "fixed"] = "random"
    """show the answers of one call in random order (drawn by the seed, against position bias) or in their given order"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """maximum length of a reply, in tokens"""
    rationale: bool = False
    """also ask for reasons; they are kept in `raw`"""
    prompt: str | None = None
    """prompt file that replaces the built-in one; with {count}, {low}, {high}, {question}, {answers} and optionally {facts}, {rubrics}
    and {form}"""

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError("`low` must be less than `high`")
        return self


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    """The prompt, followed by the rubric of each axis."""
    text = template(settings, __file__, "pointwise_axes.txt" if settings.axes else "pointwise.txt")
    if isinstance(settings.axes, dict):
        return text, *settings.axes.values()
    return text, *(prompts.read(None, __file__, f"rubric_{axis}.txt") for axis in settings.axes)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One Judgement per candidate and axis, valued `low` to `high`; `order` is the place at which it was shown, from 0.

    If the reply cannot be parsed, all candidates of the call are `unparsable`, with the reply in `raw`. Without candidates nothing is asked."""
    engine = context.engines[settings.model]
    batches = [rows.candidates] if settings.together else [[c] for c in rows.candidates]
    calls = (_rated(batch, rows, settings, context, engine) for batch in batches if batch)
    return [row for found in await gather(calls) for row in found]


async def _rated(
    candidates: list[Candidate], rows: SampleRows, settings: Settings, context: Context, engine: Engine
) -> list[Judgement]:
    keys, count = tuple(settings.axes) or (WHOLE,), len(candidates)

    async def ask(shown: list[Candidate]) -> JudgeReply:
        return await ask_with_retry(
            engine, _messages(shown, rows, settings), settings,
            lambda text: _parse.ratings(text, keys, count, settings.low, settings.high),
            _form(keys, count, settings.low, settings.high, settings.rationale),
        )  # fmt: skip

    shown = list(candidates)
    if settings.order == "random":
        random.Random(digest("order", settings.seed, rows.sample.id)).shuffle(shown)
    try:
        reply = await ask(shown)
    except NotAsked:  # rejudge: up to version 3 they were shown in their given order
        shown = candidates
        reply = await ask(shown)
    ratings: Any = reply.reply.value
    return [
        judgement(
            rows.sample.id, context.step, "candidate", (c.id,), key if settings.axes else settings.axis,
            reply.finding(ratings and ratings[key][place]), reply.by(engine, context, place),
        )
        for c in candidates
        for place in (shown.index(c),)
        for key in keys
    ]  # fmt: skip


def _messages(candidates: list[Candidate], rows: SampleRows, settings: Settings):
    text, *rubrics = prompt_texts(settings)
    if not isinstance(settings.axes, dict):
        rubrics = [prompts.for_kind(rubric, rows.sample.kind) for rubric in rubrics]
    keys = tuple(settings.axes) or (WHOLE,)
    form = ", ".join([f'"rationale": {RATIONALE}'] * settings.rationale + [f'"{key}": {RATINGS}' for key in keys])
    return judge_messages(
        text, rows, settings, numbered_answers(candidates), count=str(len(candidates)), low=str(settings.low), high=str(settings.high), form=f"{{{form}}}",
        rubrics="\n\n".join(f"{axis}: {rubric}" for axis, rubric in zip(settings.axes, rubrics, strict=True)),
    )  # fmt: skip


@lru_cache(256)
def _form(keys: tuple[str, ...], count: int, low: int, high: int, rationale: bool) -> Form:
    """The JSON Schema of a reply."""
    numbers = {
        "type": "array",
        "items": {"type": "integer", "minimum": low, "maximum": high},
        "minItems": count,
        "maxItems": count,
    }
    known: dict[str, Any] = ({"rationale": {"type": "string"}} if rationale else {}) | dict.fromkeys(keys, numbers)
    return Form(
        schema=json.dumps(
            {"type": "object", "properties": known, "required": list(known), "additionalProperties": False}
        )
    )
