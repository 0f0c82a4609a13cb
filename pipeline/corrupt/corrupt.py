"""Corrupted media: shown instead of the sample's own, or stored in its pairs as rejected media (mDPO, CHiP, LPOI).

Stored media are a visual negative: the same question and answer, next to media that do not support the answer."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.corrupt import _apply
from pipeline.corrupt._registry import Spec
from pipeline.corrupt.kinds import swap
from pipeline.corrupt.kinds._kind import Kind
from pipeline.corrupt.kinds.images import RegionMask
from pipeline.corrupt.kinds.nothing import Nothing
from pipeline.corrupt.kinds.swap import Swap
from schemas.errors import RowError
from schemas.messages import sample_label
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import Media, Pair, Reason, Rejection, Sample, digest, successor

READS = ("samples",)
LEAVES = ("media", "samples", "pairs")
MEDIA = ("image", "multi_image", "video", "audio")
SCOPE = "sample"
VERSION = 1


class Settings(Base):
    kind: Spec
    """kind of corruption; its own settings are written next to it: {kind: diffusion, t: 800}"""
    as_: Literal["rejected_media"] | None = Field(None, alias="as")
    """store the corrupted media in the live pairs; without it, later steps see the sample with the corrupted media"""

    @model_validator(mode="before")
    @classmethod
    def _nest_kind(cls, given: Any) -> Any:
        """Moves the kind's own settings, which a recipe writes next to its name, into one mapping."""
        if not isinstance(given.get("kind"), str):
            return given
        own = {key: value for key, value in given.items() if key != "as"}
        return {"kind": own} | {key: value for key, value in given.items() if key == "as"}

    @model_validator(mode="after")
    def _check_levels(self):
        if isinstance(self.kind, RegionMask) and self.kind.levels > 1 and self.as_ is None:
            raise ValueError("`levels` above 1 fill the `media_list` of pairs; set `as: rejected_media` too")
        return self

    @property
    def model(self) -> str | None:
        """Name of the recipe's model that the kind uses, or None."""
        return getattr(self.kind, "model", None)


def reads(settings: Settings) -> tuple[str, ...]:
    """Tables that these settings read besides READS."""
    return ("pairs",) if settings.as_ else ()


def fits(settings: Settings) -> bool:
    """Whether the step must see all samples before the first one: only `swap` does."""
    return isinstance(settings.kind, Swap)


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The pool of media that `swap` chooses from."""
    return swap.fit(seen, settings.kind, context)


async def corrupt(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Sample | Pair | Rejection]:
    """The new Media and the Sample with them, whose `facts.corrupted` names the kind and the original media; with `as: rejected_media`
    instead a Pair that supersedes each live one (`pair_kind` is `media` if both answers are the same or there is only one, else `mixed`).

    RowError as `_apply.corrupted` raises it."""
    if settings.as_ is None:
        return await _corrupted_sample(rows.sample, settings.kind, context)
    return await _corrupted_pairs(rows, settings.kind, context) if rows.pairs else []


async def _corrupted_sample(sample: Sample, kind: Kind, context: Context) -> list[Media | Sample | Pair | Rejection]:
    prompt, made = await _apply.corrupted_prompt(sample.prompt, kind, sample, context)
    known = json.loads(sample.facts) if sample.facts else {}
    how = known | {"corrupted": {"op": kind.model_dump(mode="json"), "media": list(sample.media)}}
    facts = json.dumps(how, sort_keys=True, separators=(",", ":"))
    return [*made, successor(sample, prompt, context.step, facts=facts)]


async def _corrupted_pairs(rows: SampleRows, kind: Kind, context: Context) -> list[Media | Sample | Pair | Rejection]:
    sample = rows.sample
    made: list[Media] = []
    ranked = None
    if isinstance(kind, Nothing):
        ids = ()
    elif isinstance(kind, RegionMask) and kind.levels > 1:
        ranked, made = await _faded(sample, kind, context)
        ids = ranked[-1:]
    else:
        new, made = await _apply.replaced_media(sample.prompt, _apply.resolved_kind(kind, sample), sample, context)
        ids = tuple(new.get(media, media) for media in sample.media)
    op = json.dumps(kind.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    out: list[Media | Sample | Pair | Rejection] = [*made]
    for old in rows.pairs:
        detail = f"replaced by a pair with the corrupted media of {context.step}"
        out.append(Rejection(old.id, "pairs", context.step, Reason.SUPERSEDED, detail, sample.id))
        same = old.rejected is None or old.rejected == old.chosen
        out.append(old._replace(
            id=digest(old.id, context.step, ids, op), step=context.step, rejected_media=ids, media_op=op, media_list=ranked,
            pair_kind="media" if same else "mixed",
        ))  # fmt: skip
    return out


async def _faded(sample: Sample, kind: RegionMask, context: Context) -> tuple[tuple[str, ...], list[Media]]:
    """The ids of the sample's image and of its copies whose box fades step by step, and the new Media."""
    if len(sample.media) != 1:
        detail = f"{sample_label(sample)}: `levels` above 1 need one image, the prompt has {len(sample.media)}; use `levels: 1`"
        raise RowError(Reason.TOO_MANY_MEDIA, detail)
    ids, made = [*sample.media], []
    for level in range(1, kind.levels + 1):
        fade = _apply.resolved_kind(kind, sample).model_copy(update={"level": level})
        new, media = await _apply.replaced_media(sample.prompt, fade, sample, context)
        ids.append(new[sample.media[0]])
        made += media
    return tuple(ids), made
