"""Media made worse: shown instead of the sample's own, or stored behind the rejected answer of its pairs (mDPO, CHiP, LPOI).

What is stored is a visual negative: the same question, answered about media that do not bear the answer out."""

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
    """what is done to the media, by name; the kind's own settings stand beside it: {kind: diffusion, t: 800}"""
    as_: Literal["rejected_media"] | None = Field(None, alias="as")
    """store what was made behind the rejected answers of the live pairs; without it the sample itself shows it from now on"""

    @model_validator(mode="before")
    @classmethod
    def _beside(cls, given: Any) -> Any:
        """The settings of the kind, which a recipe has beside its name, are put into one."""
        if not isinstance(given.get("kind"), str):
            return given
        own = {key: value for key, value in given.items() if key != "as"}
        return {"kind": own} | {key: value for key, value in given.items() if key == "as"}

    @model_validator(mode="after")
    def _listed(self):
        if isinstance(self.kind, RegionMask) and self.kind.levels > 1 and self.as_ is None:
            raise ValueError("`levels` fill the `media_list` of pairs; say `as: rejected_media` too")
        return self

    @property
    def model(self) -> str | None:
        """The recipe's model that the kind asks."""
        return getattr(self.kind, "model", None)


def reads(settings: Settings) -> tuple[str, ...]:
    return ("pairs",) if settings.as_ else ()


def fits(settings: Settings) -> bool:
    return isinstance(settings.kind, Swap)


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The pool that `swap` takes from."""
    return swap.fit(seen, settings.kind, context)


async def corrupt(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Sample | Pair | Rejection]:
    """The Media that were made, and the Sample that shows them, whose `facts.corrupted` names the kind and the media it stands for; or, `as`
    rejected_media, a Pair instead of each live one. Its `pair_kind` is `media` where both answers are the same (or there is one), else `mixed`.

    RowError as `shown.corrupted` raises it."""
    if settings.as_ is None:
        return await _shown(rows.sample, settings.kind, context)
    return await _stored(rows, settings.kind, context) if rows.pairs else []


async def _shown(sample: Sample, kind: Kind, context: Context) -> list[Media | Sample | Pair | Rejection]:
    prompt, made = await _apply.corrupted(sample.prompt, kind, sample, context)
    known = json.loads(sample.facts) if sample.facts else {}
    how = known | {"corrupted": {"op": kind.model_dump(mode="json"), "media": list(sample.media)}}
    facts = json.dumps(how, sort_keys=True, separators=(",", ":"))
    return [*made, successor(sample, prompt, context.step, facts=facts)]


async def _stored(rows: SampleRows, kind: Kind, context: Context) -> list[Media | Sample | Pair | Rejection]:
    sample = rows.sample
    made: list[Media] = []
    ranked = None
    if isinstance(kind, Nothing):
        ids = ()
    elif isinstance(kind, RegionMask) and kind.levels > 1:
        ranked, made = await _ranked(sample, kind, context)
        ids = ranked[-1:]
    else:
        new, made = await _apply.replaced_media(sample.prompt, _apply.resolved_kind(kind, sample), sample, context)
        ids = tuple(new.get(media, media) for media in sample.media)
    op = json.dumps(kind.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    out: list[Media | Sample | Pair | Rejection] = [*made]
    for old in rows.pairs:
        detail = f"{context.step} stored corrupted media with it"
        out.append(Rejection(old.id, "pairs", context.step, Reason.SUPERSEDED, detail, sample.id))
        same = old.rejected is None or old.rejected == old.chosen
        out.append(old._replace(
            id=digest(old.id, context.step, ids, op), step=context.step, rejected_media=ids, media_op=op, media_list=ranked,
            pair_kind="media" if same else "mixed",
        ))  # fmt: skip
    return out


async def _ranked(sample: Sample, kind: RegionMask, context: Context) -> tuple[tuple[str, ...], list[Media]]:
    """The sample's picture and the same with its box ever fainter, in order, and the Media that were made."""
    if len(sample.media) != 1:
        detail = (
            f"{sample_label(sample)}: `levels` rank one picture, the prompt shows {len(sample.media)}; use `levels: 1`"
        )
        raise RowError(Reason.TOO_MANY_MEDIA, detail)
    ids, made = [*sample.media], []
    for level in range(1, kind.levels + 1):
        fade = _apply.resolved_kind(kind, sample).model_copy(update={"level": level})
        new, media = await _apply.replaced_media(sample.prompt, fade, sample, context)
        ids.append(new[sample.media[0]])
        made += media
    return tuple(ids), made
