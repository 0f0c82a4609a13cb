"""Media ablation: does a preference need the media? The judge is asked again without the media, or with another sample's media.

If the preference survives, it can be learnt from the text alone. The step's `share` sets the share of samples that are probed."""

import heapq
import inspect
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import model_validator

from annotators.measures.ballots import pair_key
from annotators.measures.preferences import preferences
from annotators.score import refuted_claims
from schemas.axes import BLIND
from schemas.messages import media_kinds, with_media, without_media
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import (
    SAMPLE_KINDS,
    Claim,
    Finding,
    Judgement,
    Outcome,
    Pair,
    Part,
    Provenance,
    Reason,
    Rejection,
    Sample,
    digest,
    judgement,
)
from schemas.text import same_text

READS = ("candidates", "pairs")
LEAVES = ("judgements", "pairs")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 2
BUILDS = {"judge": "judge"}
POOL = 2048  # media of each kind that are drawn from the run as substitutes
UNREAD = (Outcome.FAILED, Outcome.UNPARSABLE, Outcome.REFUSED)


class Settings(Base):
    judge: str | dict[str, Any]
    """the judge whose preferences are probed, with the same settings: {judge.pairwise: {model: large}}"""
    media: Literal["none", "swap"] = "none"
    """what the judge is shown instead: no media, or another sample's media of the same kind"""
    seed: int = 0
    """random seed of the substitutes"""

    @model_validator(mode="after")
    def _asks_a_model(self):
        title = self.judge if isinstance(self.judge, str) else next(iter(self.judge), "")
        if title in ("judge.people", "judge.probe"):
            raise ValueError(f"{title} cannot be probed; name a judge that asks a model, such as judge.pairwise")
        return self


def fits(settings: Settings) -> bool:
    return settings.media == "swap"


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The substitutes: at most POOL media of each kind, drawn by the seed independently of the order of the samples."""
    drawn: dict[str, dict[str, str]] = {}
    for rows in seen:
        for media, kind in media_kinds(rows.sample.prompt).items():
            pool = drawn.setdefault(kind, {})
            pool[digest(settings.seed, media)] = media
            if len(pool) > 2 * POOL:
                drawn[kind] = {place: pool[place] for place in heapq.nsmallest(POOL, pool)}
    pools = {kind: [pool[place] for place in heapq.nsmallest(POOL, pool)] for kind, pool in sorted(drawn.items())}
    return Fitted(digest(pools), pools)


async def judge(rows: SampleRows, settings: Settings, context: Context) -> list[Judgement | Pair | Rejection]:
    """For each live pair of two candidates, a Judgement on the axis `blind`, above 0 if the first one (in the order of their ids) is better.

    If that is a verdict or a tie, a new Pair with `needs_media` set replaces the old one (Rejection `superseded`). Claims are scored as
    by `score.refuted_claims`. A sample without media, or without substitutes, is left unchanged."""
    pairs = [
        p
        for p in rows.pairs
        if p.chosen_id and p.rejected_id and p.rejected is not None and not same_text(p.chosen, p.rejected)
    ]
    blind = _blind(rows.sample, settings, context) if rows.sample.media and pairs else None
    if blind is None:
        return []
    again = SampleRows(blind)
    again.candidates, again.pairs = rows.candidates, pairs
    found = context.built["judge"](again)
    found = await found if inspect.isawaitable(found) else found
    again.claims = [row for row in found if isinstance(row, Claim)]
    again.judgements = [row for row in found if isinstance(row, Judgement)]
    if again.claims:
        again.judgements += refuted_claims.score(again, refuted_claims.Settings(), context)
    values: dict[tuple[str, str], float] = {}
    for found_preference in preferences(again.judgements):
        values[found_preference.pair] = values.get(found_preference.pair, 0.0) + found_preference.value
    out: list[Judgement | Pair | Rejection] = []
    for pair in pairs:
        out += _probed(pair, values, again.judgements, context)
    return out


def _probed(
    pair: Pair, values: dict[tuple[str, str], float], judgements: list[Judgement], context: Context
) -> list[Judgement | Pair | Rejection]:
    """The blind Judgement on a pair; if there is a verdict, also the Pair with `needs_media` and the Rejection of the old one."""
    items = pair_key(pair.chosen_id or "", pair.rejected_id or "")
    value = values.get(items)
    about = [s for s in judgements if s.outcome in UNREAD and (s.target == "claim" or set(s.items) <= set(items))]
    outcome = (
        Outcome.VERDICT if value else Outcome.TIE if value == 0 else about[0].outcome if about else Outcome.ABSTAIN
    )
    made = judgement(
        pair.sample, context.step, "pair", items, BLIND,
        Finding(outcome, value, raw=about[0].raw if about and value is None else None),
        Provenance(next((s.annotator for s in judgements if not s.parents), None), context.version),
    )  # fmt: skip
    if value is None:
        return [made]
    needs = (value if items[0] == pair.chosen_id else -value) <= 0
    detail = f"{context.step} asked again without the media"
    return [
        made,
        Rejection(pair.id, "pairs", context.step, Reason.SUPERSEDED, detail, pair.sample),
        pair._replace(id=digest(pair.id, context.step, needs), step=context.step, needs_media=needs),
    ]


def _blind(sample: Sample, settings: Settings, context: Context) -> Sample | None:
    """The sample without its media or with substitutes, under its own id; None if a kind has no substitute."""
    if settings.media == "none":
        prompt = tuple(m if m.parts else m._replace(parts=(Part("text", ""),)) for m in without_media(sample.prompt))
        return sample._replace(prompt=prompt, media=())  # of its kind still: judges ask in the same words
    new = {}
    for media, kind in media_kinds(sample.prompt).items():
        others = [other for other in context.fitted.get(kind, ()) if other not in sample.media]
        if not others:
            return None
        new[media] = others[int(digest(settings.seed, sample.id, media)[:8], 16) % len(others)]
    return sample._replace(prompt=with_media(sample.prompt, new), media=tuple(new[media] for media in sample.media))
