"""Pairs of answers that were judged as pairs; the one preferred by the judges is chosen."""

from pydantic import Field

from pipeline.pair._scores import no_pair
from schemas.axes import SCORE
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Judgement, Outcome, Pair, Reason, Rejection
from schemas.records import pair as new_pair
from schemas.text import same_text

READS = ("candidates", "judgements")
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


class Settings(Base):
    min_confidence: float = Field(0.5, ge=0.5, le=1)
    """lowest probability that the chosen answer is better; exactly 0.5 never makes a pair"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """A Pair for each two answers with a `score` verdict on the pair (of several the latest), which supersedes earlier pairs of the two.

    `margin` is the strength of the verdict, `soft_label` the probability that chosen is better, 0.5..1. Ties and verdicts below
    `min_confidence` reject the earlier pairs, too; without any verdict these stay."""
    scores: dict[frozenset[str], Judgement] = {}
    for judgement in rows.judgements:
        if judgement.target == "pair" and judgement.axis == SCORE:
            scores[frozenset(judgement.items)] = judgement
    if not scores:
        return [
            no_pair(
                rows, context, Reason.NO_VERDICT, "no pair of answers has a score; put score.consensus before this step"
            )
        ]
    live: dict[frozenset[str | None], list[Pair]] = {}
    for row in rows.pairs:
        live.setdefault(frozenset((row.chosen_id, row.rejected_id)), []).append(row)
    out: list[Pair | Rejection] = []
    for items, score in scores.items():
        before = live.get(items, [])
        made = _pair_of(score, rows, settings, context)
        if isinstance(made, Pair):
            detail = "replaced by a pair with further judgements of the same two answers"
            out += [Rejection(p.id, "pairs", context.step, Reason.SUPERSEDED, detail, p.sample) for p in before]
            out.append(made)
        elif before and made.reason != Reason.NO_VERDICT:
            out += [made._replace(id=p.id) for p in before]
        elif not before:
            out.append(made)
    return out


def _pair_of(score: Judgement, rows: SampleRows, settings: Settings, context: Context) -> Pair | Rejection:
    """The Pair according to a score, or the Rejection that says why there is none."""

    def none(reason: Reason, detail: str) -> Rejection:
        return Rejection(score.id, "pairs", context.step, reason, detail, score.sample)

    if score.outcome not in (Outcome.VERDICT, Outcome.TIE) or score.prob is None or score.value is None:
        return none(Reason.NO_VERDICT, "no judge gave a verdict on the pair")
    if score.outcome == Outcome.TIE:
        return none(Reason.NO_MARGIN, "a tie is most probable")
    confidence = max(score.prob, 1 - score.prob)
    if confidence == 0.5 or confidence < settings.min_confidence:
        return none(Reason.NO_MARGIN, f"the better answer has a probability of only {confidence:.2f}")
    answers = {c.id: c for c in rows.candidates}
    chosen, rejected = (answers[i] for i in (score.items if score.prob > 0.5 else reversed(score.items)))
    if same_text(chosen.text, rejected.text):
        return none(Reason.EQUAL_ANSWERS, "both answers are the same text")
    return new_pair(
        rows.sample.id, context.step, chosen, rejected, margin=abs(score.value), confidence=confidence, soft_label=confidence,
        judgements=(score.id,), recipe=context.recipe, seed=chosen.seed,
    )  # fmt: skip
