"""A model marks the errors in an answer: the span, its error class, its severity and a correction.

Published classes: object, attribute, relation (HSA-DPO, arXiv 2404.14233; severities 1 to 3). With `unit: sentence`, unmarked sentences
are correct: image_recognition and language_comprehension (OPA), or inaccurate (M-HalDetect, arXiv 2308.06394)."""

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
VERSION = 2
EDITION = 1  # samples without media are asked about in other words
UNITS = {"span": "the shortest words that are wrong", "sentence": "the whole sentence"}


class Settings(JudgeSettings):
    classes: tuple[str, ...] = Field(("object", "attribute", "relation"), min_length=1)
    """the error classes"""
    unit: Literal["span", "sentence"] = "span"
    """what is marked: the wrong words, or the whole sentence"""
    worst: int = Field(4, ge=1, le=1_000)
    """highest severity; the lowest is 1"""
    prompt: str | None = None
    """prompt file that replaces the built-in one; with {question}, {answer}, {classes}, {unit}, {worst} and optionally {facts}"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (template(settings, __file__, "segments.txt"),)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Per candidate `faults`: minus the number of marked spans, 0 without errors.

    `raw` is JSON with the `reply` and `spans` [start, end, class, severity, correction] (characters, end exclusive), which pairs copy.
    A reply that marks text which is not in the answer is `unparsable`."""
    engine = context.engines[settings.model]
    return list(await asyncio.gather(*(_marked(c, rows, settings, context, engine) for c in rows.candidates)))


async def _marked(c: Candidate, rows: SampleRows, settings: Settings, context: Context, engine: Engine) -> Judgement:
    (text,) = prompt_texts(settings)
    messages = judge_messages(
        text, rows, settings, answer=c.text, classes=", ".join(settings.classes), unit=UNITS[settings.unit],
        worst=str(settings.worst),
    )  # fmt: skip
    reply = await ask_with_retry(
        engine, messages, settings, lambda text: _parse.error_spans(text, c.text, settings.classes, settings.worst), _form(settings.classes, settings.worst)
    )  # fmt: skip
    spans: Any = reply.reply.value
    raw: dict[str, Any] = {"reply": reply.raw}
    if spans:
        raw["spans"] = [[s.start, s.end, s.label, s.severity, s.correction] for s in spans]
    value = None if spans is None else 0.0 - len(spans)
    reply = reply._replace(raw=json.dumps(raw, sort_keys=True))
    return judgement(
        rows.sample.id, context.step, "candidate", (c.id,), FAULTS, reply.finding(value), reply.by(engine, context)
    )


@lru_cache(64)
def _form(classes: tuple[str, ...], worst: int) -> Form:
    """The JSON Schema of a reply."""
    fault = {
        "text": {"type": "string"}, "class": {"enum": list(classes)}, "severity": {"type": "integer", "minimum": 1, "maximum": worst},
        "correction": {"type": "string"},
    }  # fmt: skip
    item = {"type": "object", "properties": fault, "required": list(fault), "additionalProperties": False}
    return Form(
        schema=json.dumps({
            "type": "object", "properties": {"faults": {"type": "array", "items": item}}, "required": ["faults"], "additionalProperties": False
        })
    )  # fmt: skip
