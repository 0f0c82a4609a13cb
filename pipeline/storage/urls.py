"""URLs as names: what may be said of them, and the filesystem behind those that are no web address."""

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
]  # no host that a row could choose
OBJECTS: tuple[ObjectStore, ...] = get_args(ObjectStore)
_URL = re.compile(r"[A-Za-z][\w+.-]*:(:|//)")


def is_url(path: str) -> bool:
    """Whether `path` is a URL and no path of this machine."""
    return ":" in path and _URL.match(path) is not None


def scheme(url: str) -> str:
    return url.partition(":")[0].lower()


def clean(url: str) -> str:
    """The URL as messages, rows and names may hold it: without user, password, query and fragment, which may be secrets."""
    return redact.clean(redact.address(url))


def key(url: str) -> bytes:
    """32 bytes naming what the URL points at, the same however it is signed."""
    query = re.split(r"[?#]", url)[1] if "?" in url else ""
    kept = sorted(part for part in query.split("&") if not redact.SIGNATURE.fullmatch(part.partition("=")[0]))
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
    import fsspec  # here, as it is needed for what lies elsewhere only

    return fsspec.core.url_to_fs(url, use_listings_cache=False)


def _without_password(path: str) -> str:
    if redact.credentials(path):
        raise ValueError(
            "a recipe holds no credentials: leave user and password out of the URL, or name a variable that has it, like ${ROWS_URL}"
        )
    return path


_VARIABLE = re.compile(r"\$\{(\w+)\}")
_FILLED = ("path", "media_root")  # settings that may name variables


def variables(settings: Mapping[str, Any]) -> set[str]:
    """The environment variables that a step's paths name, like `${ROWS_URL}`."""
    return {name for key, of in settings.items() if key in (*_FILLED, "sets") for name in _named(of)}


def _named(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(_VARIABLE.findall(value))
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return {name for of in inside for name in _named(of)}


def filled(settings: Any) -> Any:
    """A source's settings with the values of the variables that its paths name: so that a signed address need not stand in a recipe.
    InputError when one is not set."""
    if not variables({name: getattr(settings, name, None) for name in (*_FILLED, "sets")}):
        return settings
    told = {name: of for name in _FILLED if (of := getattr(settings, name, None))}
    return settings.model_copy(
        update={k: _filled(of) if isinstance(of, str) else tuple(map(_filled, of)) for k, of in told.items()}
    )


def _filled(text: str) -> str:
    for name in _VARIABLE.findall(text):
        if name not in os.environ:
            raise InputError(f"a path names the variable {name}, which is not set: export it, or write the path itself")
    return _VARIABLE.sub(lambda found: os.environ[found[1]], text)


Place = Annotated[str, AfterValidator(_without_password)]
"""A path or URL as a recipe may hold it; `${NAME}` in it stands for the environment variable's value."""
