"""Score of an answer: the F1 of its claims, so that neither false claims nor silence pay (the F-score of an answer's claims as in SAFE,
arXiv 2403.18802, with the claims that hold in any answer in the place of a fixed number)."""

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
    """One `score` Judgement per candidate, 0..1, or `malformed`: the harmonic mean of the share of its claims that hold and of its share of the
    claims that hold in any answer to the sample; equal claims count once. 0 for an answer of which no claim holds, or that claims nothing.

    It abstains if a claim has no verdict (which never counts as zero), or if the answer was not split."""
    return scores(rows, settings, context, "claims_f1", _f1)


def _f1(answer: Answer, answers: list[Answer]) -> float:
    holding, known = _holding(answer), set().union(*map(_holding, answers))
    claimed = len({(claim.question, claim.wanted) for claim, _ in answer.claims})
    return round(2 * len(holding) / (claimed + len(known)), 4) if holding else 0.0


def _holding(answer: Answer) -> set[tuple[str, bool]]:
    return {(claim.question, claim.wanted) for claim, verdict in answer.claims if verdict and verdict.value}
