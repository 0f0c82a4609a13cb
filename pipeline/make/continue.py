"""Answers cut off and continued by a model. Without the media the rest is guessed (MPO's Dropout-NTP: the second half);
far from the question it is often hallucinated (HDPO: the last two sentences are rewritten)."""

import asyncio
import re

from pydantic import Field, model_validator

from pipeline.make._ask import (
    AnswerSettings,
    MediaSettings,
    answer_rows,
    generate_request,
    prompt_with_media,
    rejection_of,
    seed_of,
)
from pipeline.make._ask import fit as fit  # part of this operator
from pipeline.make._ask import fits as fits
from schemas.messages import assistant
from schemas.operator import Context, SampleRows
from schemas.records import SAMPLE_KINDS, Candidate, Media, Reason, Rejection
from schemas.requests import Failure
from schemas.text import sentences

READS = ("candidates",)
LEAVES = ("media", "candidates")
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1
EDITION = 1  # answers that were cut off are rejected

_WORD = re.compile(r"\S+")


class Settings(MediaSettings, AnswerSettings):
    model: str
    """name of the recipe's model that continues the answers"""
    prefix_ratio: float | None = Field(None, gt=0, lt=1)
    """share of an answer's words to keep; 0.5 if neither this nor `drop_sentences` is set"""
    drop_sentences: int | None = Field(None, ge=1, le=10_000)
    """alternative: number of sentences to remove from the end"""

    @model_validator(mode="after")
    def _check_exclusive(self):
        if self.prefix_ratio is not None and self.drop_sentences is not None:
            raise ValueError("set `prefix_ratio` or `drop_sentences`, not both")
        return self


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Candidate | Rejection]:
    """One new Candidate per existing one (its `parent`): the kept part followed by the model's continuation.

    An answer too short to cut is a Rejection TOO_SHORT; a failed request is a Rejection with the failure's reason."""
    sample, engine = rows.sample, context.engines[settings.model]
    prompt, media = await prompt_with_media(sample.prompt, settings, sample, context)
    seed = seed_of(settings.seed, sample.id)
    prefixes = {c.id: prefix(c.text, settings.prefix_ratio, settings.drop_sentences) for c in rows.candidates}
    cut = [c for c in rows.candidates if prefixes[c.id]]
    requests = [generate_request((*prompt, assistant(prefixes[c.id])), settings, seed) for c in cut]
    results = await asyncio.gather(*(engine.ask(request) for request in requests))
    out: list[Media | Candidate | Rejection] = list(media)
    for c in rows.candidates:
        if not prefixes[c.id]:
            detail = f"the answer is too short to cut: nothing would be kept, or nothing removed: {c.text[:100]!r}"
            out.append(rejection_of(c, Reason.TOO_SHORT, detail, context))
    for c, request, result in zip(cut, requests, results, strict=True):
        if isinstance(result, Failure):
            out.append(rejection_of(c, result.reason, result.detail, context))
            continue
        (answer,) = result.answers
        row = {
            "role": settings.role, "model": engine.identity, "settings": context.version, "seed": seed, "parent": c.id,
            "prompt": request.messages,
        }  # fmt: skip
        out += answer_rows(answer, prefixes[c.id], row, sample, settings, context)
    return out


def prefix(text: str, ratio: float | None, dropped: int | None) -> str:
    """The part of an answer that is kept, without trailing white space; empty if nothing would be kept or nothing removed."""
    if dropped is not None:
        found = sentences(text)
        return "".join(found[: max(0, len(found) - dropped)]).rstrip()
    words = list(_WORD.finditer(text))
    kept = int(len(words) * (0.5 if ratio is None else ratio))
    return text[: words[kept - 1].end()] if 0 < kept < len(words) else ""
