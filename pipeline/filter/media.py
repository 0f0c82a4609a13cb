"""Media that are too small, too long, too empty or too full: samples are kept whose media lie within bounds.

Sizes and lengths are those that were found when the media came in; entropy and edges are measured on the pixels; objects come
from what is known of the sample, writing from a plain statistic. A model that is named is asked for the last two instead."""

import asyncio
import json
import math
import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, model_validator

from pipeline.filter.similarity import media_hashes
from pipeline.media import phash, statistics
from schemas import prompts
from schemas.arrow import from_batch
from schemas.errors import RowError
from schemas.messages import ask_about, sample_label
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Media, Reason, Rejection, Sample, media_parts
from schemas.requests import Failure, Generate

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1


def _ordered(bounds: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = bounds
    if low is None and high is None:
        raise ValueError("give a lowest or a highest value, like [224, null]")
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lowest value, {low:g}, is above the highest, {high:g}")
    return bounds


Bounds = Annotated[tuple[float | None, float | None], AfterValidator(_ordered)]


class Settings(Base):
    side: Bounds | None = None
    """shorter side of images and videos in pixels: [224, null] is at least 224"""
    pixels: Bounds | None = None
    """width times height: [null, 2.0e+7] is at most 20 million"""
    aspect: Bounds | None = None
    """longer side by shorter side, from 1"""
    seconds: Bounds | None = None
    """length of videos and sounds; one whose length is not known is out of any bounds"""
    frames: Bounds | None = None
    """frames of videos"""
    entropy: Bounds | None = None
    """bits a pixel of the grey values, 0 (one colour) to 8; of a video its middle frame"""
    edges: Bounds | None = None
    """share of the pixels, 0 to 1, at strong edges; of a video its middle frame"""
    objects: Bounds | None = None
    """number of objects: what the sample's facts hold as `objects` (a list or a number), or what the model counts"""
    writing: Bounds | None = None
    """share of the picture, 0 to 1, that is writing: by a plain statistic, or as the model says"""
    model: str | None = None
    """name of the recipe's model that is asked for objects and writing; it is shown the sample's media"""
    prompt: str | None = None
    """file that asks it for JSON {"objects": 3, "writing": 20}, instead of the one beside this module"""

    @model_validator(mode="after")
    def _something(self):
        if not any(getattr(self, name) for name in MEASURES):
            raise ValueError(f"give bounds for one of {', '.join(MEASURES)}")
        if self.model and not (self.objects or self.writing):
            raise ValueError("a model is asked for `objects` and `writing` only: give bounds for one of them")
        return self


class Measure(NamedTuple):
    """What is said of one figure when it is out of bounds."""

    reason: Reason
    name: str
    kinds: tuple[str, ...]


SEEN = ("image", "video")
MEASURES = {
    "side": Measure(Reason.RESOLUTION, "the shorter side in pixels", SEEN),
    "pixels": Measure(Reason.RESOLUTION, "the number of pixels", SEEN),
    "aspect": Measure(Reason.ASPECT, "longer by shorter side", SEEN),
    "seconds": Measure(Reason.DURATION, "the length in seconds", ("video", "audio")),
    "frames": Measure(Reason.DURATION, "the number of frames", ("video",)),
    "entropy": Measure(Reason.COMPLEXITY, "the entropy in bits a pixel", SEEN),
    "edges": Measure(Reason.COMPLEXITY, "the share of pixels at edges", SEEN),
    "objects": Measure(Reason.OBJECTS, "the number of objects", SEEN),
    "writing": Measure(Reason.TEXT_IN_PICTURE, "the share of writing", SEEN),
}
Fault = tuple[Reason, str]


def prompt_texts(settings: Settings) -> tuple[str, ...]:
    return (prompts.read(settings.prompt, __file__, "media.txt"),) if settings.model else ()


async def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """A rejection for each sample of which a medium, or which itself, is out of bounds, naming the figure.

    A sample is out of bounds too when its figure cannot be known: no facts, a model's words that cannot be read (kept in the
    rejection), a picture that does not decode. Sounds and texts have no sides and no objects. Held are the media that are out."""
    out: list[Rejection] = []
    bad: dict[bytes, Fault] = {}
    for name, fault in _media_faults(tables, settings, context):
        bad.setdefault(bytes.fromhex(name), fault)
    for batch in tables.batches("samples"):
        samples = list(from_batch("samples", batch))
        faults = [next((bad[key] for m in s.media if (key := bytes.fromhex(m)) in bad), None) for s in samples]
        if settings.model:
            left = [i for i, fault in enumerate(faults) if fault is None and _seen(samples[i])]
            for i, fault in zip(left, await _asked([samples[i] for i in left], settings, context)):
                faults[i] = fault
        elif settings.objects:
            faults = [fault or _counted(s, settings) for fault, s in zip(faults, samples)]
        for s, fault in zip(samples, faults):
            if fault:
                reason, said = fault
                detail = f"{sample_label(s)}: {said}; drop it or widen the bounds"
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

    for name, _, found in media_hashes.measured(media_hashes.listed(tables), context.media, figures):
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
    """What is wrong with a figure: nothing when no bounds are given for it or it lies within."""
    bounds = getattr(settings, name)
    if bounds is None:
        return None
    low, high = (-math.inf if bounds[0] is None else bounds[0]), (math.inf if bounds[1] is None else bounds[1])
    reason, said, _ = MEASURES[name]
    if value is None:
        return reason, f"{said} is not known"
    if low <= value <= high:
        return None
    return reason, f"{said} is {value:.4g}, {f'below {low:g}' if value < low else f'above {high:g}'}"


def _seen(row: Sample) -> bool:
    return any(p.type in SEEN for p in media_parts(row.prompt))


def _counted(row: Sample, settings: Settings) -> Fault | None:
    if not _seen(row):
        return None
    known = json.loads(row.facts).get("objects") if row.facts else None
    count = len(known) if isinstance(known, list) else known
    return _fault("objects", count if isinstance(count, int | float) else None, settings)


async def _asked(samples: list[Sample], settings: Settings, context: Context) -> list[Fault | None]:
    """What the model finds wrong with each sample, as many at once as it has slots."""
    engine = context.engines[settings.model or ""]
    (question,) = prompt_texts(settings)
    slots = asyncio.Semaphore(engine.slots)

    async def one(row: Sample) -> Fault | None:
        async with slots:
            result = await engine.ask(Generate(ask_about(row.prompt, question), 1, 0.0, 1.0, 64, 0))
        if isinstance(result, Failure):
            return result.reason, result.detail
        said = result.answers[0].text
        if (found := parse(said)) is None:
            return Reason.UNPARSABLE, f"the model's figures cannot be read in: {said}"
        return next((f for name, value in found.items() if (f := _fault(name, value, settings))), None)

    return list(await asyncio.gather(*map(one, samples)))


def example(asked: str, settings: Settings, text: str, draw: float) -> str:
    """A reply that `parse` reads; see `schemas.operator`."""
    return json.dumps({"objects": int(draw * 10), "writing": int(draw * 100)})


def parse(text: str) -> dict[str, float] | None:
    """Objects and the share of writing (0..1) from the one JSON object in `text`; None when there is none, or no such numbers."""
    found = re.findall(r"\{[^{}]*\}", text)
    try:
        said = json.loads(found[0]) if len(found) == 1 else {}
        objects, writing = float(said["objects"]), float(said["writing"]) / 100
    except (ValueError, TypeError, KeyError):
        return None
    return {"objects": objects, "writing": writing} if objects >= 0 and 0 <= writing <= 1 else None
