"""Drops samples whose licence is refused or not among those allowed.

Names are compared in SPDX form, ignoring case: "CC BY 4.0", "cc-by-4.0" and the licence's URL are equal."""

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
_NAMES = (  # common spelling -> SPDX
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
    """allowed licences; * is a wildcard: [cc-by-*, cc0-1.0]; all by default"""
    refuse: tuple[str, ...] = ()
    """refused licences, even if allowed above: ["*-nc*", "*-nd*"]"""
    unknown: Literal["refuse", "allow"] = "refuse"
    """what happens to samples without a licence, or with an unspecific one (unknown, other)"""

    @model_validator(mode="after")
    def _something(self):
        if not self.allow and not self.refuse:
            raise ValueError("set licences to `allow` or to `refuse`")
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


def normal(text: str) -> str:
    """A licence name in SPDX form and lower case; unknown names are only tidied. "" stays ""."""
    name = text.strip("() ").lower()
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
