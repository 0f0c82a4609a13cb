"""A model writes the question: it is shown the sample's media and asks something new about them, with answers if wanted.

Or it writes what contradicts the media, to stand before the question (HDPO's conflict between words and picture)."""

import json
import re

from pydantic import Field, model_validator

from schemas import prompts
from schemas.messages import ask_about, asked_of, rephrase, sample_label
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Reason, Rejection, Sample, candidate, digest, successor
from schemas.requests import Failure, Generate

READS = ("samples",)
LEAVES = ("samples", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2

_LABEL = re.compile(
    r"^\W*(question|right|wrong|context|q)(?:\s+answer)?\W*:\W*(.+?)[\s*_]*$", re.IGNORECASE | re.MULTILINE
)


class Settings(Base):
    model: str
    """name of the recipe's model that writes"""
    answers: bool = False
    """also a right answer, which becomes the reference and a candidate `chosen`, and a wrong one, a candidate `rejected`"""
    conflict: bool = False
    """a sentence that contradicts the media is put before the sample's own question, whose answer stays what it was"""
    temperature: float = Field(1.0, ge=0)
    """0 is greedy"""
    top_p: float = Field(1.0, gt=0, le=1)
    """share of the probability that is sampled from"""
    max_tokens: int = Field(256, ge=1, le=1_000_000)
    """longest reply, in tokens"""
    seed: int = 0
    """another seed draws other questions"""
    prompt: str | None = None
    """file with {prompt} (what was asked before) that asks for the JSON, instead of the one beside this module"""

    @model_validator(mode="after")
    def _one_thing(self):
        if self.answers and self.conflict:
            raise ValueError("with `conflict` the question stays, and its answers: leave `answers` out")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
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
    """The sample with the model's question in place of its own; what is known of the old one's answer goes. With `conflict` the
    sample with the model's sentence before its question, and all that is known of it.

    A reply that cannot be read drops the sample (UNPARSABLE, with the words), as do equal answers (EQUAL_ANSWERS)."""
    sample, engine = rows.sample, context.engines[settings.model]
    seed = int(digest(settings.seed, sample.id)[:8], 16) & 0x7FFFFFFF
    (template,) = prompt_texts(settings)
    messages = ask_about(sample.prompt, prompts.fill(template, prompt=asked_of(sample.prompt)))
    result = await engine.ask(Generate(messages, 1, settings.temperature, settings.top_p, settings.max_tokens, seed))
    if isinstance(result, Failure):
        return [_gone(sample, context, result.reason, result.detail)]
    said = result.answers[0].text
    found = parse(said, settings.wanted)
    if found is None:
        return [_gone(sample, context, Reason.UNPARSABLE, f"no {settings.wanted[0]} can be read in: {said}")]
    if settings.conflict:
        prompt = rephrase(sample.prompt, f"{found['context']} {asked_of(sample.prompt)}")
        return [successor(sample, prompt, context.step)]
    if settings.answers and found["right"] == found["wrong"]:
        return [_gone(sample, context, Reason.EQUAL_ANSWERS, f"the right and the wrong answer are one: {said}")]
    prompt = rephrase(sample.prompt, found["question"])
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


def _gone(sample: Sample, context: Context, reason: Reason, said: str) -> Rejection:
    detail = f"{sample_label(sample)}: {said}"
    return Rejection(sample.id, "samples", context.step, reason, detail, sample.id)


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` reads, no two of its texts alike; see `schemas.operator`."""
    return json.dumps({name: f"{text} {name}" for name in settings.wanted})


def parse(text: str, names: tuple[str, ...]) -> dict[str, str] | None:
    """The texts of these names in a model's reply: from the first JSON object that has them, whatever stands around it, or
    from lines like "Question: ...". None when one is missing, empty or no text."""
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
