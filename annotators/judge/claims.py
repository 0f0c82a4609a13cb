"""Claim by claim (RLAIF-V): an answer is split into claims, and a model verifies each against the media.

The verdict comes from the first token: p(yes) = p("yes") + p("Yes"), p(no) likewise; a claim holds if p(yes) > p(no). Where all of
them have less than `min_mass`, the model wants to say something else: there is no verdict."""

import asyncio
import inspect
import math
from functools import partial
from typing import Any

from annotators.judge import _first_token
from annotators.judge._first_token import FirstTokenSettings, mass_of, raw_of
from schemas import messages, prompts
from schemas.axes import CLAIM, FORM
from schemas.conversation import before_question, request_about
from schemas.errors import NoVerdict, RecipeError
from schemas.operator import Context, SampleRows
from schemas.records import (
    SAMPLE_KINDS,
    Candidate,
    Claim,
    Finding,
    Judgement,
    Outcome,
    Provenance,
    Sample,
    claim,
    judgement,
)
from schemas.requests import Failure, Score, Scored

READS = ("candidates",)
LEAVES = ("claims", "judgements")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
EDITION = 2  # 1: claims about texts are verified with the whole prompt; 2: verdicts have their mass; with too little of it there is none
digested = _first_token.digested
BUILDS = {"splitter": "split"}
CHOICES = ("yes", "Yes", "no", "No")


class Settings(FirstTokenSettings):
    model: str
    """the recipe's model that verifies the claims, by name"""
    splitter: str | dict[str, Any] = "split.patterns"
    """the operator that splits an answer into claims"""
    prompt: str | None = None
    """prompt file that replaces the built-in one; with {question}"""


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, "claims.txt"),)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Claim | Judgement]:
    """Per candidate: a `form` Judgement (1 if it could be split, else 0), its Claims, and a `claim` Judgement on each.

    RecipeError if there is a conversation and the splitter takes none. If the splitter gives no verdict, only the `form` Judgement is left, with that outcome. Equal questions of a sample are asked once."""
    sample = rows.sample
    engine = context.engines[settings.model]
    (template,) = prompt_texts(settings)
    question = messages.question_of(sample.prompt)
    texts = list(dict.fromkeys(c.text for c in rows.candidates))
    splitter = _told(context.built["splitter"], sample, settings, context)
    found = await asyncio.gather(*[_split(splitter, question, text) for text in texts])
    splits: dict[str, Any] = dict(zip(texts, found, strict=True))
    questions = list(dict.fromkeys(q for s in splits.values() if isinstance(s, list) for q, _ in s))
    requests = [
        engine.ask(
            Score(
                request_about(sample.prompt, prompts.fill(template, question=q), quote=sample.kind == "text"), CHOICES
            )
        )
        for q in questions
    ]
    results = await asyncio.gather(*requests)
    answers = {q: verdict(result, settings.min_mass) for q, result in zip(questions, results, strict=True)}
    out: list[Claim | Judgement] = []
    for c in rows.candidates:
        out += _rows(c, splits[c.text], answers, engine.identity, context)
    return out


def _rows(c: Candidate, split, answers, identity: str, context: Context) -> list[Claim | Judgement]:
    by = Provenance(identity, context.version)
    if isinstance(split, NoVerdict):
        return [
            judgement(c.sample, context.step, "candidate", (c.id,), FORM, Finding(split.outcome, raw=split.raw), by)
        ]
    formed = float(split is not None)
    out: list[Claim | Judgement] = [
        judgement(c.sample, context.step, "candidate", (c.id,), FORM, Finding(Outcome.VERDICT, formed), by)
    ]
    for index, (question, wanted) in enumerate(split or ()):
        row = claim(c, context.step, index, question, wanted)
        found = answers[question]
        if found.prob is not None:
            prob = found.prob if wanted else round(1 - found.prob, 4)
            found = found._replace(value=float(prob > 0.5), prob=prob)
        out += [row, judgement(c.sample, context.step, "claim", (row.id,), CLAIM, found, by)]
    return out


def _told(splitter, sample: Sample, settings: Settings, context: Context):
    """The splitter, with the conversation `before` the question and the sample's `kind` if it accepts that. RecipeError if it does not accept
    a conversation."""
    before, accepted = before_question(sample.prompt), inspect.signature(splitter).parameters
    if "kind" in accepted:
        splitter = partial(splitter, kind=sample.kind)
    if not before:
        return splitter
    if "before" not in accepted:
        raise RecipeError(
            f"{context.step}: {settings.splitter} splits answers to single questions only; add the parameter `before` to its `split`"
        )
    return partial(splitter, before=before)


async def _split(splitter, question: str, answer: str):
    try:
        found = splitter(question, answer)
        return await found if inspect.isawaitable(found) else found
    except NoVerdict as error:
        return error


def verdict(result: Scored | Failure, min_mass: float) -> Finding:
    """The Finding of a first-token Score, without `value`; `prob` is that of yes, 0..1 among yes and no, rounded to 4 digits.

    If yes and no have no probability, or less than `min_mass`, the outcome is unparsable and `prob` None."""
    if isinstance(result, Failure):
        return Finding(Outcome.FAILED, raw=f"{result.reason}: {result.detail}")
    yes, no = (sum(math.exp(p) for p in pair if p is not None) for pair in (result.logprobs[:2], result.logprobs[2:]))
    raw, mass = raw_of(CHOICES, result.logprobs), mass_of(result.logprobs)
    if yes + no == 0 or mass < min_mass:
        return Finding(Outcome.UNPARSABLE, raw=raw, mass=mass)
    return Finding(Outcome.VERDICT, prob=round(yes / (yes + no), 4), raw=raw, mass=mass)
