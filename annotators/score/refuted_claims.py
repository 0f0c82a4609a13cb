"""Minus the number of an answer's claims that the judge refuted (RLAIF-V's score; 0 is best)."""

from typing import Literal

from schemas.axes import FORM, SCORE
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Finding, Judgement, Outcome, Provenance, judgement

READS = ("candidates", "claims", "judgements")
LEAVES = ("judgements",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    malformed: float | None = None
    """score of an answer that cannot be split into claims; without one such an answer has no score"""
    axis: Literal["claim", "score"] = "claim"
    """whose verdicts on the claims count: their judge's, or (score) those of a jury of several"""


def score(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement a candidate. It abstains where a claim has no verdict: a missing verdict is never a zero."""
    verdicts = {s.items[0]: s for s in rows.judgements if s.axis == settings.axis and s.target == "claim"}
    forms = {s.items[0]: s for s in rows.judgements if s.axis == FORM}
    claims: dict[str, list[Judgement | None]] = {}
    for c in rows.claims:
        claims.setdefault(c.candidate, []).append(verdicts.get(c.id))
    out, by = [], Provenance("refuted_claims", context.version)
    for c in rows.candidates:
        slips = claims.get(c.id, [])
        form = forms.get(c.id)
        if form is None or any(s is None or s.outcome != Outcome.VERDICT for s in [form, *slips]):
            value = None
        elif not form.value:
            value = settings.malformed
        else:
            value = float(sum(s.value or 0 for s in slips if s) - len(slips))
        out.append(
            judgement(
                c.sample, context.step, "candidate", (c.id,), SCORE,
                Finding(Outcome.ABSTAIN if value is None else Outcome.VERDICT, value), by,
                parents=tuple(s.id for s in slips if s) or ((form.id,) if form else ()),
            )
        )  # fmt: skip
    return out
