"""URLs: their public form, keys, joining, the fsspec filesystem behind them, and environment variables in paths."""

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator
from yarl import URL

from schemas import redact
from schemas.errors import InputError

WEB = ("http", "https")
ObjectStore = Literal[
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
]  # schemes without a host that a row could choose
OBJECTS: tuple[ObjectStore, ...] = get_args(ObjectStore)
_URL = re.compile(r"[A-Za-z][\w+.-]*:(:|//)")


def is_url(path: str) -> bool:
    """Whether `path` is a URL, not a local path."""
    return ":" in path and _URL.match(path) is not None


def scheme(url: str) -> str:
    """The scheme in lower case."""
    return url.partition(":")[0].lower()


def clean(url: str) -> str:
    """The URL for messages, rows and names: without user, password, query and fragment, which may be secrets."""
    return redact.clean(redact.bare_url(url))


def key(url: str) -> bytes:
    """A 32-byte key of the URL's target, independent of how it is signed."""
    query = re.split(r"[?#]", url)[1] if "?" in url else ""
    kept = sorted(part for part in query.split("&") if not redact.SIGNATURE.fullmatch(part.partition("=")[0]))
    return hashlib.sha256("\0".join([clean(url), *kept]).encode(errors="surrogatepass")).digest()


def join(base: str, path: str) -> str:
    """`path` relative to the folder URL `base`. The query of a web address is kept, as it may contain a signature that covers the path."""
    if scheme(base) in WEB:
        found = URL(base)
        return str((found / path.removeprefix("/")).with_query(found.query_string or None))
    return f"{base.rstrip('/')}/{path}"


def parent(url: str) -> str:
    """The folder of the file at `url`, with the query of a web address."""
    if scheme(url) in WEB:
        found = URL(url)
        return str(found.parent.with_query(found.query_string or None))
    return url.rpartition("/")[0]


def filesystem(url: str):
    """(fsspec filesystem without a listings cache, path in it). Raises whatever its backend raises."""
    import fsspec  # here: only needed for remote files

    return fsspec.core.url_to_fs(url, use_listings_cache=False)


def _without_password(path: str) -> str:
    if redact.has_credentials(path):
        raise ValueError(
            "recipes must not contain credentials; remove user and password from the URL, or put the URL into a variable, like ${ROWS_URL}"
        )
    return path


_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FILLED = ("path", "media_root")  # settings in which variables are replaced


def variables(settings: Mapping[str, Any]) -> set[str]:
    """The environment variables used in a step's paths, like `${ROWS_URL}`."""
    return {name for key, value in settings.items() if key in (*_FILLED, "sets") for name in _named(value)}


def _named(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(_VARIABLE.findall(value))
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {name for item in inside for name in _named(item)}


def fill_variables(settings: Any) -> Any:
    """A source's settings with the variables in its paths replaced by their values, so that a signed URL need not be in a recipe. InputError
    when one is not set."""
    if not variables({name: getattr(settings, name, None) for name in (*_FILLED, "sets")}):
        return settings
    paths = {name: value for name in _FILLED if (value := getattr(settings, name, None))}
    return settings.model_copy(
        update={k: _filled(path) if isinstance(path, str) else tuple(map(_filled, path)) for k, path in paths.items()}
    )


def _filled(text: str) -> str:
    for name in _VARIABLE.findall(text):
        if name not in os.environ:
            raise InputError(f"a path contains the variable {name}, which is not set; export it, or write out the path")
    return _VARIABLE.sub(lambda found: os.environ[found[1]], text)


Place = Annotated[str, AfterValidator(_without_password)]
"""A path or URL in a recipe, without credentials; `${NAME}` in it is replaced by the environment variable's value."""
