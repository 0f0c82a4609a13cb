"""A model says which of two answers is better, in both orders, for models favour a place (arXiv 2305.17926).

Without reasons the verdict is read from the first token's probabilities, as far as the engine tells them; with `reason` from the text.
Every two answers in both orders are all K(K-1) ordered pairs of LLaVA-Critic (arXiv 2410.02712). A judge who contradicts itself
has not said tie: both Judgements stay, and `annotators.measures.ballots` counts them as no vote."""

import asyncio
import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal, NamedTuple

from pydantic import Field

from annotators.judge import _parse
from annotators.judge._ask import JudgeReply, JudgeSettings, ask_with_retry, judge_messages, template
from annotators.judge._parse import Reply
from schemas import prompts
from schemas.axes import PREFERENCE
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, Message, Outcome, digest, judgement
from schemas.requests import Failure, Score

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
WORDS = {"one": 1.0, "One": 1.0, "two": -1.0, "Two": -1.0, "tie": 0.0, "Tie": 0.0}
SCALE = {
    "1": "answer one is much better", "2": "better", "3": "slightly better", "4": "both are equally good",
    "5": "answer two is slightly better", "6": "better", "7": "much better",
}  # fmt: skip


class Settings(JudgeSettings):
    of: Literal["candidates", "pairs"] = "candidates"
    """compare every two answers, or those of the pairs that a step before made"""
    per_prompt: int | None = Field(None, ge=1, le=1_000_000)
    """compare at most so many pairs of each prompt, drawn by the seed; all by default"""
    order: Literal["both", "random", "fixed"] = "both"
    """show each pair in both orders, in one drawn by the seed, or as the answers come"""
    tie: bool = True
    """let the judge call two answers equally good"""
    strength: bool = False
    """ask by how much one is better, in seven steps (Llama 3.1), which leaves 3 to -3 instead of 1 to -1"""
    reason: bool = False
    """let the judge say why first; its verdict is then read from the text"""
    prompt: str | None = None
    """file with {question}, {first}, {second} and, if need be, {facts} and {verdict}, instead of the one beside this module"""


class Shown(NamedTuple):
    """Two answers in their own order, and the place (0, 1) of the one that is shown first."""

    answers: tuple[Candidate, Candidate]
    order: int


def reads(settings: Settings) -> tuple[str, ...]:
    return ("pairs",) if settings.of == "pairs" else ()


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    kind = ("strength" if settings.strength else "word") + ("_reason" if settings.reason else "")
    return template(settings, __file__, "pairwise.txt"), prompts.read(None, __file__, f"verdict_{kind}.txt")


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """A `preference` on each pair and order: items are the two answers in their order, `order` the place of the one shown first,
    `value` above 0 where the first item is better (0 and outcome tie for a tie), `prob` that it is, ties shared, where the engine
    tells. Two equal texts are not compared; without two answers there is nothing to say."""
    engine = context.engines[settings.model]
    shown = list(_shown(rows, settings))
    said = await asyncio.gather(*(_said(engine, _messages(one, rows, settings), settings) for one in shown))
    return [_slip(one, what, rows, context, engine) for one, what in zip(shown, said, strict=True)]


def _shown(rows: SampleRows, settings: Settings) -> Iterator[Shown]:
    for pair in _drawn(rows, settings):
        match settings.order:
            case "both":
                orders = (0, 1)
            case "random":
                orders = (int(digest("order", settings.seed, [c.id for c in pair])[0], 16) % 2,)
            case _:
                orders = (0,)
        yield from (Shown(pair, order) for order in orders)


def _drawn(rows: SampleRows, settings: Settings) -> list[tuple[Candidate, Candidate]]:
    """The pairs to compare, each answer behind those that come before it."""
    wanted = {frozenset((p.chosen_id, p.rejected_id)) for p in rows.pairs} if settings.of == "pairs" else None
    pairs = [
        (a, b)
        for a, b in combinations(rows.candidates, 2)
        if a.text != b.text and (wanted is None or {a.id, b.id} in wanted)
    ]
    if settings.per_prompt is None or len(pairs) <= settings.per_prompt:
        return pairs
    places = random.Random(digest("pairs", settings.seed, rows.sample.id)).sample(
        range(len(pairs)), settings.per_prompt
    )
    return [pairs[place] for place in sorted(places)]


def _messages(one: Shown, rows: SampleRows, settings: Settings) -> tuple[Message, ...]:
    text, verdict = prompt_texts(settings)
    first, second = one.answers if one.order == 0 else one.answers[::-1]
    return judge_messages(
        text, rows, settings, first=first.text, second=second.text, verdict=verdict.replace("{words}", _words(settings))
    )


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `_parse.preference` or `_parse.strength` reads; see `schemas.operator`."""
    verdicts = _verdicts(settings)
    verdict = verdicts[int(draw * len(verdicts))]
    return f"{text} [[{verdict}]]" if settings.reason else verdict


def _verdicts(settings: Settings) -> list[str]:
    """The verdicts that may be given."""
    if settings.strength:
        return [step for step in SCALE if settings.tie or step != "4"]
    return ["one", "two", "tie"][: 3 if settings.tie else 2]


def _words(settings: Settings) -> str:
    """The verdicts that may be given, in words."""
    words = _verdicts(settings)
    if settings.strength:
        return ", ".join(f"{step} ({SCALE[step]})" for step in words)
    return (
        ", ".join(f"[[{word}]]" for word in words)
        if settings.reason
        else " or ".join((", ".join(words[:-1]), words[-1]))
    )


async def _said(engine: Engine, messages: tuple[Message, ...], settings: Settings) -> JudgeReply:
    """What the judge says of the first answer shown, against the second."""
    if settings.reason or "Score" not in engine.can:
        read = _parse.strength if settings.strength else _parse.preference
        return await ask_with_retry(engine, messages, settings, lambda text: read(text, settings.tie))
    values = {c: v for c, v in (_parse.STRENGTHS if settings.strength else WORDS).items() if v or settings.tie}
    result = await engine.ask(Score(messages, tuple(values)))
    if isinstance(result, Failure):
        return JudgeReply(Reply(Outcome.FAILED), f"{result.reason}: {result.detail}")
    reply, prob = _parse.weighed(result.logprobs, tuple(values.values()))
    raw = " ".join(f"{c}={'-' if p is None else f'{p:.4f}'}" for c, p in zip(values, result.logprobs, strict=True))
    return JudgeReply(reply, raw, prob=prob)


def _slip(one: Shown, said: JudgeReply, rows: SampleRows, context: Context, engine: Engine) -> Judgement:
    value: Any = said.reply.value
    if one.order:  # it spoke of the second item
        value = None if value is None else 0.0 - value
        said = said._replace(prob=None if said.prob is None else round(1 - said.prob, 4))
    items = (one.answers[0].id, one.answers[1].id)
    by = said.by(engine, context, one.order)
    return judgement(rows.sample.id, context.step, "pair", items, PREFERENCE, said.finding(value), by)
