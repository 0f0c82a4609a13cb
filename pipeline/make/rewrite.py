"""Answers rewritten by a model: corrected, corrupted, masked, refilled or rephrased. Each kind is a prompt file.

fix         wrong statements corrected, everything else unchanged      HA-DPO, OPA: chosen
inject      objects, attributes or relations added that are not there  POVID, BPO: rejected
mask        objects, attributes and relations replaced by [MASK]       RE-ALIGN, first half
refill      the [MASK]s filled in by a model that sees `media`         RE-ALIGN, second half: rejected
restyle     the same content in the model's own words                  HA-DPO, both sides
ambiguous   a wrong answer that sounds equally plausible               PHANTOM: rejected"""

import asyncio
import re
from typing import Literal

from pipeline.make._ask import MediaSettings, candidates_of, generate_request, prompt_with_media, rejection_of, seed_of
from pipeline.make._ask import fit as fit  # part of this operator
from pipeline.make._ask import fits as fits
from schemas import prompts
from schemas.conversation import request_about
from schemas.finish import unfinished
from schemas.messages import question_of
from schemas.operator import Context, SampleRows
from schemas.ports import Engine
from schemas.records import SAMPLE_KINDS, Candidate, Media, Message, Reason, Rejection
from schemas.requests import Failure
from schemas.text import same_text
from schemas.thinking import without_thinking

READS = ("candidates",)
LEAVES = ("media", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
EDITION = 1  # samples without media are asked about in other words

_FENCED = re.compile(r"<<<\s*(.*?)\s*>>>", re.DOTALL)


class Settings(MediaSettings):
    model: str
    """name of the recipe's model that rewrites the answers"""
    kind: Literal["fix", "inject", "mask", "refill", "restyle", "ambiguous"]
    """how an answer is rewritten"""
    facts: bool = False
    """show the writer the known truth: the sample's facts, else its reference, else its answer"""
    prompt: str | None = None
    """file with {question}, {answer} and {facts} that asks for the new answer between <<< and >>>, instead of the bundled prompt"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, f"rewrite_{settings.kind}.txt"),)


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Candidate | Rejection]:
    """One new Candidate per existing one (its `parent`), which stays live.

    A reply that is not whole, or without exactly one answer between <<< and >>>, is requested once more with another seed, and is then a
    Rejection UNPARSABLE; an unchanged text is EQUAL_ANSWERS; a failed request is a Rejection with the failure's reason."""
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
    template = prompts.for_kind(template, sample.kind, settings.prompt)
    text = prompts.fill(template, question=question_of(sample.prompt), answer=c.text, facts=known)
    messages = request_about(prompt, text)
    found = await _reply(engine, messages, settings, seed_of(settings.seed, c.id))
    if isinstance(found, Failure):
        return [rejection_of(c, found.reason, found.detail, context)]
    reply, new, tokens, seed, cut = found
    if new is None:
        why = (
            f"the reply is not whole: {cut.detail}"
            if cut
            else "the reply does not contain exactly one answer between <<< and >>>"
        )
        return [rejection_of(c, Reason.UNPARSABLE, f"{why}: {reply[:1000]}", context)]
    if same_text(new, c.text):
        return [rejection_of(c, Reason.EQUAL_ANSWERS, "the rewritten answer equals the original", context)]
    row = {
        "role": settings.role, "model": engine.identity, "settings": context.version, "seed": seed, "parent": c.id,
        "prompt": messages, "tokens": tokens,
    }  # fmt: skip
    return candidates_of(new, "", row, sample, context)


async def _reply(engine: Engine, messages: tuple[Message, ...], settings: Settings, seed: int):
    """(reply, the new answer or None, tokens, seed, why it is not whole) of the first reply that is whole and can be parsed, else of the last
    one; or a Failure."""
    reply, tokens, cut = "", 0, None
    for attempt in (seed, seed ^ 1):
        result = await engine.ask(generate_request(messages, settings, attempt))
        if isinstance(result, Failure):
            return result
        (answer,) = result.answers
        reply, tokens, cut = answer.text, answer.tokens, unfinished(answer, settings.max_tokens)
        if cut is None and (new := parse(reply)) is not None:
            return reply, new, tokens, attempt, None
        if settings.temperature == 0:  # greedy decoding would give the same reply
            break
    return reply, None, tokens, seed, cut


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` accepts; see `schemas.operator`."""
    return f"<<<\n{text}\n>>>"


def parse(text: str) -> str | None:
    """The answer between <<< and >>>, without any thinking; None if there is none, several, or an empty one."""
    found = _FENCED.findall(without_thinking(text) or "")
    return found[0] if len(found) == 1 and found[0] else None
