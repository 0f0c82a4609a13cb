"""URLs as names: what may be said of them, and the filesystem behind those that are no web address."""

import hashlib
import re
from typing import Annotated

import fsspec
from pydantic import AfterValidator
from yarl import URL

WEB = ("http", "https")
OBJECTS = (
    "s3",
    "s3a",
    "gs",
    "gcs",
    "az",
    "abfs",
    "abfss",
    "oci",
    "oss",
    "hf",
    "memory",
)  # no host that a row could choose
_URL = re.compile(r"[A-Za-z][\w+.-]*:(:|//)")
_SIGNATURE = re.compile(  # parts of a query that change with each signature of the same object
    r"x-(amz|goog|oss|obs|cos)-.*|aws.*|googleaccessid|ossaccesskeyid|signature|sig|policy|key-pair-id|expires|"
    r"s[tpervsk]|s(k|r|d|i)[a-z]{1,3}|.*token.*|.*secret.*|.*passw.*|.*auth.*|.*api_?-?key.*|hdnts",
    re.IGNORECASE,
)


def is_url(path: str) -> bool:
    """Whether `path` is a URL and no path of this machine."""
    return ":" in path and _URL.match(path) is not None


def scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def clean(url: str) -> str:
    """The URL as messages, rows and names may hold it: without user, password, query and fragment, which may be secrets."""
    before, _, rest = url.partition("://")
    place = re.split(r"[?#]", rest)[0]
    host, slash, path = place.partition("/")
    return f"{before}://{host.rpartition('@')[2]}{slash}{path}"


def key(url: str) -> bytes:
    """32 bytes naming what the URL points at, the same however it is signed."""
    query = re.split(r"[?#]", url)[1] if "?" in url else ""
    kept = sorted(part for part in query.split("&") if not _SIGNATURE.fullmatch(part.partition("=")[0]))
    return hashlib.sha256("\0".join([clean(url), *kept]).encode(errors="surrogatepass")).digest()


def join(base: str, path: str) -> str:
    """A relative path below the folder `base`, which is a URL. A query of a web address stays, it may sign the path's too."""
    if scheme(base) in WEB:
        found = URL(base)
        return str((found / path.removeprefix("/")).with_query(found.query_string or None))
    return f"{base.rstrip('/')}/{path}"


def parent(url: str) -> str:
    """The folder that the file at `url` lies in, with the query of a web address."""
    if scheme(url) in WEB:
        found = URL(url)
        return str(found.parent.with_query(found.query_string or None))
    return url.rpartition("/")[0]


def filesystem(url: str):
    """(fsspec filesystem, path in it) that sees what other programs write; it raises whatever its backend does."""
    return fsspec.core.url_to_fs(url, use_listings_cache=False)


def _without_password(path: str) -> str:
    if is_url(path) and re.match(r"[^/?#]*@", path.partition("://")[2]):
        raise ValueError(
            "a recipe holds no credentials: leave user and password out of the URL, the environment has them"
        )
    return path


Place = Annotated[str, AfterValidator(_without_password)]
"""A path or URL as a recipe may hold it."""
