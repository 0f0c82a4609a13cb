"""Prompts with corrupted media, for operators that show a model less than the sample's media, or others.

    Settings.media: Spec | None        a kind's name, or its name with its settings
    prompt, made = await corrupted(sample.prompt, settings.media, sample, context)

`made` are the Media of the new prompt, already in the store; the operator returns them before its other rows."""

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from pipeline.corrupt import _files
from pipeline.corrupt._registry import Spec
from pipeline.corrupt.kinds._kind import Kind, seeded_rng
from pipeline.corrupt.kinds.adversarial import Adversarial, perturbed_picture
from pipeline.corrupt.kinds.images import Fade, RegionMask
from pipeline.corrupt.kinds.nothing import Nothing
from pipeline.corrupt.kinds.swap import Swap, pool_of
from pipeline.media.probe import probe_and_store
from schemas.errors import RowError, bad_row
from schemas.messages import media_kinds, sample_label, with_media, without_media
from schemas.operator import Context
from schemas.records import MEDIA_KINDS, Media, Message, Reason, Sample

__all__ = ["Spec", "corrupted_prompt"]

_SPEC: TypeAdapter[Any] = TypeAdapter(Spec)
_THREADS = 4  # a clip may take 500 MB while it is processed


async def corrupted_prompt(
    prompt: tuple[Message, ...], spec: Any, sample: Sample, context: Context
) -> tuple[tuple[Message, ...], list[Media]]:
    """`prompt` with its media corrupted by `spec` (a kind's name, a mapping of its settings, or the typed settings), and the new Media.

    All media that the kind applies to are corrupted, others stay; `none` removes all media. The same sample and seed give the same bytes.
    RowError, with the remedy: UNSUPPORTED_MEDIA if the kind applies to none of the media, UNCHANGED if nothing would change,
    EMPTY_PROMPT if `none` leaves a turn empty, BAD_ROW if a box is missing, and what decoders raise."""
    kind = _SPEC.validate_python(spec)
    if isinstance(kind, Nothing):
        return _text_only(prompt, sample), []
    new, made = await replaced_media(prompt, resolved_kind(kind, sample), sample, context)
    return with_media(prompt, new), made


async def replaced_media(
    prompt: tuple[Message, ...], kind: Kind, sample: Sample, context: Context
) -> tuple[dict[str, str], list[Media]]:
    """{id: id of its replacement} for all media of the prompt that the kind (of `resolved_kind`) applies to, and the new Media.

    RowError as `corrupted` raises it."""
    shown = media_kinds(prompt)
    matching = {sha: medium for sha, medium in shown.items() if medium in _takes(kind)}
    if not matching:
        present = " and ".join(sorted(set(shown.values()))) or "no media"
        detail = f"{sample_label(sample)}: {kind.kind} applies to {' and '.join(_takes(kind))}, the prompt has {present}; use another kind"
        raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
    found = await asyncio.gather(*[_replaced(sha, medium, kind, sample, context) for sha, medium in matching.items()])
    return dict(zip(matching, (new for new, _ in found))), [media for _, media in found if media]


def resolved_kind(kind: Kind, sample: Sample) -> Kind:
    """The kind with the settings it takes from the sample (the box of a `region_mask`). RowError BAD_ROW if the sample has no box."""
    if not isinstance(kind, RegionMask):
        return kind
    return Fade(seed=kind.seed, box=kind.box or _box(sample), levels=kind.levels, level=kind.levels)


def _takes(kind: Kind) -> tuple[str, ...]:
    """The media types that the kind applies to."""
    if isinstance(kind, Adversarial) or (isinstance(kind, Swap) and kind.by == "statistics"):
        return ("image",)
    return MEDIA_KINDS if isinstance(kind, Swap) else _files.supported_media(kind)


async def _replaced(sha: str, medium: str, kind: Kind, sample: Sample, context: Context) -> tuple[str, Media | None]:
    """The id of the replacement of one file, and its Media unless it existed before (`swap`)."""
    if isinstance(kind, Swap):
        return await pool_of(context).instead(sha, medium, kind, sample, context), None
    label = f"{kind.kind} of {sha[:12]}"
    if isinstance(kind, Adversarial):
        made = await _in_thread(
            probe_and_store, await perturbed_picture(sha, kind, sample, context), label, context.media
        )
    else:
        made = await _in_thread(_corrupted_file, sha, medium, kind, sample, context, label)
    return made.id, made


def _corrupted_file(sha: str, medium: str, kind: Kind, sample: Sample, context: Context, label: str) -> Media:
    name = f"{sample_label(sample)}: {medium} {sha[:12]}"
    data = _files.corrupted_file(context.media.read(sha), medium, kind, seeded_rng(kind, sample.id, sha), name)
    return probe_and_store(data, label, context.media)


async def _in_thread(work: Callable[..., Media], *arguments: Any) -> Media:
    """Runs the work on a thread, so that the event loop is not blocked."""
    return await asyncio.get_running_loop().run_in_executor(_threads(), work, *arguments)


@lru_cache(1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="corrupt")


def _box(sample: Sample) -> tuple[float, float, float, float]:
    found = (json.loads(sample.facts) if sample.facts else {}).get("bbox")
    valid = isinstance(found, list) and len(found) == 4 and all(isinstance(n, int | float) for n in found)
    if not valid or not (0 <= found[0] < found[2] and 0 <= found[1] < found[3]):
        detail = (
            f"{sample_label(sample)}: its facts have no valid `bbox` [left, top, right, bottom]; add it, or set `box`"
        )
        raise bad_row(detail)
    return tuple(found)


def _text_only(prompt: tuple[Message, ...], sample: Sample) -> tuple[Message, ...]:
    texts = without_media(prompt)
    if not all(any((p.text or "").strip() for p in m.parts) for m in texts):
        detail = f"{sample_label(sample)}: a turn of its prompt has only media, which `none` removes; add a text"
        raise RowError(Reason.EMPTY_PROMPT, detail)
    return texts
