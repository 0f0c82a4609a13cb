"""A model ranks all answers to a prompt in one call, like the ranking task for people."""

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
VERSION = 2
EDITION = 1  # samples without media are asked about in other words


class Settings(JudgeSettings):
    order: Literal["random", "fixed"] = "random"
    """show the answers in random order (drawn by the seed, against position bias) or in their given order"""
    prompt: str | None = None
    """prompt file that replaces the built-in one; with {count}, {question}, {answers} and optionally {facts}"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (template(settings, __file__, "listwise.txt"),)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Per candidate a `rank`: 0 the best, -1 the next; `order` is the position at which it was shown, from 0.

    Equal texts are shown once and share a rank. If the reply is not a permutation of all answers, every candidate is `unparsable`.
    With fewer than two different texts, nothing is asked and no row is left."""
    texts = list(dict.fromkeys(c.text for c in rows.candidates))
    if len(texts) < 2:
        return []
    if settings.order == "random":
        random.Random(digest("order", settings.seed, rows.sample.id)).shuffle(texts)
    engine = context.engines[settings.model]
    (text,) = prompt_texts(settings)
    messages = judge_messages(text, rows, settings, numbered_answers(texts), count=str(len(texts)))
    reply = await ask_with_retry(
        engine, messages, settings, lambda text: _parse.ranking(text, len(texts)), _form(len(texts))
    )
    ranking: Any = reply.reply.value
    ranks = {texts[place]: 0.0 - rank for rank, place in enumerate(ranking or ())}
    return [
        judgement(
            rows.sample.id, context.step, "candidate", (c.id,), RANK, reply.finding(ranks.get(c.text)),
            reply.by(engine, context, texts.index(c.text)),
        )
        for c in rows.candidates
    ]  # fmt: skip


@lru_cache(64)
def _form(count: int) -> Form:
    """The JSON Schema of a reply; it cannot express that each number occurs once."""
    numbers = {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": count},
        "minItems": count,
        "maxItems": count,
    }
    return Form(
        schema=json.dumps(
            {
                "type": "object",
                "properties": {"ranking": numbers},
                "required": ["ranking"],
                "additionalProperties": False,
            }
        )
    )
