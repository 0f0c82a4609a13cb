"""A model rates answers, all to a prompt in one call (VLFeedback, arXiv 2312.10665) or one by one; as a whole, or on axes with rubrics."""

import json
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field, model_validator

from annotators.judge import _parse
from annotators.judge._ask import JudgeSettings, ask_with_retry, judge_messages, numbered_answers, template
from schemas import prompts
from schemas.axes import RATING
from schemas.operator import Context, SampleRows, gather
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, judgement
from schemas.requests import Form

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
Rubric = Literal["helpfulness", "visual_faithfulness", "ethical_considerations"]
WHOLE = "ratings"  # what the reply calls the rating of an answer as a whole
RATINGS = "[one whole number for each answer, in their order]"
RATIONALE = '"why, in a sentence or two for each answer"'


class Settings(JudgeSettings):
    low: int = Field(1, ge=-1_000, le=1_000)
    """worst rating"""
    high: int = Field(5, ge=-1_000, le=1_000)
    """best rating; LLaVA-Critic's scales end at 10 and 100"""
    axis: str = RATING
    """what the judgements are called, for the pair rule's `axis`; with `axes` they are called as those are"""
    axes: tuple[Rubric, ...] | dict[str, str] = ()
    """rate each of these instead: names with a rubric each, or only names, of VLFeedback's rubrics helpfulness, visual_faithfulness
    and ethical_considerations, which come along and are for 1 to 5"""
    together: bool = True
    """show all answers in one call; else each alone, so that none is rated against another"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """longest reply, in tokens"""
    rationale: bool = False
    """ask why, too; it is kept in `raw`"""
    prompt: str | None = None
    """file with {count}, {low}, {high}, {question}, {answers} and, if need be, {facts}, {rubrics} and {form}, instead of the one beside
    this module"""

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError("`low` must be less than `high`")
        return self


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    """The prompt, and the rubrics of its axes."""
    text = template(settings, __file__, "pointwise_axes.txt" if settings.axes else "pointwise.txt")
    if isinstance(settings.axes, dict):
        return text, *settings.axes.values()
    return text, *(prompts.read(None, __file__, f"rubric_{axis}.txt") for axis in settings.axes)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One Judgement a candidate and axis. A reply that cannot be read leaves them all `unparsable`, with its words; without an answer
    nothing is asked."""
    engine = context.engines[settings.model]
    some = [rows.candidates] if settings.together else [[c] for c in rows.candidates]
    calls = (_rated(of, rows, settings, context, engine) for of in some if of)
    return [row for found in await gather(calls) for row in found]


async def _rated(
    of: list[Candidate], rows: SampleRows, settings: Settings, context: Context, engine: Engine
) -> list[Judgement]:
    keys = tuple(settings.axes) or (WHOLE,)
    said = await ask_with_retry(
        engine, _messages(of, rows, settings), settings,
        lambda text: _parse.ratings(text, keys, len(of), settings.low, settings.high),
        _form(keys, len(of), settings.low, settings.high, settings.rationale),
    )  # fmt: skip
    found: Any = said.reply.value
    return [
        judgement(
            rows.sample.id, context.step, "candidate", (c.id,), key if settings.axes else settings.axis,
            said.finding(found and found[key][i]), said.by(engine, context),
        )
        for i, c in enumerate(of)
        for key in keys
    ]  # fmt: skip


def _messages(of: list[Candidate], rows: SampleRows, settings: Settings):
    text, *rubrics = prompt_texts(settings)
    keys = tuple(settings.axes) or (WHOLE,)
    form = ", ".join([f'"rationale": {RATIONALE}'] * settings.rationale + [f'"{key}": {RATINGS}' for key in keys])
    return judge_messages(
        text, rows, settings, numbered_answers(of), count=str(len(of)), low=str(settings.low), high=str(settings.high), form=f"{{{form}}}",
        rubrics="\n\n".join(f"{axis}: {rubric}" for axis, rubric in zip(settings.axes, rubrics, strict=True)),
    )  # fmt: skip


@lru_cache(256)
def _form(keys: tuple[str, ...], count: int, low: int, high: int, rationale: bool) -> Form:
    """The JSON Schema of a reply."""
    some = {
        "type": "array",
        "items": {"type": "integer", "minimum": low, "maximum": high},
        "minItems": count,
        "maxItems": count,
    }
    known: dict[str, Any] = ({"rationale": {"type": "string"}} if rationale else {}) | dict.fromkeys(keys, some)
    return Form(
        schema=json.dumps(
            {"type": "object", "properties": known, "required": list(known), "additionalProperties": False}
        )
    )
