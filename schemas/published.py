"""Cleans what is published (a dataset and its card, a trained model's card) of secrets, servers, local paths and variable names.

published(value) for a JSON value, including a recipe's document
public(text)     for one text
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from schemas import redact

OURS = ("base_url", "endpoints", "api_key_env")  # settings for a model's server and key
_LOCAL = re.compile(r"localhost|.*\.(?:local|localdomain|internal|intranet|lan|corp|home|private|test)", re.IGNORECASE)
_PATH = re.compile(
    r"(?<![\w:/.~*?&=-])(?:file:/*|~[\w-]*/|[A-Za-z]:[\\/]|\\\\[\w.-]+\\|/(?=[^/\s]+/))(?:[^\s\"'<>|`,;(){}\[\]]*[\\/])?(?P<name>[^\s\"'<>|`,;(){}\[\]\\/]*)"
)
_WHOLE_PATH = re.compile(
    r"\s*(?:file:/*|~[\w-]*[\\/]|[A-Za-z]:[\\/]|\\\\|/(?=[^\s/]+/))(?:.*[\\/])?(?P<name>[^\\/]*)[\\/]*\s*", re.DOTALL
)
_WEB = re.compile(
    r"\b(?P<scheme>[a-z][\w.+-]{0,80}):/+(?P<host>\[[^\]\s]*\]|[^\s/:?#\"'<>`)\]]*)(?::\d+)?(?P<rest>[^\s\"'<>`)\]]*)",
    re.IGNORECASE,
)
_HOST = re.compile(
    r"(?<![\w.@-])(?:localhost|(?:[\w-]+\.)+(?:local|localdomain|internal|intranet|lan|corp)|\d{1,3}(?:\.\d{1,3}){3}"
    r"|\[[0-9a-f:.]*:[0-9a-f:.]*\])(?::\d+)?(?![\w-]|\.\d)",
    re.IGNORECASE,
)
_PLACES = re.compile(r"[/\\~]|localhost|\d\.\d|\.(?:local|internal|intranet|lan|corp)|\[|_", re.IGNORECASE)


def published(value: Any) -> Any:
    """A JSON value for publication: cleaned like `redact.document`, and without servers, local paths and variable names. Settings of a
    model's server and key are removed; of a local path, the file name is kept."""
    return redact.map_texts(_bare(value), publisher(value))


def publisher(recipe: Any = None) -> Callable[[str], str]:
    """The function that `published` applies to each text, given the servers and variables named in a recipe's document."""
    cleaned, hosts, variables = redact.cleaner(), set[str](), {*redact.names()}
    _ours(recipe, hosts, variables)
    return lambda text: _public(cleaned(text), hosts, variables)


def public_text(text: str) -> str:
    """One text for publication, as in `published`."""
    return publisher()(text)


def _ours(value: Any, hosts: set[str], variables: set[str]) -> None:
    """Adds the hosts and variables that a recipe's document names to the sets."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "base_url" and isinstance(inner, str):
                hosts.add(re.sub(r":\d+$", "", redact.authority_of(redact.split_url(inner)[1])[0]).lower())
            elif key == "api_key_env" and isinstance(inner, str):
                variables.add(inner)
            _ours(inner, hosts, variables)
    elif isinstance(value, list | tuple):
        for inner in value:
            _ours(inner, hosts, variables)


def _bare(value: Any) -> Any:
    """The value without the settings in OURS of recipes' models."""
    if isinstance(value, dict):
        models = value.get("models")
        if isinstance(models, dict):
            kept = {
                name: {k: v for k, v in model.items() if k not in OURS} if isinstance(model, dict) else model
                for name, model in models.items()
            }
            value = {**value, "models": kept}
        return {key: _bare(inner) for key, inner in value.items()}
    return [_bare(inner) for inner in value] if isinstance(value, list | tuple) else value


def _public(text: str, hosts: set[str], variables: set[str]) -> str:
    if not hosts and not _PLACES.search(text):
        return text
    if (whole := _WHOLE_PATH.fullmatch(text)) and "\n" not in text:
        return whole["name"] or "(a local folder)"
    text = _WEB.sub(lambda m: _file(m["rest"]) if _is_server(m, hosts) else m[0], text)
    for host in filter(None, hosts):
        text = re.sub(
            rf"(?<![\w.-]){re.escape(host)}(?::\d+)?(?:/v\d+)?(?![\w-])", "(a server)", text, flags=re.IGNORECASE
        )
    text = _HOST.sub(lambda m: "(a server)" if _is_ours(re.sub(r"(?<=[^:]):\d+$", "", m[0])) else m[0], text)
    text = _PATH.sub(lambda m: m["name"] or "(a local folder)", text)
    if "_" in text and (found := [name for name in variables if name in text]):
        text = re.sub(rf"\$?\{{?\b(?:{'|'.join(map(re.escape, found))})\b\}}?", "(a variable)", text)
    return re.sub(r"\$\{\w+\}", "(a variable)", text)


def _is_server(found: re.Match, hosts: set[str]) -> bool:
    """Whether a URL is on a private server: a model's, one with an IP address, or one in a private network."""
    host = found["host"].lower()
    web = re.match(r"https?|wss?|ftps?|sftp|ssh", found["scheme"], re.IGNORECASE) is not None
    return (
        host in hosts
        or _is_ours(host)
        or (web and ("." not in host or re.fullmatch(r"[\d.]+|\[.*\]", host) is not None))
    )


def _file(rest: str) -> str:
    """The replacement of a private URL: the file name at its end, if there is one."""
    name = re.split(r"[?#]", rest)[0].rpartition("/")[2]
    return name if "." in name else "(a server)"


def _is_ours(host: str) -> bool:
    """Whether a host is in a private network."""
    try:
        return not ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_global
    except ValueError:
        return _LOCAL.fullmatch(host) is not None
