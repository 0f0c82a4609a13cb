"""An answer against the one it was made from (its parent). Corrections by people (RLHF-V) or models (HA-DPO) are better than
their parent; an answer with the role `rejected` (continued without media, hallucinations injected) is worse (MPO, POVID)."""

import json
import random

from pydantic import Field

from pipeline.pair._scores import no_pair, over_cap
from schemas.axes import FAULTS
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Judgement, Pair, Reason, Rejection, Span, digest
from schemas.records import pair as new_pair
from schemas.text import text_key

READS = ("candidates",)
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 3


class Settings(Base):
    per_parent: int | None = Field(None, ge=1, le=1_000_000)
    """maximum number of edits per parent, chosen by the seed; all by default"""
    seed: int = 0
    """random seed of the choice"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """A Pair for each answer whose parent is among the candidates (of equal texts the first); or one Rejection.

    If the edit is the better one, the pair has the spans of the original that its editor marked."""
    answers = {c.id: c for c in rows.candidates}
    edits: dict[str, list[Candidate]] = {}
    for c in rows.candidates:
        if c.parent in answers:
            edits.setdefault(c.parent, []).append(c)
    if not edits:
        return [no_pair(rows, context, Reason.NO_VERDICT, "no answer is an edit of another one")]
    out: list[Pair | Rejection] = []
    for parent, children in edits.items():
        original, found, texts = answers[parent], [], {text_key(answers[parent].text)}
        for edited in children:
            if text_key(edited.text) in texts:
                detail = "the edited text equals the original or another edit of it"
                out.append(Rejection(edited.id, "pairs", context.step, Reason.EQUAL_ANSWERS, detail, edited.sample))
                continue
            texts.add(text_key(edited.text))
            found.append(_pair(edited, original, rows, context))
        out += over_cap(found, settings.per_parent, random.Random(digest(settings.seed, parent)), context)
    return out


def _pair(edited: Candidate, original: Candidate, rows: SampleRows, context: Context) -> Pair:
    if edited.role == "rejected":
        return new_pair(rows.sample.id, context.step, original, edited, recipe=context.recipe, seed=edited.seed)
    marked = _marked(edited, original, rows.judgements)
    return new_pair(
        rows.sample.id, context.step, edited, original, rejected_spans=_spans(marked), judgements=(marked.id,) if marked else (),
        recipe=context.recipe, seed=original.seed,
    )  # fmt: skip


def _marked(edited: Candidate, original: Candidate, judgements: list[Judgement]) -> Judgement | None:
    """The judgement that marks the faults of the original: the editor's own, or the only one there is."""
    marks = [j for j in judgements if j.axis == FAULTS and j.items == (original.id,) and j.raw]
    own = [j for j in marks if j.annotator == edited.model]
    return (own or (marks if len(marks) == 1 else [None]))[-1]


def _spans(judgement: Judgement | None) -> tuple[Span, ...] | None:
    marked = json.loads(judgement.raw).get("spans") if judgement and judgement.raw else None
    return marked and tuple(Span(start, end, None, *fault) for start, end, *fault in marked)
