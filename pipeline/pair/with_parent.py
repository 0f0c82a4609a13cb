"""An answer that was made from another against that other: edits of people (RLHF-V) and of models (HA-DPO) are better than what
they mend; what its maker calls `rejected` (continued without the media, spoiled) is worse than what it was made from (MPO, POVID)."""

import json
import random

from pydantic import Field

from pipeline.pair._scores import no_pair, over_cap
from schemas.axes import FAULTS
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, Pair, Reason, Rejection, Span, digest
from schemas.records import pair as laid

READS = ("candidates",)
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


class Settings(Base):
    per_parent: int | None = Field(None, ge=1, le=1_000_000)
    """at most so many edits of one answer, drawn by the seed; all by default"""
    seed: int = 0
    """another seed draws other edits"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """A Pair for each answer whose parent is there, of equal texts the first. Where it is the better one, with the spans of the
    original that its editor marked."""
    answers = {c.id: c for c in rows.candidates}
    edits: dict[str, list[Candidate]] = {}
    for c in rows.candidates:
        if c.parent in answers:
            edits.setdefault(c.parent, []).append(c)
    if not edits:
        return [no_pair(rows, context, Reason.NO_VERDICT, "no answer was edited")]
    out: list[Pair | Rejection] = []
    for parent, of in edits.items():
        original, found, texts = answers[parent], [], {answers[parent].text}
        for edited in of:
            if edited.text in texts:
                detail = "the edited text is the original, or another edit of it"
                out.append(Rejection(edited.id, "pairs", context.step, Reason.EQUAL_ANSWERS, detail, edited.sample))
                continue
            texts.add(edited.text)
            found.append(_pair(edited, original, rows, context))
        out += over_cap(found, settings.per_parent, random.Random(digest(settings.seed, parent)), context)
    return out


def _pair(edited: Candidate, original: Candidate, rows: SampleRows, context: Context) -> Pair:
    if edited.role == "rejected":
        return laid(rows.sample.id, context.step, original, edited, recipe=context.recipe, seed=edited.seed)
    slip = _marked(edited, original, rows.judgements)
    return laid(
        rows.sample.id, context.step, edited, original, rejected_spans=_spans(slip), judgements=(slip.id,) if slip else (),
        recipe=context.recipe, seed=original.seed,
    )  # fmt: skip


def _marked(edited: Candidate, original: Candidate, slips: list[Judgement]) -> Judgement | None:
    """What the editor said is wrong with the original; where several people marked it, only what the editor's own name is under."""
    marks = [s for s in slips if s.axis == FAULTS and s.items == (original.id,) and s.raw]
    own = [s for s in marks if s.annotator == edited.model]
    return (own or (marks if len(marks) == 1 else [None]))[-1]


def _spans(slip: Judgement | None) -> tuple[Span, ...] | None:
    marked = json.loads(slip.raw).get("spans") if slip and slip.raw else None
    return marked and tuple(Span(start, end, None, *fault) for start, end, *fault in marked)
