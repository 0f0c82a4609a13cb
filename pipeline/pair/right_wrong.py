"""Each right answer against each wrong one, by a rule that knows the truth (MPO: 15 a question at most)."""

import random

from pydantic import Field

from pipeline.pair._scores import make_pair, no_pair, over_cap, scored_candidates
from schemas.axes import TRUTH
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Pair, Reason, Rejection, digest

READS = ("candidates", "judgements")
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    per_prompt: int | None = Field(15, ge=1, le=1_000_000)
    """at most so many pairs a prompt, drawn by the seed; all when null"""
    axis: str = TRUTH
    """the judgements that tell: 0 is right, less is wrong"""
    seed: int = 0
    """another seed draws other pairs"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """Pairs of different texts, each text pair once. A right answer that stands word for word inside the wrong one makes none: what
    would be unlearnt is the answer too."""
    told = scored_candidates(rows, settings.axis)
    right, wrong = [s for s in told if s.score == 0], [s for s in told if s.score < 0]
    if not right or not wrong:
        detail = f"{len(right)} right and {len(wrong)} wrong answers of {len(rows.candidates)}"
        return [no_pair(rows, context, Reason.NO_MARGIN if told else Reason.NO_VERDICT, detail)]
    found: list[Pair] = []
    texts: set[tuple[str, str]] = set()
    for better in right:
        for worse in wrong:
            both = better.candidate.text, worse.candidate.text
            if both not in texts and both[0].strip() not in both[1]:
                texts.add(both)
                found.append(make_pair(better, worse, rows, context))
    if not found:
        return [no_pair(rows, context, Reason.EQUAL_ANSWERS, "every right answer stands inside every wrong one")]
    return over_cap(found, settings.per_prompt, random.Random(digest(settings.seed, rows.sample.id)), context)
