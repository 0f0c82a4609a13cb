"""Pairs of answers whose makers fixed the roles, chosen or rejected (POVID, STIC, HA-DPO, SQuBa): no judgement is involved."""

import random

from pydantic import Field

from pipeline.pair._scores import no_pair, over_cap
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Candidate, Pair, Reason, Rejection, digest
from schemas.records import pair as new_pair
from schemas.text import text_key

READS = ("candidates",)
LEAVES = ("pairs",)
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2


class Settings(Base):
    per_prompt: int | None = Field(None, ge=1, le=1_000_000)
    """maximum number of pairs per prompt, chosen by the seed; all by default"""
    seed: int = 0
    """random seed of the choice"""


def pair(rows: SampleRows, settings: Settings, context: Context) -> list[Pair | Rejection]:
    """Each chosen answer against each rejected one with another text, each pair of texts once; or one Rejection."""
    sides: dict[str, dict[str, Candidate]] = {"chosen": {}, "rejected": {}}
    for c in rows.candidates:
        if c.role in sides:
            sides[c.role].setdefault(text_key(c.text), c)
    missing = [role for role, found in sides.items() if not found]
    if missing:
        return [no_pair(rows, context, Reason.NO_VERDICT, f"no answer is {' or '.join(missing)}")]
    found = [
        new_pair(rows.sample.id, context.step, better, worse, recipe=context.recipe, seed=better.seed)
        for text, better in sides["chosen"].items() for other, worse in sides["rejected"].items() if text != other
    ]  # fmt: skip
    if not found:
        return [no_pair(rows, context, Reason.EQUAL_ANSWERS, "the chosen and the rejected answer are the same text")]
    return over_cap(found, settings.per_prompt, random.Random(digest(settings.seed, rows.sample.id)), context)
