"""Drops samples whose media are outside given bounds: too small, too long, too simple or too complex.

Sizes and lengths are those recorded at ingest; entropy and edges are computed from the pixels; objects are taken from the sample's
facts, writing from a simple statistic. If a model is named, it is asked for the last two instead."""

import asyncio
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field, model_validator

from pipeline.filter.similarity import media_hashes
from pipeline.media import phash, statistics
from schemas import prompts
from schemas.arrow import from_batch
from schemas.conversation import request_about
from schemas.errors import RowError
from schemas.finish import unfinished
from schemas.messages import sample_label
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Reason, Rejection, Sample, media_parts
from schemas.requests import Failure, Generate
from schemas.thinking import without_thinking

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 2


def _ordered(bounds: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = bounds
    if low is None and high is None:
        raise ValueError("both bounds are null; set a lowest or a highest value, like [224, null]")
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lowest value, {low:g}, is above the highest, {high:g}")
    return bounds


Bounds = Annotated[tuple[float | None, float | None], AfterValidator(_ordered)]


class Settings(Base):
    side: Bounds | None = None
    """shorter side of images and videos, in pixels: [224, null] means at least 224"""
    pixels: Bounds | None = None
    """width times height: [null, 2.0e+7] means at most 20 million"""
    aspect: Bounds | None = None
    """longer side divided by shorter side, from 1"""
    seconds: Bounds | None = None
    """length of videos and audio clips; an unknown length is out of bounds"""
    frames: Bounds | None = None
    """number of frames of videos"""
    entropy: Bounds | None = None
    """entropy of the grey values in bits per pixel, 0 (one colour) to 8; of a video, its middle frame"""
    edges: Bounds | None = None
    """share of pixels at strong edges, 0 to 1; of a video, its middle frame"""
    objects: Bounds | None = None
    """number of objects: `objects` in the sample's facts (a list or a number), or the model's count"""
    writing: Bounds | None = None
    """share of the image covered by writing, 0 to 1: from a simple statistic, or the model's estimate"""
    model: str | None = None
    """name of the recipe's model to ask for objects and writing; it sees the sample's media"""
    prompt: str | None = None
    """prompt file that asks for JSON {"objects": 3, "writing": 20}, replacing the one next to this module"""
    max_tokens: int = Field(64, ge=1, le=1_000_000)
    """maximum length of the model's reply, in tokens; a model that thinks needs more"""

    @model_validator(mode="after")
    def _something(self):
        if not any(getattr(self, name) for name in MEASURES):
            raise ValueError(f"set bounds for one of {', '.join(MEASURES)}")
        if self.model and not (self.objects or self.writing):
            raise ValueError(
                "a model is only asked for `objects` and `writing`; set bounds for one of them, or remove `model`"
            )
        return self


class Measure(NamedTuple):
    """A measure: its rejection reason, its name in messages, and the media kinds it applies to."""

    reason: Reason
    name: str
    kinds: tuple[str, ...]


SEEN = ("image", "video")
MEASURES = {
    "side": Measure(Reason.RESOLUTION, "the shorter side in pixels", SEEN),
    "pixels": Measure(Reason.RESOLUTION, "the number of pixels", SEEN),
    "aspect": Measure(Reason.ASPECT, "the aspect ratio", SEEN),
    "seconds": Measure(Reason.DURATION, "the length in seconds", ("video", "audio")),
    "frames": Measure(Reason.DURATION, "the number of frames", ("video",)),
    "entropy": Measure(Reason.COMPLEXITY, "the entropy in bits per pixel", SEEN),
    "edges": Measure(Reason.COMPLEXITY, "the share of pixels at edges", SEEN),
    "objects": Measure(Reason.OBJECTS, "the number of objects", SEEN),
    "writing": Measure(Reason.TEXT_IN_PICTURE, "the share of writing", SEEN),
}
Fault = tuple[Reason, str]


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, "media.txt"),) if settings.model else ()


async def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """Returns a rejection for each sample with a media item or a measure of its own out of bounds, naming the measure and its value.

    A value that cannot be determined is out of bounds: no facts, a model reply that cannot be parsed (quoted in the rejection), an
    undecodable image. Audio clips and texts have no sides and no objects. Memory: the media that are out of bounds."""
    out: list[Rejection] = []
    bad: dict[bytes, Fault] = {}
    for name, fault in _media_faults(tables, settings, context):
        bad.setdefault(bytes.fromhex(name), fault)
    for batch in tables.batches("samples"):
        samples = list(from_batch("samples", batch))
        faults = [next((bad[key] for m in s.media if (key := bytes.fromhex(m)) in bad), None) for s in samples]
        if settings.model:
            left = [i for i, fault in enumerate(faults) if fault is None and _seen(samples[i])]
            for i, fault in zip(left, await _ask_all([samples[i] for i in left], settings, context)):
                faults[i] = fault
        elif settings.objects:
            faults = [fault or _counted(s, settings) for fault, s in zip(faults, samples)]
        for s, fault in zip(samples, faults):
            if fault:
                reason, problem = fault
                detail = f"{sample_label(s)}: {problem}; remove it or widen the bounds"
                out.append(Rejection(s.id, "samples", context.step, reason, detail, s.id))
    return out


def _media_faults(tables: Tables, settings: Settings, context: Context) -> Iterator[tuple[str, Fault]]:
    for batch in tables.batches("media"):
        for row in from_batch("media", batch):
            for name, value in _recorded(row):
                if row.kind in MEASURES[name].kinds and (fault := _fault(name, value, settings)):
                    yield row.id, fault
    wanted = [
        n for n in ("entropy", "edges", "writing") if getattr(settings, n) and not (n == "writing" and settings.model)
    ]
    if not wanted:
        return

    def figures(data: bytes, kind: str, name: str) -> list[float]:
        pictures = list(phash.pictures(data, kind, 3, statistics.EDGE, name))
        grey = statistics.grey(pictures[len(pictures) // 2])
        return [getattr(statistics, n)(grey) for n in wanted]

    for name, _, found in media_hashes.measured(media_hashes.media_of_run(tables), context.media, figures):
        if isinstance(found, RowError):
            yield name, (found.reason, found.detail)
            continue
        for measure, value in zip(wanted, found):
            if fault := _fault(measure, value, settings):
                yield name, fault


def _recorded(row: Media) -> Iterator[tuple[str, float | None]]:
    width, height = row.width, row.height
    if width and height:
        yield "side", min(width, height)
        yield "pixels", width * height
        yield "aspect", max(width, height) / min(width, height)
    yield "seconds", row.seconds
    yield "frames", row.frames


def _fault(name: str, value: float | None, settings: Settings) -> Fault | None:
    """What is wrong with a value; None if it is in bounds or has none."""
    bounds = getattr(settings, name)
    if bounds is None:
        return None
    low, high = (-math.inf if bounds[0] is None else bounds[0]), (math.inf if bounds[1] is None else bounds[1])
    reason, label, _ = MEASURES[name]
    if value is None:
        return reason, f"{label} is unknown"
    if low <= value <= high:
        return None
    return reason, f"{label} is {value:.4g}, {f'below {low:g}' if value < low else f'above {high:g}'}"


def _seen(row: Sample) -> bool:
    return any(p.type in SEEN for p in media_parts(row.prompt))


def _counted(row: Sample, settings: Settings) -> Fault | None:
    if not _seen(row):
        return None
    known = json.loads(row.facts).get("objects") if row.facts else None
    count = len(known) if isinstance(known, list) else known
    return _fault("objects", count if isinstance(count, int | float) else None, settings)


async def _ask_all(samples: list[Sample], settings: Settings, context: Context) -> list[Fault | None]:
    """Each sample's fault by the model's answers, asked in parallel up to the engine's slots."""
    engine = context.engines[settings.model or ""]
    (question,) = prompt_texts(settings)
    slots = asyncio.Semaphore(engine.slots)

    async def ask(row: Sample) -> Fault | None:
        async with slots:
            result = await engine.ask(
                Generate(request_about(row.prompt, question), 1, 0.0, 1.0, settings.max_tokens, 0)
            )
        if isinstance(result, Failure):
            return result.reason, result.detail
        (answer,) = result.answers
        if cut := unfinished(answer, settings.max_tokens):
            return Reason.UNPARSABLE, f"the model's reply is not whole: {cut.detail}: {answer.text}"
        reply = answer.text
        if (found := parse(reply)) is None:
            return Reason.UNPARSABLE, f"cannot parse objects and writing from the model's reply: {reply}"
        return next((f for name, value in found.items() if (f := _fault(name, value, settings))), None)

    return list(await asyncio.gather(*map(ask, samples)))


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` accepts; see `schemas.operator`."""
    return json.dumps({"objects": int(draw * 10), "writing": int(draw * 100)})


def parse(text: str) -> dict[str, float] | None:
    """Objects and share of writing (0..1) from the only JSON object in `text`, without any thinking; None if there is not exactly one, or a value is
    invalid."""
    found = re.findall(r"\{[^{}]*\}", without_thinking(text) or "")
    try:
        reply = json.loads(found[0]) if len(found) == 1 else {}
        objects, writing = float(reply["objects"]), float(reply["writing"]) / 100
    except (ValueError, TypeError, KeyError):
        return None
    return {"objects": objects, "writing": writing} if objects >= 0 and 0 <= writing <= 1 else None
