"""Each right answer against each wrong one, by a rule that knows the truth (MPO: at most 15 per question)."""

import random

from pydantic import Field

from pipeline.pair._scores import make_pair, no_pair, over_cap, scored_candidates
from schemas.axes import TRUTH
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Pair, Reason, Rejection, digest
from schemas.text import text_key

READS = ("candidates", "judgements")
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


class Settings(Base):
    per_prompt: int | None = Field(15, ge=1, le=1_000_000)
    """maximum number of pairs per prompt, chosen by the seed; null means all"""
    axis: str = TRUTH
    """axis of the judgements that decide: 0 is right, below 0 is wrong"""
    seed: int = 0
    """random seed of the choice"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """Each pair of texts once; or one Rejection that says why there is none.

    A wrong answer that contains the right one word for word is skipped: rejecting it would also unlearn the right answer."""
    scored = scored_candidates(rows, settings.axis)
    right, wrong = [s for s in scored if s.score == 0], [s for s in scored if s.score < 0]
    if not right or not wrong:
        detail = f"{len(right)} right and {len(wrong)} wrong answers of {len(rows.candidates)}"
        return [no_pair(rows, context, Reason.NO_MARGIN if scored else Reason.NO_VERDICT, detail)]
    found: list[Pair] = []
    texts: set[tuple[str, str]] = set()
    for better in right:
        for worse in wrong:
            both = text_key(better.candidate.text), text_key(worse.candidate.text)
            if both not in texts and both[0] not in both[1]:
                texts.add(both)
                found.append(make_pair(better, worse, rows, context))
    if not found:
        return [no_pair(rows, context, Reason.EQUAL_ANSWERS, "every wrong answer contains every right one")]
    return over_cap(found, settings.per_prompt, random.Random(digest(settings.seed, rows.sample.id)), context)
