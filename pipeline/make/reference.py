"""The answer that the source brought along, as a candidate: the chosen side of POVID, MAVIS, OPA, SQuBa."""

from typing import Literal

from schemas.messages import sample_label
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Reason, Rejection, candidate

READS = ("samples",)
LEAVES = ("candidates",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    of: Literal["reference", "answer"] = "reference"
    """the whole good answer, or the short right one"""
    role: str | None = "chosen"
    """what this answer is"""


def make(rows: SampleRows, settings: Settings, context: Context) -> list[Candidate | Rejection]:
    sample = rows.sample
    text = getattr(sample, settings.of)
    if not text or not text.strip():
        detail = f"{sample_label(sample)}: it has no {settings.of}; add one or use a source that has them"
        return [Rejection(sample.id, "candidates", context.step, Reason.NO_REFERENCE, detail, sample.id)]
    return [candidate(sample.id, context.step, text, role=settings.role, model=settings.of, settings=context.version)]
