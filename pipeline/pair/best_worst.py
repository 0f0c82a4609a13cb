"""The best answer against the worst one."""

from collections import Counter

from pipeline.pair._scores import make_pair, no_pair, scored_candidates
from schemas.axes import SCORE
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Pair, Reason, Rejection
from schemas.text import same_text, text_key

READS = ("candidates", "judgements")
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


class Settings(Base):
    min_margin: float = 1.0
    """smallest score difference of a pair; equal scores never make a pair"""
    axis: str = SCORE
    """axis of the judgements that rank the answers"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """One Pair per sample, or one Rejection that says why there is none.

    Among answers with equal scores the most frequent text is taken, then the lowest index."""
    ranked = scored_candidates(rows, settings.axis)
    if len(ranked) < 2:
        return [
            no_pair(rows, context, Reason.NO_VERDICT, f"{len(ranked)} of {len(rows.candidates)} answers have a score")
        ]
    often = Counter(text_key(s.candidate.text) for s in ranked)
    best = min(ranked, key=lambda s: (-s.score, -often[text_key(s.candidate.text)], s.candidate.index))
    worst = min(ranked, key=lambda s: (s.score, -often[text_key(s.candidate.text)], s.candidate.index))
    margin = best.score - worst.score
    if margin <= 0 or margin < settings.min_margin:
        return [no_pair(rows, context, Reason.NO_MARGIN, f"best and worst differ by {margin:g}")]
    if same_text(best.candidate.text, worst.candidate.text):
        return [no_pair(rows, context, Reason.EQUAL_ANSWERS, "best and worst are the same text")]
    return [make_pair(best, worst, rows, context)]
