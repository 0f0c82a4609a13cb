"""All pairs of answers whose scores differ enough, optionally a random few per prompt (RLAIF-V: margin 1, 2 per prompt)."""

import random

from pydantic import Field

from pipeline.pair._scores import make_pair, no_pair, over_cap, scored_candidates
from schemas.axes import SCORE
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
    min_margin: float = 1.0
    """smallest score difference of a pair; equal scores never make a pair"""
    per_prompt: int | None = Field(None, ge=1, le=1_000_000)
    """maximum number of pairs per prompt, chosen by the seed; all by default"""
    axis: str = SCORE
    """axis of the judgements that rank the answers"""
    seed: int = 0
    """random seed of the choice"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """Pairs of different texts, each pair of texts once, in candidate order; or one Rejection that says why there is none."""
    ranked = scored_candidates(rows, settings.axis)
    if len(ranked) < 2:
        return [
            no_pair(rows, context, Reason.NO_VERDICT, f"{len(ranked)} of {len(rows.candidates)} answers have a score")
        ]
    found, texts = [], set()
    for better in ranked:
        for worse in ranked:
            margin = better.score - worse.score
            both = (text_key(better.candidate.text), text_key(worse.candidate.text))
            if margin > 0 and margin >= settings.min_margin and both[0] != both[1] and both not in texts:
                texts.add(both)
                found.append(make_pair(better, worse, rows, context))
    if not found:
        return [no_pair(rows, context, Reason.NO_MARGIN, f"no two answers differ by {settings.min_margin:g}")]
    return over_cap(found, settings.per_prompt, random.Random(digest(settings.seed, rows.sample.id)), context)
