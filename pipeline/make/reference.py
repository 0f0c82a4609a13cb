"""The source's own answer as a candidate: the chosen side of POVID, MAVIS, OPA, SQuBa."""

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
    """the full `reference` answer, or the short correct `answer`"""
    role: str | None = "chosen"
    """role of this answer"""


def make(rows: SampleRows, settings: Settings, context: Context) -> list[Candidate | Rejection]:
    """One Candidate, or a Rejection NO_REFERENCE if the sample has no such answer."""
    sample = rows.sample
    text = getattr(sample, settings.of)
    if not text or not text.strip():
        detail = f"{sample_label(sample)}: no {settings.of}; add one or use a source that provides it"
        return [Rejection(sample.id, "candidates", context.step, Reason.NO_REFERENCE, detail, sample.id)]
    return [candidate(sample.id, context.step, text, role=settings.role, model=settings.of, settings=context.version)]
