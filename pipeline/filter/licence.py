"""Drops samples whose licence is refused or not among those allowed.

Names are compared in SPDX form, ignoring case: "CC BY 4.0", "cc-by-4.0" and the licence's URL are equal."""

import re
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import model_validator

from pipeline.dataset.licences import normal
from schemas.messages import sample_label
from schemas.operator import Context, SampleRows
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Reason, Rejection

READS = ("samples",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "sample"
VERSION = 1

UNKNOWN = ("", "unknown", "other", "none", "n-a", "noassertion")


class Settings(Base):
    allow: tuple[str, ...] = ()
    """allowed licences; * is a wildcard: [cc-by-*, cc0-1.0]; all by default"""
    refuse: tuple[str, ...] = ()
    """refused licences, even if allowed above: ["*-nc*", "*-nd*"]"""
    unknown: Literal["refuse", "allow"] = "refuse"
    """what happens to samples without a licence, or with an unspecific one (unknown, other)"""

    @model_validator(mode="after")
    def _something(self):
        if not self.allow and not self.refuse:
            raise ValueError("set `allow` or `refuse` to a list of licences")
        return self


def keep(rows: SampleRows, settings: Settings, context: Context) -> list[Rejection]:
    """Returns a rejection if the sample's licence is not allowed. "A OR B" needs one allowed licence, "A AND B" (or "A, B") all."""
    sample = rows.sample
    text = sample.licence or ""
    if any(all(_allowed(name, settings) for name in together) for together in alternatives(text)):
        return []
    name = f"the licence '{text}' is not allowed" if text else "no licence is stated"
    detail = f"{sample_label(sample)}: {name}; get another licence, or change allow, refuse or unknown"
    return [Rejection(sample.id, "samples", context.step, Reason.LICENCE, detail, sample.id)]


def _allowed(name: str, settings: Settings) -> bool:
    if name in UNKNOWN:
        return settings.unknown == "allow"
    match = lambda patterns: any(fnmatchcase(name, normal(p)) for p in patterns)
    return not match(settings.refuse) and (not settings.allow or match(settings.allow))


def alternatives(text: str) -> list[list[str]]:
    """The alternative licences of an expression ("A OR B"), each a list of licences that apply together ("A AND B")."""
    offers = re.split(r"\s+(?:OR|or(?! later))\s+|\s*\|\s*", text.strip("() "))
    return [
        [normal(part) for part in re.split(r"\s+AND\s+|\s*[,;]\s*(?!\s*[Vv]ersion)|\s+\+\s+", offer)]
        for offer in offers
    ]
