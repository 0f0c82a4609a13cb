"""Licence names: one spelling for the filter, and the names by which the Hugging Face Hub knows them, for the dataset card."""

import re
from collections.abc import Mapping

from schemas.markdown import line

HUB = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda",
    "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0",
    "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
    "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research",
    "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0", "openmdw-1.1",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr", "deepfloyd-if-license",
    "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "grok2-community", "gemma",
    "unknown", "other",
))  # fmt: skip
"""The values of `license` that the Hub's /api/validate-yaml accepts (2026-05, as quoted in huggingface_hub issue 4218 and hub-docs,
repositories-licenses). Its list grows; the client ships no copy. A name that is missing here is written as `other`, with its text."""

NOT_STATED = "not stated"
LISTED = 5  # licences named in `license_name`; the card lists more

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
_PAGES = (  # address of a licence's own page -> its name
    (r"opensource\.org/licenses?/([\w.+-]+)", r"\1"),
    (r"spdx\.org/licenses/([\w.+-]+?)(?:\.html|\.json)?", r"\1"),
    (r"choosealicense\.com/licenses/([\w.+-]+)", r"\1"),
    (r"gnu\.org/licenses/(?:old-licenses/)?([\w.+-]+?)(?:\.[a-z]{2})?(?:\.html|\.txt)?", r"\1"),
    (r"apache\.org/licenses/license-2\.0(?:\.txt|\.html)?", "apache-2.0"),
    (r"cdla\.(?:dev|io)/(sharing|permissive)-(\d)-(\d)", r"cdla-\1-\2.\3"),
    (r"mozilla\.org/(?:[\w-]+/)?mpl/2\.0", "mpl-2.0"),
    (r"eclipse\.org/(?:org/documents|legal)/epl-?(?:v|v-)?(\d)\.?0(?:/epl-.*|\.html|\.php)?", r"epl-\1.0"),
    (r"opendatacommons\.org/licenses/by(?:/.*)?", "odc-by"),
    (r"opendatacommons\.org/licenses/(odbl|pddl)(?:/.*)?", r"\1"),
    (r"unlicense\.org", "unlicense"),
    (r"ai\.google\.dev/gemma/terms", "gemma"),
)
_SAME = {  # key of another name -> the Hub's name; see `_key`
    "expat": "mit", "zlib-libpng": "zlib", "boost-1.0": "bsl-1.0", "bsl": "bsl-1.0",
    "boost-software-1.0": "bsl-1.0", "simplified-bsd": "bsd-2-clause", "freebsd": "bsd-2-clause", "bsd-2": "bsd-2-clause",
    "bsd-2-clause-simplified": "bsd-2-clause", "bsd-3-clause-new-or-revised": "bsd-3-clause", "modified-bsd": "bsd-3-clause",
    "revised-bsd": "bsd-3-clause", "creative-commons": "cc", "creativecommons": "cc", "creative-commons-zero-1.0-universal": "cc0-1.0",
    "creative-commons-zero": "cc0-1.0", "cc0-1.0-universal": "cc0-1.0", "cc-zero-1.0": "cc0-1.0", "cc0-universal": "cc0-1.0",
    "community-data-agreement-sharing-1.0": "cdla-sharing-1.0", "community-data-agreement-permissive-1.0": "cdla-permissive-1.0",
    "community-data-agreement-permissive-2.0": "cdla-permissive-2.0", "computational-use-of-data-agreement": "c-uda", "c-uda-1.0": "c-uda",
    "academic-free-3.0": "afl-3.0", "artistic-2": "artistic-2.0", "educational-community-2.0": "ecl-2.0", "eclipse-public-1.0": "epl-1.0",
    "eclipse-public-2.0": "epl-2.0", "epl-1": "epl-1.0", "epl-2": "epl-2.0", "epl-10": "epl-1.0", "epl-20": "epl-2.0",
    "etalab-open-2.0": "etalab-2.0", "european-union-public-1.1": "eupl-1.1", "european-union-public-1.2": "eupl-1.2",
    "affero-general-public-3.0": "agpl-3.0", "affero-general-public-3": "agpl-3.0", "general-public-2.0": "gpl-2.0", "general-public-2": "gpl-2.0",
    "general-public-3.0": "gpl-3.0", "general-public-3": "gpl-3.0", "general-public": "gpl", "lesser-general-public": "lgpl",
    "lesser-general-public-2.1": "lgpl-2.1", "lesser-general-public-3.0": "lgpl-3.0", "lesser-general-public-3": "lgpl-3.0",
    "free-documentation": "gfdl", "fdl": "gfdl", "fdl-1.3": "gfdl", "fdl-1.2": "gfdl", "gfdl-1.3": "gfdl", "gfdl-1.2": "gfdl", "gfdl-1.1": "gfdl",
    "latex-project-public-1.3c": "lppl-1.3c", "microsoft-public": "ms-pl", "mozilla-public-2.0": "mpl-2.0", "mozilla-public-2": "mpl-2.0",
    "mpl-2": "mpl-2.0", "mpl2": "mpl-2.0", "open-data-commons-attribution": "odc-by", "open-data-commons-attribution-1.0": "odc-by",
    "odc-by-1.0": "odc-by", "open-data-commons-by": "odc-by", "odc-attribution": "odc-by", "open-database": "odbl", "odbl-1.0": "odbl",
    "odc-odbl": "odbl", "open-data-commons-open-database": "odbl", "open-data-commons-open-database-1.0": "odbl",
    "open-data-commons-public-domain-dedication-and": "pddl", "pddl-1.0": "pddl", "odc-pddl": "pddl", "open-software-3.0": "osl-3.0",
    "sil-open-font-1.1": "ofl-1.1", "sil-ofl-1.1": "ofl-1.1", "university-of-illinois-ncsa-open-source": "ncsa", "uiuc": "ncsa",
    "unlicence": "unlicense", "do-what-the-f-ck-you-want-to-public": "wtfpl", "do-what-the-fuck-you-want-to-public": "wtfpl",
    "bigscience-bloom-rail": "bigscience-bloom-rail-1.0", "bigcode-openrail-m-1": "bigcode-openrail-m", "bigcode-open-rail-m-1": "bigcode-openrail-m",
    "bigcode-open-rail-m": "bigcode-openrail-m", "creativeml-open-rail-m": "creativeml-openrail-m", "open-rail-m": "openrail++",
    "open-rail++-m": "openrail++", "open-rail": "openrail", "lesser-general-public-for-linguistic-resources": "lgpl-lr", "lgpllr": "lgpl-lr",
    "deepfloyd-if": "deepfloyd-if-license", "deepfloyd-if-research-agreement": "deepfloyd-if-license", "fair-noncommercial-research":
    "fair-noncommercial-research-license", "gemma-terms-of-use": "gemma", "open-model-data-weights-1.0": "openmdw-1.0",
    "open-model-data-weights-1.1": "openmdw-1.1", "apple-sample-code": "apple-ascl", "apple-model-for-research": "apple-amlr",
    "intel-research-use-agreement": "intel-research", "intel-research-use": "intel-research", "grok-2-community": "grok2-community",
}  # fmt: skip
_CC = {"by": "by", "attribution": "by", "nc": "nc", "noncommercial": "nc", "sa": "sa", "sharealike": "sa", "nd": "nd"}
_CC_ORDER = ("by", "nc", "sa", "nd")
_FILLER = {"cc", "international", "intl", "int", "unported", "generic", "deed", "public"}


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


def hub_name(text: str) -> str | None:
    """The Hub's name for the licence that `text` states; None if the Hub has none.

    Recognised are the Hub's own names, SPDX identifiers (also with -only, -or-later and +: the Hub has one name for both), full names as people
    write them, and the addresses of the licences' own pages. Without its version a licence is only given a name if the Hub has a family
    of that name and nothing else is stated: `CC BY-NC` is neither `cc` nor `cc-by-nc-4.0`."""
    plain = text.strip().strip("\"'").lower()
    if plain in HUB or "\n" in plain:
        return plain if plain in HUB else None
    if "://" in plain or re.match(r"[\w-]+\.[\w.-]+/", plain):
        return _of_page(plain)
    for name in (normal(plain), _key(plain)):
        name = re.sub(r"(?<=\d)(?:-only|-or-later|-or-newer|\+)$", "", name)
        for form in (_SAME.get(name, name), _creative_commons(name), _gnu(name), _llama(name)):
            if form in HUB:
                return form
    return None


def front_matter(stated: Mapping[str, int]) -> dict[str, str]:
    """The licence fields of a card whose rows state these texts, with the number of rows of each.

    One licence that the Hub has a name for: `license`. Otherwise `other`, with the names in `license_name`, the most frequent first; and
    `license_link` if they are a single address. Several licences are `other`, too: each name of a list would be taken for a licence of all
    rows. Rows that state none count as `not stated`."""
    words: dict[str, str] = {}
    for text in sorted(stated, key=lambda text: -stated[text]):
        name = hub_name(text)
        words.setdefault(name or text, name or line(text) or NOT_STATED)
    names = list(dict.fromkeys(words.values())) or [NOT_STATED]
    if len(names) == 1 and names[0] in HUB:
        return {"license": names[0]}
    link = {"license_link": names[0]} if len(names) == 1 and re.fullmatch(r"https?://[^\s\"'<>`]+", names[0]) else {}
    listed = [*names[:LISTED], *([f"{len(names) - LISTED} more"] if len(names) > LISTED else ())]
    return {"license": "other", "license_name": line(", ".join(listed)), **link}


def _key(text: str) -> str:
    """A name in lower case, without punctuation and filler words."""
    name = re.sub(r"\([^)]*\)\s*$", " ", text)
    name = re.sub(r"\b(?:(?:the|a|gnu|licen[cs]e[ds]?|version|under|family)\b|v(?=\d))", " ", name)
    return re.sub(r"[^a-z0-9.+]+", "-", name).strip("-.")


def _creative_commons(name: str) -> str:
    """A Creative Commons licence from its parts in any order and spelling, or "" if a part is unknown or there is no version."""
    name = re.sub(r"^(?:creative-?commons|ccpl?|cc)(?=-|by|$)", "cc-", name)
    name = re.sub(r"non-commercial", "noncommercial", re.sub(r"share-alike", "sharealike", name))
    name = re.sub(r"no-?deriv(?:ative)?s?(?:-works?)?", "nd", name)
    words = re.findall(r"[a-z]+|\d+(?:\.\d+)?|[^a-z\d.-]+", name)
    versions = [word for word in words if word[0].isdigit()]
    parts = {_CC.get(word) for word in words if not word[0].isdigit() and word not in _FILLER}
    if "by" not in parts or None in parts or len(versions) != 1:
        return ""
    version = versions[0] if "." in versions[0] else f"{versions[0]}.0"
    return "-".join(("cc", *(part for part in _CC_ORDER if part in parts), version))


def _gnu(name: str) -> str:
    found = re.fullmatch(r"(?:gnu-)?(a|l)?gpl-?v?(\d)(?:\.(\d))?", name)
    return f"{found[1] or ''}gpl-{found[2]}.{found[3] or 0}" if found else ""


def _llama(name: str) -> str:
    found = re.fullmatch(r"(?:meta-)?llama-?([\d.]+)(?:-community)?(?:-agreement)?", name)
    return f"llama{found[1]}" if found else ""


def _of_page(address: str) -> str | None:
    """The Hub's name of the licence whose page is at an address."""
    if _CREATIVE.search(address):
        name = normal(address)
        return name if name in HUB else None
    page = re.sub(r"^[a-z]+://(?:www\.)?|[?#].*$", "", address).rstrip("/")
    for pattern, name in _PAGES:
        if found := re.fullmatch(pattern, page):
            return hub_name(found.expand(name))
    return None
