"""Fills a template, drawn from a list for each sample, with what is known about the sample; a suffix asks for an answer format."""

import random
from typing import Literal

import orjson
from pydantic import Field

from schemas import prompts
from schemas.errors import bad_row
from schemas.messages import question_of, sample_label, with_question
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
    """list of templates, of which each sample gets one. {prompt} is the original prompt, {answer} and {reference} what is known, any other
    name in braces one of the sample's facts"""
    suffix: Literal["mcq", "cot", "think"] | None = None
    """requested answer format: the letter alone (mcq), steps and "Final Answer:" (cot), or think and answer tags (think)"""
    seed: int = 0
    """seed of the templates drawn"""


def write(rows: SampleRows, settings: Settings, context: Context) -> list[Sample]:
    """The sample with its new prompt; media and earlier turns are kept. RowError BAD_ROW if a name in braces is unknown for the sample."""
    sample = rows.sample
    template = random.Random(digest(settings.seed, sample.id)).choice(settings.templates)
    text = prompts.fill(template, **_values(sample, prompts.NAME.findall(template)))
    if settings.suffix:
        text += f"\n{SUFFIXES[settings.suffix]}"
    return [successor(sample, with_question(sample.prompt, text), context.step)]


def _values(sample: Sample, names: list[str]) -> dict[str, str]:
    known = {"prompt": question_of(sample.prompt), "answer": sample.answer, "reference": sample.reference}
    facts = orjson.loads(sample.facts) if sample.facts else {}
    out = {}
    for name in names:
        value = known[name] if name in known else facts.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            detail = f"{sample_label(sample)}: its {name} is missing or not a text; add it, or remove {{{name}}} from the template"
            raise bad_row(detail)
        out[name] = str(value)
    return out
