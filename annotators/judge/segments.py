"""A model marks what is wrong in an answer: the words, the class of the fault, how severe it is, and how it should read.

The classes of the literature: object, attribute, relation (HSA-DPO, arXiv 2404.14233; with severities 1 to 3); by whole sentences,
where a sentence that is not marked is correct, image_recognition and language_comprehension (OPA), or inaccurate (M-HalDetect,
arXiv 2308.06394)."""

import asyncio
import json
from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from annotators.judge import _parse
from annotators.judge._ask import JudgeSettings, ask_with_retry, judge_messages, template
from schemas.axes import FAULTS
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, judgement
from schemas.requests import Form

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
UNITS = {"span": "the shortest words that are wrong", "sentence": "the whole sentence"}


class Settings(JudgeSettings):
    classes: tuple[str, ...] = Field(("object", "attribute", "relation"), min_length=1)
    """the kinds of fault"""
    unit: Literal["span", "sentence"] = "span"
    """what is marked: the words that are wrong, or the sentence they stand in"""
    worst: int = Field(4, ge=1, le=1_000)
    """highest severity; 1 is the lowest"""
    prompt: str | None = None
    """file with {question}, {answer}, {classes}, {unit}, {worst} and, if need be, {facts}, instead of the one beside this module"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (template(settings, __file__, "segments.txt"),)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """`faults` of each candidate, as of people: minus the number of marked stretches, 0 where nothing is wrong, and in `raw` JSON with the
    `reply` and `spans` [start, end, class, severity, correction], from which pairs take their spans. Words that are not in the answer
    make the reply `unparsable`."""
    engine = context.engines[settings.model]
    return list(await asyncio.gather(*(_marked(c, rows, settings, context, engine) for c in rows.candidates)))


async def _marked(c: Candidate, rows: SampleRows, settings: Settings, context: Context, engine: Engine) -> Judgement:
    (text,) = prompt_texts(settings)
    messages = judge_messages(
        text, rows, settings, answer=c.text, classes=", ".join(settings.classes), unit=UNITS[settings.unit],
        worst=str(settings.worst),
    )  # fmt: skip
    said = await ask_with_retry(
        engine, messages, settings, lambda text: _parse.error_spans(text, c.text, settings.classes, settings.worst), _form(settings.classes, settings.worst)
    )  # fmt: skip
    spans: Any = said.reply.value
    raw: dict[str, Any] = {"reply": said.raw}
    if spans:
        raw["spans"] = [[s.start, s.end, s.label, s.severity, s.correction] for s in spans]
    value = None if spans is None else 0.0 - len(spans)
    said = said._replace(raw=json.dumps(raw, sort_keys=True))
    return judgement(
        rows.sample.id, context.step, "candidate", (c.id,), FAULTS, said.finding(value), said.by(engine, context)
    )


@lru_cache(64)
def _form(classes: tuple[str, ...], worst: int) -> Form:
    """The JSON Schema of a reply."""
    fault = {
        "text": {"type": "string"}, "class": {"enum": list(classes)}, "severity": {"type": "integer", "minimum": 1, "maximum": worst},
        "correction": {"type": "string"},
    }  # fmt: skip
    one = {"type": "object", "properties": fault, "required": list(fault), "additionalProperties": False}
    return Form(
        schema=json.dumps({
            "type": "object", "properties": {"faults": {"type": "array", "items": one}}, "required": ["faults"], "additionalProperties": False
        })
    )  # fmt: skip
