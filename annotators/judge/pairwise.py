"""A model decides which of two answers is better, in both orders because models have a position bias (arXiv 2305.17926).

The verdict comes from the first token's probabilities if the engine returns them; from the text with `reason`, without them, or where the
allowed words have less than `min_mass` of the probability: the judge then wants to say something else.
All pairs in both orders are the K(K-1) ordered pairs of LLaVA-Critic (arXiv 2410.02712). A judge that contradicts itself has not
declared a tie: both Judgements are kept, and `annotators.measures.ballots` counts them as no vote."""

import asyncio
import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Literal, NamedTuple

from pydantic import Field

from annotators.judge import _first_token, _parse
from annotators.judge._ask import JudgeReply, JudgeSettings, ask_with_retry, judge_messages, template
from annotators.judge._first_token import FirstTokenSettings, mass_of, raw_of
from annotators.judge._parse import ParsedReply
from schemas import prompts
from schemas.axes import PREFERENCE
from schemas.errors import NotAsked
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, Message, Outcome, digest, judgement
from schemas.requests import Failure, Score
from schemas.text import same_text

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
EDITION = 2  # 1: samples without media are asked about in other words; 2: verdicts have their mass, with too little of it words are asked for
digested = _first_token.digested
WORDS = {"one": 1.0, "One": 1.0, "two": -1.0, "Two": -1.0, "tie": 0.0, "Tie": 0.0}
SCALE = {
    "1": "answer one is much better", "2": "better", "3": "slightly better", "4": "both are equally good",
    "5": "answer two is slightly better", "6": "better", "7": "much better",
}  # fmt: skip


class Settings(JudgeSettings, FirstTokenSettings):
    of: Literal["candidates", "pairs"] = "candidates"
    """compare all pairs of a prompt's answers, or only the pairs that an earlier step made"""
    per_prompt: int | None = Field(None, ge=1, le=1_000_000)
    """maximum number of pairs per prompt, drawn by the seed; all by default"""
    order: Literal["both", "random", "fixed"] = "both"
    """show each pair in both orders, in one order drawn by the seed, or in the given order"""
    tie: bool = True
    """allow the verdict that both answers are equally good"""
    strength: bool = False
    """ask by how much one is better, in seven steps (Llama 3.1); values are then 3 to -3 instead of 1 to -1"""
    reason: bool = False
    """let the judge give its reasons first; the verdict is then parsed from the text"""
    prompt: str | None = None
    """prompt file that replaces the built-in one; with {question}, {first}, {second} and optionally {facts} and {verdict}"""


class OrderedPair(NamedTuple):
    """Two answers in their canonical order, and the index (0 or 1) of the one that is shown first."""

    answers: tuple[Candidate, Candidate]
    order: int


def reads(settings: Settings) -> tuple[str, ...]:
    return ("pairs",) if settings.of == "pairs" else ()


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    kind = ("strength" if settings.strength else "word") + ("_reason" if settings.reason else "")
    return template(settings, __file__, "pairwise.txt"), prompts.read(None, __file__, f"verdict_{kind}.txt")


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """A `preference` Judgement per pair and order.

    Items are the two answers in canonical order and `order` is the index of the one shown first. `value` is above 0 if the first item
    is better, 0 (outcome tie) for a tie; `prob` (0..1) is the probability that it is better, with half of a tie's, if the engine
    returns probabilities. Equal texts are not compared; with fewer than two different answers no row is left."""
    engine = context.engines[settings.model]
    pairs = list(_ordered_pairs(rows, settings))
    replies = await asyncio.gather(*(_reply(engine, _messages(shown, rows, settings), settings) for shown in pairs))
    return [_judgement(shown, reply, rows, context, engine) for shown, reply in zip(pairs, replies, strict=True)]


def _ordered_pairs(rows: SampleRows, settings: Settings) -> Iterator[OrderedPair]:
    for pair in _drawn(rows, settings):
        match settings.order:
            case "both":
                orders = (0, 1)
            case "random":
                orders = (int(digest("order", settings.seed, [c.id for c in pair])[0], 16) % 2,)
            case _:
                orders = (0,)
        yield from (OrderedPair(pair, order) for order in orders)


def _drawn(rows: SampleRows, settings: Settings) -> list[tuple[Candidate, Candidate]]:
    """The pairs to compare, in the order of the candidates."""
    wanted = {frozenset((p.chosen_id, p.rejected_id)) for p in rows.pairs} if settings.of == "pairs" else None
    pairs = [
        (a, b)
        for a, b in combinations(rows.candidates, 2)
        if not same_text(a.text, b.text) and (wanted is None or {a.id, b.id} in wanted)
    ]
    if settings.per_prompt is None or len(pairs) <= settings.per_prompt:
        return pairs
    places = random.Random(digest("pairs", settings.seed, rows.sample.id)).sample(
        range(len(pairs)), settings.per_prompt
    )
    return [pairs[place] for place in sorted(places)]


def _messages(shown: OrderedPair, rows: SampleRows, settings: Settings) -> tuple[Message, ...]:
    text, verdict = prompt_texts(settings)
    first, second = shown.answers if shown.order == 0 else shown.answers[::-1]
    return judge_messages(
        text, rows, settings, first=first.text, second=second.text, verdict=verdict.replace("{words}", _words(settings))
    )


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A simulated reply that `_parse.preference` or `_parse.strength` accepts, for dry runs; see `schemas.operator`."""
    verdicts = _verdicts(settings)
    verdict = verdicts[int(draw * len(verdicts))]
    return f"{text} [[{verdict}]]" if settings.reason else verdict


def _verdicts(settings: Settings) -> list[str]:
    """The allowed verdicts, as the judge must write them."""
    if settings.strength:
        return [step for step in SCALE if settings.tie or step != "4"]
    return ["one", "two", "tie"][: 3 if settings.tie else 2]


def _words(settings: Settings) -> str:
    """The allowed verdicts as the prompt lists them."""
    words = _verdicts(settings)
    if settings.strength:
        return ", ".join(f"{step} ({SCALE[step]})" for step in words)
    return (
        ", ".join(f"[[{word}]]" for word in words)
        if settings.reason
        else " or ".join((", ".join(words[:-1]), words[-1]))
    )


async def _reply(engine: Engine, messages: tuple[Message, ...], settings: Settings) -> JudgeReply:
    """The judge's reply on the answer shown first against the one shown second."""
    if settings.reason or "Score" not in engine.can:
        return await _in_words(engine, messages, settings)
    values = {c: v for c, v in (_parse.STRENGTHS if settings.strength else WORDS).items() if v or settings.tie}
    result = await engine.ask(Score(messages, tuple(values)))
    if isinstance(result, Failure):
        return JudgeReply(ParsedReply(Outcome.FAILED), f"{result.reason}: {result.detail}")
    reply, prob = _parse.verdict_from_logprobs(result.logprobs, tuple(values.values()))
    raw, mass = raw_of(tuple(values), result.logprobs), mass_of(result.logprobs)
    if mass >= settings.min_mass:
        return JudgeReply(reply, raw, prob=prob, mass=mass)
    try:
        return (await _in_words(engine, messages, settings))._replace(mass=mass)
    except NotAsked:  # rejudge: an earlier version took the verdict from the first token
        return JudgeReply(ParsedReply(Outcome.UNPARSABLE), raw, mass=mass)


async def _in_words(engine: Engine, messages: tuple[Message, ...], settings: Settings) -> JudgeReply:
    read = _parse.strength if settings.strength else _parse.preference
    return await ask_with_retry(engine, messages, settings, lambda text: read(text, settings.tie))


def _judgement(shown: OrderedPair, reply: JudgeReply, rows: SampleRows, context: Context, engine: Engine) -> Judgement:
    value: Any = reply.reply.value
    if shown.order:  # the reply is about the second item: flip it
        value = None if value is None else 0.0 - value
        reply = reply._replace(prob=None if reply.prob is None else round(1 - reply.prob, 4))
    items = (shown.answers[0].id, shown.answers[1].id)
    by = reply.by(engine, context, shown.order)
    return judgement(rows.sample.id, context.step, "pair", items, PREFERENCE, reply.finding(value), by)
