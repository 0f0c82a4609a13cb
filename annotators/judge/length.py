"""The judge that every other one must beat: the longer answer is better. It asks no model.

On MM-RLHF-RewardBench it is right in .72 of the pairs; what a judge agrees with it says how much of its taste is length."""

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
    """what the judgements are called, for the pair rule's `axis`"""


def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Of each Candidate how many words it has, and on the axis `tokens` how many tokens, where its maker said so."""
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
