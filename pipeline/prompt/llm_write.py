"""A model writes a new question about the sample's media, optionally with answers.

Or it writes a sentence that contradicts the media, which is placed before the question (HDPO's conflict between text and image)."""

import json
import re

from pydantic import Field, model_validator

from schemas import prompts
from schemas.conversation import request_about
from schemas.finish import unfinished
from schemas.messages import question_of, sample_label, with_question
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Reason, Rejection, Sample, candidate, digest, successor
from schemas.requests import Failure, Generate
from schemas.text import same_text
from schemas.thinking import without_thinking

READS = ("samples",)
LEAVES = ("samples", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3
EDITION = 1  # samples without media are asked about in other words

_LABEL = re.compile(
    r"^\W*(question|right|wrong|context|q)(?:\s+answer)?\W*:\W*(.+?)[\s*_]*$", re.IGNORECASE | re.MULTILINE
)


class Settings(Base):
    model: str
    """name of the recipe's model that writes the question"""
    answers: bool = False
    """also write a correct answer (the reference, and a candidate `chosen`) and a wrong one (a candidate `rejected`)"""
    conflict: bool = False
    """write a sentence that contradicts the media and place it before the sample's own question, whose answer is kept"""
    temperature: float = Field(1.0, ge=0)
    """0 is greedy"""
    top_p: float = Field(1.0, gt=0, le=1)
    """share of the probability mass sampled from (nucleus sampling)"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """maximum tokens of the reply"""
    seed: int = 0
    """seed of the questions drawn"""
    prompt: str | None = None
    """prompt file with {prompt} (the previous prompt) that asks for the JSON, replacing the one next to this module"""

    @model_validator(mode="after")
    def _not_both(self):
        if self.answers and self.conflict:
            raise ValueError("`conflict` keeps the question and its answer; remove `answers`")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names of the texts in the model's reply."""
        if self.conflict:
            return ("context",)
        return ("question", "right", "wrong") if self.answers else ("question",)


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    name = (
        "llm_write_conflict.txt"
        if settings.conflict
        else "llm_write_answers.txt"
        if settings.answers
        else "llm_write.txt"
    )
    return (prompts.read(settings.prompt, __file__, name),)


async def write(rows: SampleRows, settings: Settings, context: Context) -> list[Sample | Candidate | Rejection]:
    """The sample with the model's question in place of its own; its old answer is discarded. With `conflict`, the sample with the model's
    sentence before its question; everything known about it is kept.

    Rejected are samples whose reply is not whole or cannot be parsed (UNPARSABLE, with the reply) or has equal answers (EQUAL_ANSWERS)."""
    sample, engine = rows.sample, context.engines[settings.model]
    seed = int(digest(settings.seed, sample.id)[:8], 16) & 0x7FFFFFFF
    template = prompts.for_kind(*prompt_texts(settings), sample.kind, settings.prompt)
    messages = request_about(sample.prompt, prompts.fill(template, prompt=question_of(sample.prompt)))
    result = await engine.ask(Generate(messages, 1, settings.temperature, settings.top_p, settings.max_tokens, seed))
    if isinstance(result, Failure):
        return [_rejected(sample, context, result.reason, result.detail)]
    (written,) = result.answers
    if cut := unfinished(written, settings.max_tokens):
        cause = f"the reply is not whole: {cut.detail}: {written.text}"
        return [_rejected(sample, context, Reason.UNPARSABLE, cause)]
    reply = written.text
    found = parse(reply, settings.wanted)
    if found is None:
        return [
            _rejected(
                sample, context, Reason.UNPARSABLE, f"cannot parse the {settings.wanted[0]} from the reply: {reply}"
            )
        ]
    if settings.conflict:
        prompt = with_question(sample.prompt, f"{found['context']} {question_of(sample.prompt)}")
        return [successor(sample, prompt, context.step)]
    if settings.answers and same_text(found["right"], found["wrong"]):
        return [
            _rejected(sample, context, Reason.EQUAL_ANSWERS, f"the correct and the wrong answer are the same: {reply}")
        ]
    prompt = with_question(sample.prompt, found["question"])
    new = successor(
        sample,
        prompt,
        context.step,
        answer=None,
        answer_type=None,
        reference=found.get("right") if settings.answers else None,
    )
    roles = (("right", "chosen"), ("wrong", "rejected")) if settings.answers else ()
    made = {"model": engine.identity, "settings": context.version, "seed": seed}
    return [
        new,
        *(candidate(new.id, context.step, found[w], role=r, index=i, **made) for i, (w, r) in enumerate(roles)),
    ]


def _rejected(sample: Sample, context: Context, reason: Reason, cause: str) -> Rejection:
    detail = f"{sample_label(sample)}: {cause}"
    return Rejection(sample.id, "samples", context.step, reason, detail, sample.id)


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` accepts, with different texts; see `schemas.operator`."""
    return json.dumps({name: f"{text} {name}" for name in settings.wanted})


def parse(text: str, names: tuple[str, ...]) -> dict[str, str] | None:
    """The texts with these names in a model's reply: from the first JSON object that has them, with any text around it, or from lines
    such as "Question: ...", without any thinking. None if one is missing, empty or not a text."""
    text = without_thinking(text) or ""
    for at in (m.start() for m in re.finditer(r"\{", text)):
        try:
            found, _ = json.JSONDecoder(strict=False).raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if whole := _whole(found, names):
            return whole
    labels = {"q": "question"}
    return _whole({labels.get(m[1].lower(), m[1].lower()): m[2] for m in _LABEL.finditer(text)}, names)


def _whole(found: dict, names: tuple[str, ...]) -> dict[str, str] | None:
    texts = {name: text.strip() for name in names if isinstance(text := found.get(name), str) and text.strip()}
    return texts if len(texts) == len(names) else None
