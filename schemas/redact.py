"""Removes secrets from everything that leaves this process.

    clean(text)      for messages, logs, reports, records and the metadata of rows
    document(value)  the same for every text in a JSON value

What others download contains even less: see `schemas/published.py`.

Secrets are: user and password in a URL, a query that may sign it, a value after a name like `password`, anything shaped like a well-known
kind of key, and the values of the environment variables in `NAMES`, of those named in recipes (`mask_values`) and of those whose names end
in KEY, TOKEN, SECRET or PASSWORD; in plain text, base64, hex, URL or JSON encoding. Values of fewer than 8 characters are not searched for,
as they would mangle every text. Prompts and answers are data and are never cleaned."""

import base64
import html
import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

MARK = "***"
NAMES = (
    "LABEL_STUDIO_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PAIRWRIGHT_SERVE_SECRET",
    "PAIRWRIGHT_S3_KEY", "PAIRWRIGHT_S3_SECRET", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING",
    "AZURE_STORAGE_CONNECTION_STRING",
)  # fmt: skip
SHORTEST = 8  # minimum characters of a value that is searched for
_WINDOW = 12  # this many characters of a secret are removed even without the rest
_SECRET_NAME = re.compile(r".*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)(?:_ID)?", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"[~.]?/|[a-z][\w+.-]*://"
)  # the value of a variable ..._KEY may be a key's path, which is not secret
_hidden: set[str] = set()  # variables that recipes name

# parts of a URL, in all spellings that parsers accept
_AT = r"(?:[@\uff20\ufe6b]|%(?:25)*40|&#64;|&commat;)"
_SLASH = r"(?:[/\\]|%(?:25)*2f|%(?:25)*5c)"
_COLON = r"(?::|%(?:25)*3a)"
_REST = r"[^\s\"<>`]*"
_KNOWN = r"(?:https?|wss?|s?ftps?|ssh|git|s3a?|gs|postgres(?:ql)?|mysql|mariadb|mssql|redis|rediss|mongodb|amqps?)(?:\+[\w.-]+)?"
_ADDRESS = re.compile(
    rf"(?:\b[a-z][\w.+-]{{0,80}}{_COLON}{_SLASH}+|\b{_KNOWN}:(?=[^\s\"<>/\\]{{0,400}}{_AT})|(?<![\w:/\\.]){_SLASH}{{2,}}){_REST}",
    re.IGNORECASE,
)
_SIMPLE = re.compile(
    r"[a-z][a-z0-9+]{0,20}://[\w.-]+(?::\d+)?(?:/[\w./~+,!*()-]*)?", re.ASCII
)  # most URLs: nothing to remove
_HEAD = re.compile(rf"(?:[a-z][\w.+-]*{_COLON})?{_SLASH}*", re.IGNORECASE)
_INNER = re.compile(
    rf"(?<=[/\\])@?[^/\\@:?#]*:[^/\\@?#]+{_AT}(?!sha\d)", re.IGNORECASE
)  # credentials of a URL in the path of another
_SPACED = re.compile(
    rf"\s*[a-z][\w.+-]*:[/\\]+[^\s/\\@:]*:(?!\d+\s)[^/\\@\n]{{1,80}}{_AT}", re.IGNORECASE
)  # a whole text whose password contains spaces
_BARE = re.compile(
    rf"(?<![\w/@.:])(?!mailto:)[^\s:@/\\\"'<>=(]{{1,80}}:[^\s@/\\\"'<>]{{1,400}}{_AT}"
    r"(?=(?:[\w-]+\.)+(?:com|org|net|io|ai|dev|app|cloud|edu|gov|co|eu|de|fr|uk|cn|jp|in|ru|ch|local|internal|lan|corp|example|test)\b"
    r"|localhost\b|\[|\d+\.\d+\.\d+\.\d+)",
    re.IGNORECASE,
)  # without a scheme only before a host name: `llama3:8b@v2` is a model
SIGNATURE = re.compile(  # query parameters that change with each signature of the same object
    r"x-(amz|goog|oss|obs|cos)-.*|aws.*|googleaccessid|ossaccesskeyid|signature|sig|policy|key-pair-id|expires|"
    r"s[tpervsk]|s(k|r|d|i)[a-z]{1,3}|.*token.*|.*secret.*|.*passw.*|.*auth.*|.*api_?-?key.*|hdnts",
    re.IGNORECASE,
)
_DROPPED = re.compile(  # query parameters that are secret by their names
    rf"{SIGNATURE.pattern}|.*sig|.*signature.*|.*pwd.*|pw|pin|.*access_?-?key.*|.*private_?-?key.*|.*credential.*|.*session.*|jwt|user(name)?",
    re.IGNORECASE,
)
_FOLDED = re.compile(r"~[0-9a-f]{8}")
_LONGEST_NAME = 24  # of a query parameter: a longer one is treated as a value

_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?=[\w-]*\d)[\w-]{8,}|sk-[\w-]{20,}|[srpw]k_(?:live|test)_\w{8,}|hf_(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{8,}|hf_[A-Za-z0-9]{20,}|"
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|"
    r"gh[opusr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|"
    r"eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?|(?:npm|pnu|pnb|gsk|r8|tgp_v1|fw|hl|rpa|dop_v1)_[A-Za-z0-9]{16,}|(?:nvapi|pplx|xai|pypi|anyscale|esecret)-[\w-]{16,}|"
    r"SG\.[\w-]{16,}\.[\w-]{16,}"
    r")|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_HEADER = re.compile(
    r"\b(?P<name>bearer|basic)(?P<space>(?:\s|%20|\+)+)(?:(?=[\w.+/=~:-]*\d)[\w.+/=~:-]{8,}|[\w.+/=~:-]{20,})",
    re.IGNORECASE,
)
_NAMED = (
    r"(?:[\w-]*(?:passw(?:or)?d|passwd|pwd|secret|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|token|credentials?|signature)"
    r"|sig|authorization)"
)
_ASSIGNED = re.compile(
    rf"(?<![\w-])(?P<name>{_NAMED}\s*=\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s;,&\"'<>)\]}}]+)", re.IGNORECASE
)
_QUOTED = re.compile(
    rf"(?P<name>(?P<q>\\?[\"']){_NAMED}(?P=q)\s*:\s*)(?P<open>\\?[\"'])(?P<value>(?!\*\*\*).{{4,}}?)(?P<close>(?P=open))",
    re.IGNORECASE,
)
_SAID = re.compile(rf"(?<![\w-])(?P<name>{_NAMED}\s*:\s*)(?P<value>(?=\S*\d)[^\s\"',;]{{12,}})", re.IGNORECASE)
# quick check: a text without any of these has none of the above
_SIGNS = re.compile(
    r"[@\uff20\ufe6b=:\\]|//|%[0-9]|&[#c]|sk-|[srp]k_|hf_|A[KSRI][IOA]A|gh[opusr]_|github_|glpat-|xox|xapp|AIza|ya29|eyJ|"
    r"(?:npm|pn[ub]|gsk|r8|tgp_v1|fw|hl|rpa|dop_v1)_|(?:nvapi|pplx|xai|pypi|anyscale|esecret)-|SG\.|----|(?i:bearer|basic)[\s%+]"
)


def mask_values(names: Iterable[str | None]) -> None:
    """Treats the values of these environment variables as secrets from now on."""
    _hidden.update(name for name in names if name)


def names() -> tuple[str, ...]:
    """The environment variables whose values are secrets."""
    return _named(frozenset(os.environ), frozenset(_hidden))


@lru_cache(8)
def _named(there: frozenset[str], hidden: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({*NAMES, *hidden, *filter(_SECRET_NAME.fullmatch, there)}))


def cleaner(secrets: Iterable[str | None] = ()) -> "Cleaner":
    """A Cleaner for the current environment's secrets and the given ones; for use in loops, where `clean` would create one per text."""
    sure = {*NAMES, *_hidden}
    values = [(name in sure, os.environ.get(name, "").strip()) for name in names()]
    found = {value for known, value in values if known or not _ELSEWHERE.match(value)} | {
        (s or "").strip() for s in secrets
    }
    return _cleaner(tuple(sorted(value for value in found if len(value) >= SHORTEST)))


def clean(text: str, secrets: Iterable[str | None] = ()) -> str:
    """`text` without secrets. `secrets`: values to remove in addition to those of the environment."""
    return cleaner(secrets)(text)


def document(value: Any) -> Any:
    """A JSON value with every text in it cleaned; equal to `value` if it contains no secret."""
    return map_texts(value, cleaner())


def bare_url(url: str) -> str:
    """A URL without user, password, query and fragment."""
    if _SIMPLE.fullmatch(url):
        return url
    head, place, _ = split_url(url)
    return head + place


def has_credentials(url: str) -> bool:
    """Whether a text is a URL that contains a user or password, in any spelling."""
    if _SPACED.match(url):
        return True
    return any(_has_user(found[0]) for text in {url, unquote(unquote(url))} for found in _ADDRESS.finditer(text))


def without_signature(url: str) -> str:
    """A URL without the query parameters of a signature; any other text unchanged."""
    found = _ADDRESS.match(url)
    if found is None or found[0] != url:
        return url
    head, place, query = split_url(url)
    parts = re.split(r"[&;]", query[1:]) if query else []
    kept = [part for part in parts if not SIGNATURE.fullmatch(unquote(part.partition("=")[0]))]
    return url if kept == parts and not _has_user(url) else f"{head}{place}{query[:1] if kept else ''}{'&'.join(kept)}"


def is_variable_name(text: str) -> bool:
    """Whether `text` can be the name of an environment variable and does not look like a key written in its place."""
    if not re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) or _KEYS.search(text):
        return False
    longest = max(text.split("_"), key=len)
    if len(longest) >= 16 and re.search(r"\d", longest):
        return False
    return "_" in text or len(text) < 13 or text.isupper() or text in os.environ


class Cleaner:
    """Removes secrets from texts, including these `values` in all usual encodings."""

    def __init__(self, values: Iterable[str] = ()):
        self._windows = frozenset(window for value in values for form in _forms(value) for window in _cut(form))
        self._heads = frozenset(window[:SHORTEST] for window in self._windows)
        self._sizes = sorted({len(window) for window in self._windows})

    def __call__(self, text: str) -> str:
        if self._sizes and len(text) >= SHORTEST:
            text = self._without(text)
        if not _SIGNS.search(text):
            return text
        return _KEYS.sub(MARK, text) if _SIMPLE.fullmatch(text) else _plain(text)

    def _without(self, text: str) -> str:
        """The text with the values replaced by MARK."""
        if spans := self._found(text):
            out, end = [], 0
            for start, stop in spans:
                out += [text[end:start], MARK]
                end = stop
            text = "".join([*out, text[end:]])
        if "%" in text or "\\" in text or "&" in text:
            for view in _VIEWS:
                if self._found(view("".join(text.split()))):  # also if a line break is inside an escape
                    text = "".join(MARK if self._found(view(piece)) else piece for piece in re.split(r"(\s+)", text))
                    if self._found(view("".join(text.split()))):
                        return f"{MARK} (a text that repeats a key)"
        return text

    def _found(self, text: str) -> list[tuple[int, int]]:
        """(start, end) of the values in the text, also across line breaks or in part; overlaps are merged."""
        lower = text.lower()
        if len(lower) != len(text):
            lower = text
        packed, heads = "".join(lower.split()), self._heads
        begun = [i for i in range(len(packed) - SHORTEST + 1) if packed[i : i + SHORTEST] in heads]
        spans = [(i, i + size) for i in begun for size in self._sizes if packed[i : i + size] in self._windows]
        if not spans:
            return []
        places = [i for i, c in enumerate(lower) if not c.isspace()]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(spans):
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        return [(places[start], places[end - 1] + 1) for start, end in joined]


_cleaner = lru_cache(16)(Cleaner)


def _forms(value: str) -> set[str]:
    """Encodings of a secret, in lower case and without spaces."""
    data = value.encode(errors="surrogatepass")
    found = {value, data.hex(), base64.b32encode(data).decode().rstrip("=")}
    for lead in range(3):  # three alignments in the base64 of a longer text
        encoded = base64.b64encode(bytes(lead) + data).decode().rstrip("=")
        inner = encoded[(0, 2, 3)[lead] : len(encoded) - (1 if (lead + len(data)) % 3 else 0)]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {"".join(form.lower().split()) for form in found}


def _cut(form: str) -> Iterable[str]:
    if len(form) < SHORTEST:
        return ()
    return [form] if len(form) <= _WINDOW else [form[i : i + _WINDOW] for i in range(len(form) - _WINDOW + 1)]


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def _unescaped(text: str) -> str:
    """The text with escapes of JSON and Python decoded."""
    return _ESCAPE.sub(
        lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else {"n": "\n", "t": "\t", "r": "\r"}.get(m[3], m[3]),
        text,
    )


_VIEWS = (unquote, lambda text: unquote(unquote(text)), _unescaped, html.unescape)


def _plain(text: str) -> str:
    """The text with everything that looks like a secret replaced by MARK."""
    if _SPACED.match(text):
        text = text[: len(text) - len(text.lstrip())] + _SPACED.sub(lambda m: _head(m[0].lstrip()), text, count=1)
    text = _ADDRESS.sub(lambda found: _cleaned_url(found[0]), text)
    text = _BARE.sub(f"{MARK}@", text)
    text = _HEADER.sub(lambda m: f"{m['name']}{m['space']}{MARK}", text)
    text = _ASSIGNED.sub(
        lambda m: m["name"] + MARK + m["value"][len(m["value"].rstrip(":.")) :] if _is_value(m) else m[0], text
    )
    text = _QUOTED.sub(lambda m: m["name"] + m["open"] + MARK + m["close"], text)
    text = _SAID.sub(lambda m: m["name"] + MARK, text)
    return _KEYS.sub(MARK, text)


def _is_value(found: re.Match) -> bool:
    value, name = found["value"].strip("\"'"), found["name"].lower()
    return len(value) >= (4 if "pass" in name or "pwd" in name else SHORTEST)


def _cleaned_url(found: str) -> str:
    """A URL in a text, without secrets."""
    url = found.rstrip(")]}'.,;:!")
    end = found[len(url) :]
    if "%" in url and not re.match(
        r"[a-z][\w.+-]*:[/\\]", url, re.IGNORECASE
    ):  # a URL in the query of another, or quoted
        plain = unquote(unquote(url))
        if plain != url:
            return (url if (cleaned := _cleaned_url(plain)) == plain else cleaned) + end
    head, place, query = split_url(url)
    parts = re.split(r"[&;#?]", query[1:]) if query else []
    kept = _kept(parts)
    if kept == parts and not _has_user(url):
        return found
    return f"{head}{place}{query[:1] if kept else ''}{'&'.join(kept)}{end}"


def split_url(url: str) -> tuple[str, str, str]:
    """(scheme and slashes, host and path, query and fragment with their leading mark) of a URL, without user and password."""
    url = url.strip()
    head = _head(url)
    rest = url[len(head) :]
    authority, path = authority_of(rest)
    if (found := _user(authority)) is not None:
        authority = authority[found:]
    elif (
        _odd(authority) and (found := _user(path)) is not None
    ):  # a password that contains a slash, a question mark or a hash
        authority, path = authority_of(path[found:])
    path = _INNER.sub("", path)
    mark = re.search(r"[?#]|%3f", path, re.IGNORECASE)
    if mark is None:
        return head, authority + path, ""
    return head, authority + path[: mark.start()], ("#" if mark[0] == "#" else "?") + path[mark.end() :]


def _head(url: str) -> str:
    """The scheme and the slashes."""
    found = _HEAD.match(url)
    return found[0] if found else ""


def authority_of(rest: str) -> tuple[str, str]:
    """(user, password and host; the rest) of a URL after its scheme and slashes."""
    found = re.search(rf"{_SLASH}|[?#]", rest, re.IGNORECASE)
    return (rest, "") if found is None else (rest[: found.start()], rest[found.start() :])


def _user(text: str) -> int | None:
    """Index at which the host begins, after user and password; None without them."""
    last = None
    for found in re.finditer(_AT, text, re.IGNORECASE):
        last = found.end()
    return last


def _odd(authority: str) -> bool:
    """Whether what follows the colon is not a port, and so is the start of a password."""
    if authority.startswith("["):
        return False
    port = authority.partition(":")[2]
    return port != "" and not port.isdecimal()


def _has_user(url: str) -> bool:
    rest = url.strip()
    rest = rest[len(_head(rest)) :]
    authority, path = authority_of(rest)
    return (
        _user(authority) is not None or (_odd(authority) and _user(path) is not None) or _INNER.search(path) is not None
    )


def _kept(parts: list[str]) -> list[str]:
    """The harmless parts of a query. Those that may be secret despite their names are replaced by one short digest, so that different URLs
    stay different."""
    kept, folded = [], []
    for part in parts:
        name, equals, value = part.partition("=")
        if _DROPPED.fullmatch(unquote(name)) and (equals or len(name) >= SHORTEST):
            continue
        if (len(value if equals else name) < SHORTEST and len(name) < _LONGEST_NAME) or _FOLDED.fullmatch(part):
            kept.append(part)
        else:
            folded.append(part)
    if folded:
        kept.append("~" + blake2b("&".join(sorted(folded)).encode(errors="surrogatepass"), digest_size=4).hexdigest())
    return kept


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with `change` applied to every text in it, including keys; tuples become lists."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {map_texts(key, change): map_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [map_texts(inner, change) for inner in value]
    return value
