"""A prompt whose media are corrupted, for whoever asks a model about less, or other, than there is.

    Settings.media: Spec | None        a kind's name, or its name with its settings
    prompt, made = await corrupted(sample.prompt, settings.media, sample, context)

`made` are the Media that the new prompt shows, in the store already; they are to be returned behind each other's rows."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from pipeline.corrupt import files
from pipeline.corrupt.base import Kind, drawn
from pipeline.corrupt.images import Fade, RegionMask
from pipeline.corrupt.kinds import Nothing, Spec
from pipeline.media.probe import keep
from schemas.errors import RowError
from schemas.operator import Context
from schemas.records import Media, Message, Reason, Sample

__all__ = ["Spec", "corrupted"]

_READ: TypeAdapter[Any] = TypeAdapter(Spec)
_THREADS = 4  # a clip may take 500 MB while it is worked on


async def corrupted(
    prompt: tuple[Message, ...], spec: Any, sample: Sample, context: Context
) -> tuple[tuple[Message, ...], list[Media]]:
    """`prompt` as `spec` (a kind's name, a mapping of its settings, or the typed settings) has it shown, and the Media that were made for it.

    All media that the kind is for are corrupted, others stay. `none` leaves out all media. The same sample and seed give the same bytes.
    RowError, which names the mend: UNSUPPORTED_MEDIA when the kind is for none of the media, UNCHANGED when nothing would change,
    EMPTY_PROMPT when `none` leaves a turn empty, BAD_ROW when a box is missing, and what decoders raise."""
    kind = _READ.validate_python(spec)
    if isinstance(kind, Nothing):
        return _without_media(prompt, sample), []
    made = await instead(media_of(prompt), kind, sample, context)
    return _showing(prompt, {old: new.id for old, new in made.items()}), list(made.values())


def media_of(prompt: tuple[Message, ...]) -> dict[str, str]:
    """{id: kind} of the media in a prompt, in order; a video whose sound is shown too is a video."""
    parts = [part for message in prompt for part in message.parts if part.media]
    return {p.media: p.type for p in parts} | {p.media: p.type for p in parts if p.type == "video"}


async def instead(shown: dict[str, str], kind: Kind, sample: Sample, context: Context) -> dict[str, Media]:
    """{id: the Media to show instead} of all media that the kind is for, and that `media_of` found. RowError as `corrupted` raises it."""
    settled = settle(kind, sample)
    of = {sha: medium for sha, medium in shown.items() if medium in files.takes(settled)}
    if not of:
        there = " and ".join(sorted(set(shown.values()))) or "no media"
        detail = f"{named(sample)}: {kind.kind} is for {' and '.join(files.takes(settled))}, the prompt shows {there}; use another kind"
        raise RowError(Reason.UNSUPPORTED_MEDIA, detail)
    made = await asyncio.gather(*[one(sha, medium, settled, sample, context) for sha, medium in of.items()])
    return dict(zip(of, made))


def settle(kind: Kind, sample: Sample) -> Kind:
    """The kind with what it takes from the sample. RowError BAD_ROW when the sample has no box."""
    if not isinstance(kind, RegionMask):
        return kind
    return Fade(seed=kind.seed, box=kind.box or _box(sample), levels=kind.levels, level=kind.levels)


async def one(sha: str, medium: str, kind: Kind, sample: Sample, context: Context) -> Media:
    """The corrupted file of one medium, kept. On a thread: the events of the pass go on."""

    def work() -> Media:
        name = f"{named(sample)}: {medium} {sha[:12]}"
        data = files.corrupted(context.media.read(sha), medium, kind, drawn(kind, sample.id, sha), name)
        return keep(data, f"{kind.kind} of {sha[:12]}", context.media)

    return await asyncio.get_running_loop().run_in_executor(_threads(), work)


@lru_cache(1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1), thread_name_prefix="corrupt")


def named(sample: Sample) -> str:
    return sample.source or f"sample {sample.id}"


def _box(sample: Sample) -> tuple[float, float, float, float]:
    found = (json.loads(sample.facts) if sample.facts else {}).get("bbox")
    good = isinstance(found, list) and len(found) == 4 and all(isinstance(n, int | float) for n in found)
    if not good or not (0 <= found[0] < found[2] and 0 <= found[1] < found[3]):
        detail = f"{named(sample)}: its facts have no `bbox` [left, top, right, bottom]; add it, or set `box`"
        raise RowError(Reason.BAD_ROW, detail)
    return tuple(found)


def _showing(prompt: tuple[Message, ...], new: dict[str, str]) -> tuple[Message, ...]:
    return tuple(
        Message(m.role, tuple(p._replace(media=new.get(p.media, p.media)) if p.media else p for p in m.parts))
        for m in prompt
    )


def _without_media(prompt: tuple[Message, ...], sample: Sample) -> tuple[Message, ...]:
    left = tuple(Message(m.role, tuple(p for p in m.parts if not p.media)) for m in prompt)
    if not all(any((p.text or "").strip() for p in m.parts) for m in left):
        detail = f"{named(sample)}: a turn of its prompt has nothing but media, which `none` leaves out; add a text"
        raise RowError(Reason.EMPTY_PROMPT, detail)
    return left
