"""Prompts by template: one of a list is drawn for each sample and filled with what is known of it; a suffix asks for a form."""

import random
from typing import Literal

import orjson
from pydantic import Field

from schemas import prompts
from schemas.errors import bad_row
from schemas.messages import asked_of, rephrase, sample_label
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Sample, digest, successor

READS = ("samples",)
LEAVES = ("samples",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1

SUFFIXES = {
    "mcq": "Answer with the option's letter from the given choices directly.",
    "cot": 'Think step by step, then give the answer behind "Final Answer:".',
    "think": "First think about it inside <think> </think>, then give the final answer inside <answer> </answer>.",
}


class Settings(Base):
    templates: tuple[str, ...] = Field(("{prompt}",), min_length=1)
    """texts of which each sample gets one. {prompt} is what was asked, {answer} and {reference} what is known, any other name
    in braces one of the sample's facts"""
    suffix: Literal["mcq", "cot", "think"] | None = None
    """what is asked for behind it: the letter alone, steps and "Final Answer:", or think and answer tags"""
    seed: int = 0
    """another seed draws other templates"""


def write(rows: SampleRows, settings: Settings, context: Context) -> list[Sample]:
    """The sample with its new prompt; media and earlier turns stay. RowError (BAD_ROW) when a name is not known of it."""
    sample = rows.sample
    template = random.Random(digest(settings.seed, sample.id)).choice(settings.templates)
    text = prompts.fill(template, **_words(sample, prompts.NAME.findall(template)))
    if settings.suffix:
        text += f"\n{SUFFIXES[settings.suffix]}"
    return [successor(sample, rephrase(sample.prompt, text), context.step)]


def _words(sample: Sample, names: list[str]) -> dict[str, str]:
    known = {"prompt": asked_of(sample.prompt), "answer": sample.answer, "reference": sample.reference}
    facts = orjson.loads(sample.facts) if sample.facts else {}
    out = {}
    for name in names:
        value = known[name] if name in known else facts.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            detail = f"{sample_label(sample)}: its {name} is no text; add it, or take {{{name}}} out"
            raise bad_row(detail)
        out[name] = str(value)
    return out
