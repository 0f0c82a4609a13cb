"""Each pair of answers that was judged as a pair, the way round its judges found it."""

from pydantic import Field

from pipeline.pair._scores import no_pair
from schemas.axes import SCORE
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Judgement, Outcome, Pair, Reason, Rejection
from schemas.records import pair as laid

READS = ("candidates", "judgements")
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    min_confidence: float = Field(0.5, ge=0.5, le=1)
    """least probability that the chosen answer is better; at exactly one half there is never a pair"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """A Pair for each two answers with a `score` verdict on the pair, of several verdicts the latest, instead of what was live of these
    two: `margin` is the strength, `soft_label` the probability that chosen is better, 0.5..1. Ties and unsure verdicts end what was
    live, too; where nobody has a verdict it stays."""
    scores: dict[frozenset[str], Judgement] = {}
    for slip in rows.judgements:
        if slip.target == "pair" and slip.axis == SCORE:
            scores[frozenset(slip.items)] = slip
    if not scores:
        return [no_pair(rows, context, Reason.NO_VERDICT, "no pair of answers was judged")]
    live: dict[frozenset[str | None], list[Pair]] = {}
    for row in rows.pairs:
        live.setdefault(frozenset((row.chosen_id, row.rejected_id)), []).append(row)
    out: list[Pair | Rejection] = []
    for items, slip in scores.items():
        before = live.get(items, [])
        made = _made(slip, rows, settings, context)
        if isinstance(made, Pair):
            detail = "the same two answers were judged by more"
            out += [Rejection(p.id, "pairs", context.step, Reason.SUPERSEDED, detail, p.sample) for p in before]
            out.append(made)
        elif before and made.reason != Reason.NO_VERDICT:
            out += [made._replace(id=p.id) for p in before]
        elif not before:
            out.append(made)
    return out


def _made(slip: Judgement, rows: SampleRows, settings: Settings, context: Context) -> Pair | Rejection:
    """The Pair that a score stands for, or why there is none."""

    def none(reason: Reason, detail: str) -> Rejection:
        return Rejection(slip.id, "pairs", context.step, reason, detail, slip.sample)

    if slip.outcome not in (Outcome.VERDICT, Outcome.TIE) or slip.prob is None or slip.value is None:
        return none(Reason.NO_VERDICT, "nobody who was asked has a verdict on the pair")
    if slip.outcome == Outcome.TIE:
        return none(Reason.NO_MARGIN, "a tie is the most probable")
    sure = max(slip.prob, 1 - slip.prob)
    if sure == 0.5 or sure < settings.min_confidence:
        return none(Reason.NO_MARGIN, f"one answer is better with a probability of only {sure:.2f}")
    answers = {c.id: c for c in rows.candidates}
    chosen, rejected = (answers[i] for i in (slip.items if slip.prob > 0.5 else reversed(slip.items)))
    if chosen.text == rejected.text:
        return none(Reason.EQUAL_ANSWERS, "both answers are the same text")
    return laid(
        rows.sample.id, context.step, chosen, rejected, margin=abs(slip.value), confidence=sure, soft_label=sure,
        judgements=(slip.id,), recipe=context.recipe, seed=chosen.seed,
    )  # fmt: skip
