"""Answers that a model rewrites: mended, spoiled, masked, refilled, or said in another style. Each kind is a prompt file.

fix         wrong statements corrected, all else left as it is         HA-DPO, OPA: chosen
inject      things, attributes or relations that are not there         POVID, BPO: rejected
mask        objects, attributes and relations replaced by [MASK]       RE-ALIGN, first half
refill      the [MASK]s filled in by a model that looks (at `media`)   RE-ALIGN, second half: rejected
restyle     the same said in the model's own words                     HA-DPO, both sides
ambiguous   a wrong answer that sounds as likely                       PHANTOM: rejected"""

import asyncio
import re
from typing import Literal

from pipeline.make._ask import MediaSettings, asked, candidates_of, fit, fits, prompt_with_media, rejection_of, seed_of  # noqa: F401  fit and fits are the operator's own
from schemas import prompts
from schemas.messages import ask_about, asked_of
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Media, Message, Reason, Rejection
from schemas.requests import Failure

READS = ("candidates",)
LEAVES = ("media", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1

_FENCED = re.compile(r"<<<\s*(.*?)\s*>>>", re.DOTALL)


class Settings(MediaSettings):
    model: str
    """name of the recipe's model that rewrites"""
    kind: Literal["fix", "inject", "mask", "refill", "restyle", "ambiguous"]
    """what is done to an answer"""
    facts: bool = False
    """show the writer what is known: the sample's facts, else its reference, else its answer"""
    prompt: str | None = None
    """file with {question}, {answer} and {facts} that asks for the new answer between <<< and >>>, instead of the kind's own"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, f"rewrite_{settings.kind}.txt"),)


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Candidate | Rejection]:
    """A Candidate for each there is, its `parent`. A reply without one answer between <<< and >>> is asked for once more and
    then a Rejection UNPARSABLE; a text that did not change is EQUAL_ANSWERS. The old answer stays."""
    prompt, media = await prompt_with_media(rows.sample.prompt, settings, rows.sample, context)
    out: list[Media | Candidate | Rejection] = list(media)
    for found in await asyncio.gather(*(_rewritten(c, prompt, rows, settings, context) for c in rows.candidates)):
        out += found
    return out


async def _rewritten(
    c: Candidate, prompt, rows: SampleRows, settings: Settings, context: Context
) -> list[Candidate | Rejection]:
    sample, engine = rows.sample, context.engines[settings.model]
    (template,) = prompt_texts(settings)
    known = (sample.facts or sample.reference or sample.answer or "nothing") if settings.facts else "not told"
    text = prompts.fill(template, question=asked_of(sample.prompt), answer=c.text, facts=known)
    asking = ask_about(prompt, text)
    reply = await _reply(engine, asking, settings, seed_of(settings.seed, c.id))
    if isinstance(reply, Failure):
        return [rejection_of(c, reply.reason, reply.detail, context)]
    said, new, tokens, seed = reply
    if new is None:
        return [rejection_of(c, Reason.UNPARSABLE, f"no one answer between <<< and >>> in: {said[:1000]}", context)]
    if new == c.text.strip():
        return [rejection_of(c, Reason.EQUAL_ANSWERS, "the rewritten answer is the old one", context)]
    row = {
        "role": settings.role, "model": engine.identity, "settings": context.version, "seed": seed, "parent": c.id,
        "prompt": asking, "tokens": tokens,
    }  # fmt: skip
    return candidates_of(new, "", row, sample, context)


async def _reply(engine: Engine, messages: tuple[Message, ...], settings: Settings, seed: int):
    """(what was said, the new answer or None, tokens, seed) of the first reply that can be read, else of the second; or a Failure."""
    said, tokens = "", 0
    for attempt in (seed, seed ^ 1):
        result = await engine.ask(asked(messages, settings, attempt))
        if isinstance(result, Failure):
            return result
        said, tokens = result.answers[0].text, result.answers[0].tokens
        if (new := parse(said)) is not None:
            return said, new, tokens, attempt
        if settings.temperature == 0:  # would say the same again
            break
    return said, None, tokens, seed


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` reads; see `schemas.operator`."""
    return f"<<<\n{text}\n>>>"


def parse(text: str) -> str | None:
    """The one answer between <<< and >>>; None where there is none, an empty one, or there are several."""
    found = _FENCED.findall(text)
    return found[0] if len(found) == 1 and found[0] else None
