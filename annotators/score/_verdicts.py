"""The verdicts on the claims of each answer, for scores that count them."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from schemas.axes import FORM, SCORE
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import Claim, Finding, Judgement, Outcome, Provenance, judgement


class ClaimScoreSettings(Base):
    malformed: float | None = None
    """score of an answer that cannot be split into claims; by default it has no score"""
    axis: Literal["claim", "score"] = "claim"
    """axis of the verdicts on claims: claim (the judge's own), or score (those of a jury)"""


class Answer(NamedTuple):
    """What is known of one answer: the verdict on its form (None: it was not split), and its claims, each with its verdict, if there is one."""

    form: Judgement | None
    claims: list[tuple[Claim, Judgement | None]]

    def decided(self) -> bool:
        """Whether nothing is without a verdict."""
        found = (self.form, *(verdict for _, verdict in self.claims))
        return all(one is not None and one.outcome == Outcome.VERDICT for one in found)


def scores(
    rows: SampleRows,
    settings: ClaimScoreSettings,
    context: Context,
    name: str,
    value: Callable[[Answer, list[Answer]], float],
) -> list[Judgement]:
    """One `score` Judgement per candidate: `value(answer, all decided and well-formed answers)`, or `malformed`.

    It abstains if a claim has no verdict (which never counts as zero), or if the answer was not split."""
    verdicts = {s.items[0]: s for s in rows.judgements if s.axis == settings.axis and s.target == "claim"}
    forms = {s.items[0]: s for s in rows.judgements if s.axis == FORM}
    answers = {c.id: Answer(forms.get(c.id), []) for c in rows.candidates}
    for c in rows.claims:
        answers[c.candidate].claims.append((c, verdicts.get(c.id)))
    whole = [one for one in answers.values() if one.decided() and one.form and one.form.value]
    out, by = [], Provenance(name, context.version)
    for c in rows.candidates:
        answer = answers[c.id]
        score = None
        if answer.decided() and answer.form:
            score = value(answer, whole) if answer.form.value else settings.malformed
        finding = Finding(Outcome.ABSTAIN if score is None else Outcome.VERDICT, score)
        parents = tuple(s.id for _, s in answer.claims if s) or ((answer.form.id,) if answer.form else ())
        out.append(judgement(c.sample, context.step, "candidate", (c.id,), SCORE, finding, by, parents=parents))
    return out
