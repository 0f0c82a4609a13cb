"""Score of an answer: minus the number of its claims that the judge refuted (RLAIF-V; 0 is best)."""

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
    """score of an answer that cannot be split into claims; by default it has no score"""
    axis: Literal["claim", "score"] = "claim"
    """axis of the verdicts on claims: claim (the judge's own), or score (those of a jury)"""


def score(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """One `score` Judgement per candidate, at most 0, or `malformed`.

    It abstains if a claim has no verdict (which never counts as zero), or if the answer was not split."""
    verdicts = {s.items[0]: s for s in rows.judgements if s.axis == settings.axis and s.target == "claim"}
    forms = {s.items[0]: s for s in rows.judgements if s.axis == FORM}
    claims: dict[str, list[Judgement | None]] = {}
    for c in rows.claims:
        claims.setdefault(c.candidate, []).append(verdicts.get(c.id))
    out, by = [], Provenance("refuted_claims", context.version)
    for c in rows.candidates:
        judgements = claims.get(c.id, [])
        form = forms.get(c.id)
        if form is None or any(s is None or s.outcome != Outcome.VERDICT for s in [form, *judgements]):
            value = None
        elif not form.value:
            value = settings.malformed
        else:
            value = float(sum(s.value or 0 for s in judgements if s) - len(judgements))
        out.append(
            judgement(
                c.sample, context.step, "candidate", (c.id,), SCORE,
                Finding(Outcome.ABSTAIN if value is None else Outcome.VERDICT, value), by,
                parents=tuple(s.id for s in judgements if s) or ((form.id,) if form else ()),
            )
        )  # fmt: skip
    return out
