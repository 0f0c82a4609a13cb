"""Attention of an answer to the image it is asked about: that image's share of the attention its tokens pay to all images
(MIA-DPO, arXiv 2410.17637). An answer that attends to other images is labelled as hallucinated.

The target image is recorded in the facts that `prompt.compose_media` writes. An answer that attends to the right image can still
be wrong, so it gets its share and no verdict."""

import asyncio

import orjson
from pydantic import Field, field_validator

from schemas import messages
from schemas.axes import ATTENTION, HALLUCINATION
from schemas.errors import RecipeError
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import Candidate, Finding, Judgement, Outcome, Provenance, Sample, judgement
from schemas.requests import Attend, Attended, Failure

READS = ("candidates",)
LEAVES = ("judgements",)
MEDIA = ("multi_image",)
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    model: str
    """the recipe's model whose attention is measured, usually the one that answered; its engine must support `Attend` (hf)"""
    thresholds: dict[int, float] = Field({2: 0.8, 3: 0.7, 4: 0.6, 5: 0.6}, min_length=1)
    """number of images -> largest share at which an answer counts as hallucinated; the last one applies to more images"""

    @field_validator("thresholds")
    @classmethod
    def _shares(cls, found):
        if any(not 0 <= share <= 1 for share in found.values()):
            raise ValueError("`thresholds` are shares and must be from 0 to 1")
        return found


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Per Candidate, `attention` (0..1) and `hallucination`: -1 if the share is at most the threshold, else it abstains.

    A candidate with the role chosen is the reference: 0 on `hallucination` without a request. Both axes abstain if the facts name no
    target image, and are `failed` if the engine fails. RecipeError if the engine does not support `Attend`."""
    sample, engine = rows.sample, context.engines[settings.model]
    if "Attend" not in engine.can:
        raise RecipeError(f"{context.step}: {engine.identity} cannot return attention; use a model on the engine hf")
    by = Provenance(engine.identity, context.version)
    target = target_of(sample)
    asked = [c for c in rows.candidates if target is not None and c.role != "chosen"]
    requests = [engine.ask(Attend((*sample.prompt, messages.assistant(c.text)))) for c in asked]
    results = dict(zip([c.id for c in asked], await asyncio.gather(*requests), strict=True))
    out = []
    for c in rows.candidates:
        for axis, (outcome, value, raw) in _findings(c, results.get(c.id), target, settings).items():
            out.append(
                judgement(sample.id, context.step, "candidate", (c.id,), axis, Finding(outcome, value, raw=raw), by)
            )
    return out


def target_of(sample: Sample) -> int | None:
    """The index (from 0) of the target image; None if the facts do not name it or the sample's media are not those of the facts."""
    facts = orjson.loads(sample.facts) if sample.facts else {}
    composed = facts.get("composed", {}) if isinstance(facts, dict) else {}
    target = composed.get("target")
    return target - 1 if isinstance(target, int) and composed.get("media") == list(sample.media) else None


def hallucinated(share: float, pictures: int, thresholds: dict[int, float]) -> bool:
    """MIA-DPO's rule: the target image's share (0..1) is at most the threshold for this number of images."""
    return share <= thresholds.get(pictures, thresholds[max(thresholds)])


def _findings(c: Candidate, result, target: int | None, settings: Settings) -> dict[str, tuple]:
    if target is None:
        nothing = (Outcome.ABSTAIN, None, "the facts name no picture that is asked about")
        return {ATTENTION: nothing, HALLUCINATION: nothing}
    if result is None:
        return {HALLUCINATION: (Outcome.VERDICT, 0.0, None)}
    if isinstance(result, Failure):
        failed = (Outcome.FAILED, None, f"{result.reason}: {result.detail}")
        return {ATTENTION: failed, HALLUCINATION: failed}
    assert isinstance(result, Attended)
    share, raw = result.shares[target], " ".join(f"{s:g}" for s in result.shares)
    found = hallucinated(share, len(result.shares), settings.thresholds)
    called = (Outcome.VERDICT, -1.0, raw) if found else (Outcome.ABSTAIN, None, raw)
    return {ATTENTION: (Outcome.VERDICT, share, raw), HALLUCINATION: called}
