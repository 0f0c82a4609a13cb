"""A model puts all answers to a prompt in order in one call, as people rank them."""

import json
import random
from functools import lru_cache
from typing import Any, Literal

from annotators.judge import _parse
from annotators.judge._ask import JudgeSettings, ask_with_retry, judge_messages, numbered_answers, template
from schemas.axes import RANK
from schemas.operator import Context, SampleRows
from schemas.records import SAMPLE_KINDS, Judgement, digest, judgement
from schemas.requests import Form

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(JudgeSettings):
    order: Literal["random", "fixed"] = "random"
    """show the answers in an order drawn by the seed, for models favour places, or as they come"""
    prompt: str | None = None
    """file with {count}, {question}, {answers} and, if need be, {facts}, instead of the one beside this module"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (template(settings, __file__, "listwise.txt"),)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """A `rank` on each candidate, as of people: 0 the best, -1 the next; `order` is its place on the page. Equal texts are shown once and
    share a rank. A reply that orders not all of them leaves all `unparsable`; of fewer than two texts there is nothing to order."""
    texts = list(dict.fromkeys(c.text for c in rows.candidates))
    if len(texts) < 2:
        return []
    if settings.order == "random":
        random.Random(digest("order", settings.seed, rows.sample.id)).shuffle(texts)
    engine = context.engines[settings.model]
    (text,) = prompt_texts(settings)
    messages = judge_messages(text, rows, settings, numbered_answers(texts), count=str(len(texts)))
    said = await ask_with_retry(
        engine, messages, settings, lambda text: _parse.ranking(text, len(texts)), _form(len(texts))
    )
    best: Any = said.reply.value
    ranks = {texts[place]: 0.0 - rank for rank, place in enumerate(best or ())}
    return [
        judgement(
            rows.sample.id, context.step, "candidate", (c.id,), RANK, said.finding(ranks.get(c.text)),
            said.by(engine, context, texts.index(c.text)),
        )
        for c in rows.candidates
    ]  # fmt: skip


@lru_cache(64)
def _form(count: int) -> Form:
    """The JSON Schema of a reply; that no number comes twice is beyond it."""
    some = {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": count},
        "minItems": count,
        "maxItems": count,
    }
    return Form(
        schema=json.dumps(
            {"type": "object", "properties": {"ranking": some}, "required": ["ranking"], "additionalProperties": False}
        )
    )
