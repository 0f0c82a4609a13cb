"""Where an answer looks: of the attention that its tokens pay to several pictures, the share of the one that it is asked about
(MIA-DPO, arXiv 2410.17637). Who looks elsewhere describes another picture: the answer is called hallucinated.

Which picture is asked about stands in the facts of what `prompt.compose_media` made. An answer that looks at the right picture
may be wrong still, so of it no more is said than its share."""

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
    """name of the recipe's model whose attention is looked at, on an engine that answers `Attend`: the one that answered"""
    thresholds: dict[int, float] = Field({2: 0.8, 3: 0.7, 4: 0.6, 5: 0.6}, min_length=1)
    """pictures -> a share up to which an answer is called hallucinated; of more pictures than are named the last"""

    @field_validator("thresholds")
    @classmethod
    def _shares(cls, found):
        if any(not 0 <= share <= 1 for share in found.values()):
            raise ValueError("a share is 0 to 1")
        return found


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement]:
    """Of each Candidate its `attention` (0..1), and `hallucination`: -1 where that is at most the threshold; it abstains above.

    A candidate whose role is chosen is what others are held against: 0, unasked. Where facts name no picture: abstain; an answer that
    the engine cannot look at `failed`. RecipeError where the engine looks at none."""
    sample, engine = rows.sample, context.engines[settings.model]
    if "Attend" not in engine.can:
        raise RecipeError(
            f"{context.step}: {engine.identity} does not say where it looks; name a model on the engine hf"
        )
    by = Provenance(engine.identity, context.version)
    target = target_of(sample)
    asked = [c for c in rows.candidates if target is not None and c.role != "chosen"]
    requests = [engine.ask(Attend((*sample.prompt, messages.assistant(c.text)))) for c in asked]
    results = dict(zip([c.id for c in asked], await asyncio.gather(*requests), strict=True))
    out = []
    for c in rows.candidates:
        for axis, (outcome, value, raw) in _told(c, results.get(c.id), target, settings).items():
            out.append(
                judgement(sample.id, context.step, "candidate", (c.id,), axis, Finding(outcome, value, raw=raw), by)
            )
    return out


def target_of(sample: Sample) -> int | None:
    """The place from 0 of the picture that is asked about; None where facts do not say, or the sample shows other pictures."""
    facts = orjson.loads(sample.facts) if sample.facts else {}
    composed = facts.get("composed", {}) if isinstance(facts, dict) else {}
    target = composed.get("target")
    return target - 1 if isinstance(target, int) and composed.get("media") == list(sample.media) else None


def hallucinated(share: float, pictures: int, thresholds: dict[int, float]) -> bool:
    """The published rule: the share of the picture asked about is at most the threshold of so many pictures."""
    return share <= thresholds.get(pictures, thresholds[max(thresholds)])


def _told(c: Candidate, result, target: int | None, settings: Settings) -> dict[str, tuple]:
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
