"""A model rates all answers to a prompt in one call."""

import json
import re
from typing import Any

from pydantic import Field, model_validator

from schemas import chat, prompts
from schemas.operator import Context, Rows
from schemas.operator import Settings as Base
from schemas.ports import Failure, Generate
from schemas.records import SAMPLE_KINDS, Judgement, Outcome, judgement

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    model: str
    """name of the recipe's model that rates"""
    low: int = 1
    """worst rating"""
    high: int = 5
    """best rating"""
    media: bool = True
    """show the judge the media; without them it can only weigh the words"""
    axis: str = "rating"
    """what the judgements are called, for the pair rule's `axis`"""
    prompt: str | None = None
    """file with {count}, {low}, {high}, {question} and {answers}, instead of the one beside this module"""
    max_tokens: int = Field(256, ge=1)
    """longest reply"""

    @model_validator(mode="after")
    def _ordered(self):
        if self.low >= self.high:
            raise ValueError("`low` must be less than `high`")
        return self


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, "pointwise.txt"),)


async def judge(rows: Rows, settings: Settings, context: Context) -> list[Judgement]:
    """One Judgement a candidate. A reply that cannot be read leaves them all `unparsable`, with its words."""
    if not rows.candidates:
        return []
    engine = context.engines[settings.model]
    result = await engine.ask(Generate(_messages(rows, settings), 1, 0.0, 1.0, settings.max_tokens, 0))
    made: dict[str, Any] = {"annotator": engine.identity, "version": context.version}
    if isinstance(result, Failure):
        outcome, ratings, made["raw"] = Outcome.FAILED, None, f"{result.reason}: {result.detail}"
    else:
        made["raw"] = result.answers[0].text
        ratings = parse(made["raw"], len(rows.candidates), settings.low, settings.high)
        outcome = Outcome.UNPARSABLE if ratings is None else Outcome.VERDICT
    return [
        judgement(
            rows.sample.id, context.step, "candidate", (c.id,), settings.axis, outcome,
            value=None if ratings is None else float(ratings[i]), **made,
        )
        for i, c in enumerate(rows.candidates)
    ]  # fmt: skip


def _messages(rows: Rows, settings: Settings):
    (template,) = prompt_texts(settings)
    question = chat.asked_of(rows.sample.prompt)
    answers = "\n".join(f"Answer {i}:\n<<<\n{prompts.guard(c.text)}\n>>>" for i, c in enumerate(rows.candidates, 1))
    words = {
        "count": str(len(rows.candidates)),
        "low": str(settings.low),
        "high": str(settings.high),
        "question": question,
    }
    head, _, tail = template.partition("{answers}")
    text = prompts.fill(head, **words) + answers + prompts.fill(tail, **words)
    return chat.ask_about(rows.sample.prompt, text) if settings.media else (chat.user(text),)


def parse(text: str, count: int, low: int, high: int) -> list[int] | None:
    """The ratings of the one JSON object in `text`, or None: none or several verdicts, a wrong number of them, not whole, out of range."""
    found = [m[0] for m in re.finditer(r"\{[^{}]*\}", text) if '"ratings"' in m[0]]
    if len(found) != 1:
        return None
    try:
        ratings = json.loads(found[0])["ratings"]
    except ValueError:
        return None
    if not isinstance(ratings, list) or len(ratings) != count:
        return None
    good = all(isinstance(r, int) and not isinstance(r, bool) and low <= r <= high for r in ratings)
    return ratings if good else None
