"""Licences: samples under a licence that is refused, or not among those allowed, are dropped.

Names are compared as SPDX writes them, without case: "CC BY 4.0", "cc-by-4.0" and the licence's address are one."""

import re
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import model_validator

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
_CREATIVE = re.compile(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/([0-9.]+))?")
_NAMES = (  # what people write -> what SPDX writes
    (r"^creative-commons-|^creativecommons-", "cc-"),
    (r"attribution", "by"),
    (r"non-?commercial", "nc"),
    (r"share-?alike", "sa"),
    (r"no-?deriv(ative)?s?(-works?)?", "nd"),
    (r"-(international|unported|generic)$", ""),
    (r"^(cc-?0|cc-zero)(-1\.0)?$", "cc0-1.0"),
    (r"^cc-?(?=by)", "cc-"),
    (r"^(apache)(-software)?-?v?2(\.0)?$", "apache-2.0"),
    (r"^(expat|mit-expat)$", "mit"),
    (r"^(bsd-?3|bsd-3-clause)(-new)?$|^new-bsd$", "bsd-3-clause"),
    (r"^(a?l?gpl)-?v?([0-9])(\.0)?(-only)?$", r"\1-\2.0"),
)


class Settings(Base):
    allow: tuple[str, ...] = ()
    """licences that may stay; * stands for anything: [cc-by-*, cc0-1.0]; all when absent"""
    refuse: tuple[str, ...] = ()
    """licences that may not, whatever is allowed: ["*-nc*", "*-nd*"]"""
    unknown: Literal["refuse", "allow"] = "refuse"
    """what becomes of samples without a licence, or with one that says nothing (unknown, other)"""

    @model_validator(mode="after")
    def _something(self):
        if not self.allow and not self.refuse:
            raise ValueError("say which licences to `allow` or to `refuse`")
        return self


def keep(rows: SampleRows, settings: Settings, context: Context) -> list[Rejection]:
    """A rejection when the sample's licence may not stay. Of "A OR B" one must be allowed, of "A AND B" (or "A, B") all."""
    sample = rows.sample
    said = sample.licence or ""
    if any(all(_fits(one, settings) for one in together) for together in alternatives(said)):
        return []
    name = f"the licence '{said}' is not allowed" if said else "no licence is given"
    detail = f"{sample_label(sample)}: {name}; ask for another one, or change allow, refuse or unknown"
    return [Rejection(sample.id, "samples", context.step, Reason.LICENCE, detail, sample.id)]


def _fits(name: str, settings: Settings) -> bool:
    if name in UNKNOWN:
        return settings.unknown == "allow"
    match = lambda patterns: any(fnmatchcase(name, normal(p)) for p in patterns)
    return not match(settings.refuse) and (not settings.allow or match(settings.allow))


def alternatives(said: str) -> list[list[str]]:
    """The licences that are offered, each a list of those that hold together."""
    offers = re.split(r"\s+(?:OR|or(?! later))\s+|\s*\|\s*", said.strip("() "))
    return [
        [normal(one) for one in re.split(r"\s+AND\s+|\s*[,;]\s*(?!\s*[Vv]ersion)|\s+\+\s+", offer)] for offer in offers
    ]


def normal(said: str) -> str:
    """A licence's name as SPDX writes it, in lower case; what is not known is only tidied."""
    name = said.strip("() ").lower()
    if found := _CREATIVE.search(name):
        kind, parts, version = found.groups()
        if kind == "publicdomain":
            return "cc0-1.0" if parts == "zero" else "public-domain"
        return f"cc-{parts}" + (f"-{version}" if version else "")
    name = re.sub(r"\s*\([^)]*\)?$", "", name)
    name = re.sub(r"\b(the|licen[cs]ed?|version|v(?=\d)|under)\b", " ", name)
    name = re.sub(r"-v(?=\d)", "-", re.sub(r"[\s_/(),]+", "-", name)).strip("-.")
    for pattern, spdx in _NAMES:
        name = re.sub(pattern, spdx, name)
    return re.sub(r"-+", "-", name).strip("-")
