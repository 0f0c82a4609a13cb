"""What is published, a dataset and its card, a trained model's card: no secrets, and no servers, local paths or names of variables.

published(value) of a JSON value, a recipe's document among them
public(text)     of one text
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from schemas import redact

OURS = ("base_url", "endpoints", "api_key_env")  # settings that say where models are asked, and with which key
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
    r"(?<![\w.@-])(?:localhost|(?:[\w-]+\.)+(?:local|localdomain|internal|intranet|lan|corp)|\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]*:[0-9a-f:.]*\])(?::\d+)?(?![\w-]|\.\d)",
    re.IGNORECASE,
)
_PLACES = re.compile(r"[/\\~]|localhost|\d\.\d|\.(?:local|internal|intranet|lan|corp)|\[|_", re.IGNORECASE)


def published(value: Any) -> Any:
    """A JSON value as others may see it: `document`, and no servers, local paths or names of variables. Settings that name a model's
    server or key are left out; of a local path the file's name stays."""
    return redact.walk(_bare(value), publisher(value))


def publisher(recipe: Any = None) -> Callable[[str], str]:
    """What `published` does to each text, where it is known which servers and variables a recipe's document names."""
    told, hosts, variables = redact.cleaner(), set[str](), {*redact.names()}
    _ours(recipe, hosts, variables)
    return lambda text: _public(told(text), hosts, variables)


def public(text: str) -> str:
    """The same for one text."""
    return publisher()(text)


def _ours(value: Any, hosts: set[str], variables: set[str]) -> None:
    """The hosts and variables that a recipe's document names."""
    if isinstance(value, dict):
        for key, of in value.items():
            if key == "base_url" and isinstance(of, str):
                hosts.add(re.sub(r":\d+$", "", redact.authority_of(redact.parted(of)[1])[0]).lower())
            elif key == "api_key_env" and isinstance(of, str):
                variables.add(of)
            _ours(of, hosts, variables)
    elif isinstance(value, list | tuple):
        for of in value:
            _ours(of, hosts, variables)


def _bare(value: Any) -> Any:
    """With the models of recipes without what says where they are asked."""
    if isinstance(value, dict):
        models = value.get("models")
        if isinstance(models, dict):
            told = {
                name: {k: v for k, v in of.items() if k not in OURS} if isinstance(of, dict) else of
                for name, of in models.items()
            }
            value = {**value, "models": told}
        return {key: _bare(of) for key, of in value.items()}
    return [_bare(of) for of in value] if isinstance(value, list | tuple) else value


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
    """Whether an address is of a machine of ours: a model's, one by its number, one in a network of its own."""
    host = found["host"].lower()
    web = re.match(r"https?|wss?|ftps?|sftp|ssh", found["scheme"], re.IGNORECASE) is not None
    return (
        host in hosts
        or _is_ours(host)
        or (web and ("." not in host or re.fullmatch(r"[\d.]+|\[.*\]", host) is not None))
    )


def _file(rest: str) -> str:
    """What is said of an address of ours: the name of the file at its end, where there is one."""
    name = re.split(r"[?#]", rest)[0].rpartition("/")[2]
    return name if "." in name else "(a server)"


def _is_ours(host: str) -> bool:
    """Whether a host is one of a network of its own. Objects' schemes have buckets, not hosts, which their callers keep."""
    try:
        return not ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_global
    except ValueError:
        return _LOCAL.fullmatch(host) is not None
