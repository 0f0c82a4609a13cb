"""Answers cut off and continued: without the media the rest is guessed (Dropout-NTP of MPO: half of it), and far from
the question it is hallucinated (HDPO: the last two sentences, written anew)."""

import asyncio
import re

from pydantic import Field, model_validator

from pipeline.make._ask import MediaSettings, asked, candidates_of, fit, fits, prompt_with_media, rejection_of, seed_of  # noqa: F401  fit and fits are the operator's own
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

_WORD = re.compile(r"\S+")


class Settings(MediaSettings):
    model: str
    """name of the recipe's model that continues"""
    prefix_ratio: float | None = Field(None, gt=0, lt=1)
    """share of an answer's words that stays; 0.5 where neither is said"""
    drop_sentences: int | None = Field(None, ge=1, le=10_000)
    """or how many sentences go at its end"""

    @model_validator(mode="after")
    def _one(self):
        if self.prefix_ratio is not None and self.drop_sentences is not None:
            raise ValueError("say `prefix_ratio` or `drop_sentences`, not both")
        return self


async def make(rows: SampleRows, settings: Settings, context: Context) -> list[Media | Candidate | Rejection]:
    """A Candidate for each there is (its `parent`): what stays of it and what the model writes behind.

    An answer of which nothing would stay or go is a Rejection TOO_SHORT, and one whose request fails says why."""
    sample, engine = rows.sample, context.engines[settings.model]
    prompt, media = await prompt_with_media(sample.prompt, settings, sample, context)
    seed = seed_of(settings.seed, sample.id)
    prefixes = {c.id: prefix(c.text, settings.prefix_ratio, settings.drop_sentences) for c in rows.candidates}
    cut = [c for c in rows.candidates if prefixes[c.id]]
    requests = [asked((*prompt, assistant(prefixes[c.id])), settings, seed) for c in cut]
    results = await asyncio.gather(*(engine.ask(request) for request in requests))
    out: list[Media | Candidate | Rejection] = list(media)
    for c in rows.candidates:
        if not prefixes[c.id]:
            detail = f"nothing of the answer would stay, or nothing would go: {c.text[:100]!r}"
            out.append(rejection_of(c, Reason.TOO_SHORT, detail, context))
    for c, request, result in zip(cut, requests, results, strict=True):
        if isinstance(result, Failure):
            out.append(rejection_of(c, result.reason, result.detail, context))
            continue
        (answer,) = result.answers
        row = {
            "role": settings.role, "model": engine.identity, "settings": context.version, "seed": seed, "parent": c.id,
            "prompt": request.messages, "tokens": answer.tokens, "finish": answer.finish,
        }  # fmt: skip
        out += candidates_of(answer.text, prefixes[c.id], row, sample, context)
    return out


def prefix(text: str, ratio: float | None, dropped: int | None) -> str:
    """What stays of an answer, without white space at its end; empty when nothing would stay or nothing would go."""
    if dropped is not None:
        found = sentences(text)
        return "".join(found[: max(0, len(found) - dropped)]).rstrip()
    words = list(_WORD.finditer(text))
    kept = int(len(words) * (0.5 if ratio is None else ratio))
    return text[: words[kept - 1].end()] if 0 < kept < len(words) else ""
