"""Combines a sample's image with others, so that its question applies to one of several images.

`sequence`, `grid` and `inset` are MIA-DPO's; `demonstrations` are in-context examples, whose answers SymDPO replaces by meaningless
symbols, so that only a model that looks at the examples can answer. The other images come from other samples of the run."""

import heapq
import json
import random
from collections.abc import Iterable
from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.media import collage
from pipeline.media.decode import decode_image
from pipeline.media.probe import probe_and_store
from schemas.errors import RowError, bad_row
from schemas.messages import assistant, sample_label, user
from schemas.operator import Context, Fitted, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.ports import MediaStore
from schemas.records import Media, Message, Part, Reason, Sample, digest, successor

READS = ("samples",)
LEAVES = ("media", "samples")
MEDIA = ("image",)
SCOPE = "sample"
VERSION = 1

MOST = {"sequence": 5, "grid": 9, "inset": 2, "demonstrations": 9}  # maximum number of images
MEANT = {
    "sequence": "Only picture {number} of {count} is meant.",
    "grid": "Only the picture with the number {number} is meant.",
    "inset": "Only the {which} picture is meant.",
}


class Settings(Base):
    layout: Literal["sequence", "grid", "inset", "demonstrations"]
    """images in sequence, numbered in one image, a small one inside a large one, or answered questions first"""
    pictures: tuple[int, int] | None = None
    """minimum and maximum number of images, the sample's own included; by default [2, 5] for a sequence, [2, 9] for the others"""
    symbols: tuple[str, ...] = ()
    """for demonstrations: symbols that replace the answers, one each; the sample's own answer is then among those replaced"""
    pool: int = Field(2048, ge=2, le=100_000)
    """number of samples, drawn from the run, that the other images come from"""
    side: int = Field(336, ge=64, le=4_096)
    """pixels per side of a grid cell, and of half a side of the large image around an inset"""
    seed: int = 0
    """seed of the images, positions and symbols drawn"""

    @model_validator(mode="after")
    def _possible(self):
        low, high = self.between
        if not 2 <= low <= high <= MOST[self.layout]:
            raise ValueError(f"`pictures` for {self.layout} must be within [2, {MOST[self.layout]}]")
        if self.symbols and self.layout != "demonstrations":
            raise ValueError("`symbols` apply only to `layout: demonstrations`; remove them or change the layout")
        if self.symbols and len(set(self.symbols)) < high:
            raise ValueError(
                f"`symbols` must have at least {high} different entries, since each image may have a different answer; add some"
            )
        return self

    @property
    def between(self) -> tuple[int, int]:
        """Minimum and maximum number of images."""
        return self.pictures or (2, MOST[self.layout])


class Other(NamedTuple):
    """A pool entry: a sample whose image can be combined with others."""

    sample: str
    media: str
    question: str
    answer: str | None


def fit(seen: Iterable[SampleRows], settings: Settings, context: Context) -> Fitted:
    """The pool: `pool` samples with a single image, drawn by the seed, independent of their order."""
    place = lambda other: digest(settings.seed, other.sample)
    others = (o for rows in seen if (o := _other(rows.sample)) and (settings.layout != "demonstrations" or o.answer))
    drawn = heapq.nsmallest(settings.pool, others, key=place)
    return Fitted(digest(*(list(o) for o in drawn)), drawn)


def write(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Sample]:
    """The sample among other images, after the Media made for it; `facts.composed` has layout, target (from 1) and media.

    RowError: BAD_ROW if the prompt has several turns or lacks an answer to replace, NO_MATCH if the pool has too few images or answers."""
    sample = rows.sample
    own = _other(sample)
    if own is None:
        raise bad_row(f"{sample_label(sample)}: its prompt has several turns; compose only single questions")
    rng = random.Random(digest(settings.seed, sample.id))
    count = rng.randint(*settings.between)
    if settings.layout == "demonstrations":
        return [_with_demonstrations(sample, own, count, rng, settings, context)]
    shown = [o.media for o in _drawn(own, count - 1, rng, context.fitted, sample)]
    target = rng.randint(1, count)
    shown.insert(target - 1, own.media)
    made = [] if settings.layout == "sequence" else [_collage(shown, rng, settings, context.media)]
    which = "large" if target == 1 else "small"
    sentence = MEANT[settings.layout].format(number=target, count=count, which=which)
    parts = [Part("image", media=m) for m in ([m.id for m in made] or shown)]
    facts = _facts(sample, layout=settings.layout, target=target, media=shown)
    prompt = (*_system(sample), user(*parts, f"{sentence} {own.question}"))
    return [*made, successor(sample, prompt, context.step, facts=facts)]


def _other(sample: Sample) -> Other | None:
    """The pool entry of a sample; None if it is not a single question about a single image."""
    turns = [m for m in sample.prompt if m.role != "system"]
    if len(turns) != 1 or len(sample.media) != 1:
        return None
    question = "\n".join(p.text for p in turns[0].parts if p.text)
    return Other(sample.id, sample.media[0], question, sample.answer)


def _drawn(own: Other, count: int, rng: random.Random, pool: list[Other], sample: Sample) -> list[Other]:
    """`count` entries of the pool with different images, none of them the sample's."""
    found: dict[str, Other] = {}
    for other in rng.sample(pool, len(pool)):
        if len(found) == count:
            break
        if other.media != own.media:
            found.setdefault(other.media, other)
    if len(found) < count:
        detail = f"{sample_label(sample)}: {count} other images are needed, but only {len(found)} exist; add samples or lower `pictures`"
        raise RowError(Reason.NO_MATCH, detail)
    return list(found.values())


def _with_demonstrations(
    sample: Sample, own: Other, count: int, rng: random.Random, settings: Settings, context: Context
) -> Sample:
    """Questions and answers about other images, then the sample's own question."""
    shown = _drawn(own, count - 1, rng, context.fitted, sample)
    made = {}
    answer_of = lambda other: other.answer
    if settings.symbols:
        if own.answer is None:
            raise bad_row(f"{sample_label(sample)}: it has no answer that a symbol could replace; add one")
        same = [o for o in context.fitted if _plain(o) == _plain(own) and o.media != own.media]
        if not same:
            detail = (
                f"{sample_label(sample)}: no other sample has the answer '{own.answer}'; raise `pool` or remove the row"
            )
            raise RowError(Reason.NO_MATCH, detail)
        if all(_plain(o) != _plain(own) for o in shown):
            shown[rng.randrange(len(shown))] = rng.choice(same)
        answers = list(dict.fromkeys(_plain(o) for o in (*shown, own)))
        symbols = dict(zip(answers, rng.sample(settings.symbols, len(answers))))
        answer_of = lambda other: symbols[_plain(other)]
        made = {"answer": answer_of(own), "reference": None}
    turns = [t for o in shown for t in (user(Part("image", media=o.media), o.question), assistant(answer_of(o)))]
    media = [*(o.media for o in shown), own.media]
    facts = _facts(sample, layout="demonstrations", target=count, media=media, answer=own.answer)
    prompt = (*_system(sample), *turns, user(Part("image", media=own.media), own.question))
    return successor(sample, prompt, context.step, facts=facts, **made)


def _plain(other: Other) -> str:
    return (other.answer or "").strip().casefold()


def _system(sample: Sample) -> list[Message]:
    return [m for m in sample.prompt if m.role == "system"]


def _collage(shown: list[str], rng: random.Random, settings: Settings, store: MediaStore) -> Media:
    pictures = [decode_image(store.read(name), f"image {name}") for name in shown]
    if settings.layout == "grid":
        data = collage.grid(pictures, settings.side)
    else:
        data = collage.inset(*pictures, rng.randrange(4), settings.side)
    return probe_and_store(data, f"{settings.layout} of {', '.join(name[:12] for name in shown)}", store)


def _facts(sample: Sample, **composed) -> str:
    """The sample's facts, which apply to the target, plus how it was composed: the parents' ids and the target's position from 1."""
    known = json.loads(sample.facts) if sample.facts else {}
    return json.dumps(known | {"composed": composed}, sort_keys=True, separators=(",", ":"))
