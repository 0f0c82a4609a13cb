"""Score of an answer: minus the number of its claims that the judge refuted (RLAIF-V; 0 is best)."""

from annotators.score._verdicts import Answer, ClaimScoreSettings, scores
from schemas.operator import Context, SampleRows
from schemas.records import SAMPLE_KINDS, Judgement

READS = ("candidates", "claims", "judgements")
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(ClaimScoreSettings):
    """No settings of its own."""


def score(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement per candidate, at most 0, or `malformed`.

    It abstains if a claim has no verdict (which never counts as zero), or if the answer was not split."""
    return scores(rows, settings, context, "refuted_claims", _minus_refuted)


def _minus_refuted(answer: Answer, _: list[Answer]) -> float:
    return float(sum((verdict.value or 0) - 1 for _, verdict in answer.claims if verdict))
