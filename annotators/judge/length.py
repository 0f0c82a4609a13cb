"""Baseline judge without a model: the longer answer is better.

It is right on 72 % of the pairs of MM-RLHF-RewardBench. A judge's agreement with it shows how much that judge rewards length."""

from schemas.axes import LENGTH, TOKENS
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Finding, Judgement, Outcome, Provenance, judgement
from schemas.text import word_count

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
ANNOTATOR = "length"


class Settings(Base):
    axis: str = LENGTH
    """axis of the judgements; a pair rule names it in its `axis`"""


def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Per Candidate, its number of words, and on the axis `tokens` its number of tokens if the maker recorded it."""
    out, by = [], Provenance(ANNOTATOR, context.version)
    for c in rows.candidates:
        values = {settings.axis: word_count(c.text), TOKENS: c.tokens}
        out += [
            judgement(
                c.sample, context.step, "candidate", (c.id,), axis, Finding(Outcome.VERDICT, float(value)), by
            )
            for axis, value in values.items() if value is not None
        ]  # fmt: skip
    return out
