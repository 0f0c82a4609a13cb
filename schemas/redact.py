"""What may leave this process: text without secrets.

    clean(text)      for messages, logs, reports, records and the metadata of rows
    document(value)  the same for every text in a JSON value

What others download says even less: see `schemas/published.py`.

A secret is a user and password in an address, a query that may sign it, a value that stands under a name like `password`, whatever is
shaped like a well-known key, and the values of the environment variables in `NAMES`, of those that recipes name (`hide`) and of those
whose names end in KEY, TOKEN, SECRET or PASSWORD: as they are, and as base64, hex, URL or JSON would write them. Values of fewer than
8 characters are not searched for: they would mangle every text. Prompts and answers are data and never come through here."""

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
SHORTEST = 8  # characters of a value that is searched for
_WINDOW = 12  # so many characters of a secret are enough to give it away
_SECRET_NAME = re.compile(r".*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)(?:_ID)?", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"[~.]?/|[a-z][\w+.-]*://"
)  # a variable called ..._KEY may hold where a key lies: that is not the key
_hidden: set[str] = set()  # variables that recipes name

# parts of an address, in the spellings that parsers take
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
)  # most addresses: nothing to cut
_HEAD = re.compile(rf"(?:[a-z][\w.+-]*{_COLON})?{_SLASH}*", re.IGNORECASE)
_INNER = re.compile(
    rf"(?<=[/\\])@?[^/\\@:?#]*:[^/\\@?#]+{_AT}(?!sha\d)", re.IGNORECASE
)  # of an address in the path of another
_SPACED = re.compile(
    rf"\s*[a-z][\w.+-]*:[/\\]+[^\s/\\@:]*:(?!\d+\s)[^/\\@\n]{{1,80}}{_AT}", re.IGNORECASE
)  # a whole text with spaces in its password
_BARE = re.compile(
    rf"(?<![\w/@.:])(?!mailto:)[^\s:@/\\\"'<>=(]{{1,80}}:[^\s@/\\\"'<>]{{1,400}}{_AT}"
    r"(?=(?:[\w-]+\.)+(?:com|org|net|io|ai|dev|app|cloud|edu|gov|co|eu|de|fr|uk|cn|jp|in|ru|ch|local|internal|lan|corp|example|test)\b|localhost\b|\[|\d+\.\d+\.\d+\.\d+)",
    re.IGNORECASE,
)  # without a scheme only what ends in a host's name: `llama3:8b@v2` is a model
SIGNATURE = re.compile(  # parts of a query that change with each signature of the same object
    r"x-(amz|goog|oss|obs|cos)-.*|aws.*|googleaccessid|ossaccesskeyid|signature|sig|policy|key-pair-id|expires|"
    r"s[tpervsk]|s(k|r|d|i)[a-z]{1,3}|.*token.*|.*secret.*|.*passw.*|.*auth.*|.*api_?-?key.*|hdnts",
    re.IGNORECASE,
)
_DROPPED = re.compile(  # parts that are secret by their names
    rf"{SIGNATURE.pattern}|.*sig|.*signature.*|.*pwd.*|pw|pin|.*access_?-?key.*|.*private_?-?key.*|.*credential.*|.*session.*|jwt|user(name)?",
    re.IGNORECASE,
)
_FOLDED = re.compile(r"~[0-9a-f]{8}")
_LONGEST_NAME = 24  # of a parameter: a longer one is a value

_KEYS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?=[\w-]*\d)[\w-]{8,}|sk-[\w-]{20,}|[srpw]k_(?:live|test)_\w{8,}|hf_(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{8,}|hf_[A-Za-z0-9]{20,}|(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}|"
    r"gh[opusr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|"
    r"eyJ[\w-]{6,}\.[\w-]{6,}(?:\.[\w-]*)?|(?:npm|pnu|pnb|gsk|r8|tgp_v1|fw|hl|rpa|dop_v1)_[A-Za-z0-9]{16,}|(?:nvapi|pplx|xai|pypi|anyscale|esecret)-[\w-]{16,}|"
    r"SG\.[\w-]{16,}\.[\w-]{16,}"
    r")|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
_HEADER = re.compile(
    r"\b(?P<name>bearer|basic)(?P<space>(?:\s|%20|\+)+)(?:(?=[\w.+/=~:-]*\d)[\w.+/=~:-]{8,}|[\w.+/=~:-]{20,})",
    re.IGNORECASE,
)
_NAMED = r"(?:[\w-]*(?:passw(?:or)?d|passwd|pwd|secret|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key|token|credentials?|signature)|sig|authorization)"
_ASSIGNED = re.compile(
    rf"(?<![\w-])(?P<name>{_NAMED}\s*=\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s;,&\"'<>)\]}}]+)", re.IGNORECASE
)
_QUOTED = re.compile(
    rf"(?P<name>(?P<q>\\?[\"']){_NAMED}(?P=q)\s*:\s*)(?P<open>\\?[\"'])(?P<value>(?!\*\*\*).{{4,}}?)(?P<close>(?P=open))",
    re.IGNORECASE,
)
_SAID = re.compile(rf"(?<![\w-])(?P<name>{_NAMED}\s*:\s*)(?P<value>(?=\S*\d)[^\s\"',;]{{12,}})", re.IGNORECASE)
# no text without any of these holds any of the above
_SIGNS = re.compile(
    r"[@\uff20\ufe6b=:\\]|//|%[0-9]|&[#c]|sk-|[srp]k_|hf_|A[KSRI][IOA]A|gh[opusr]_|github_|glpat-|xox|xapp|AIza|ya29|eyJ|"
    r"(?:npm|pn[ub]|gsk|r8|tgp_v1|fw|hl|rpa|dop_v1)_|(?:nvapi|pplx|xai|pypi|anyscale|esecret)-|SG\.|----|(?i:bearer|basic)[\s%+]"
)


def mask_values(names: Iterable[str | None]) -> None:
    """From now on the values of these environment variables are secrets too."""
    _hidden.update(name for name in names if name)


def names() -> tuple[str, ...]:
    """The environment variables whose values are secrets."""
    return _named(frozenset(os.environ), frozenset(_hidden))


@lru_cache(8)
def _named(there: frozenset[str], hidden: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({*NAMES, *hidden, *filter(_SECRET_NAME.fullmatch, there)}))


def cleaner(secrets: Iterable[str | None] = ()) -> "Cleaner":
    """What cleans texts of the environment's secrets as they are now, and of these. For a loop; `clean` makes one for each text."""
    sure = {*NAMES, *_hidden}
    values = [(name in sure, os.environ.get(name, "").strip()) for name in names()]
    found = {value for known, value in values if known or not _ELSEWHERE.match(value)} | {
        (s or "").strip() for s in secrets
    }
    return _cleaner(tuple(sorted(value for value in found if len(value) >= SHORTEST)))


def clean(text: str, secrets: Iterable[str | None] = ()) -> str:
    """`text` as it may leave this process. `secrets`: values that it must not hold, beside those of the environment."""
    return cleaner(secrets)(text)


def document(value: Any) -> Any:
    """A JSON value with every text in it cleaned; what holds no secret is equal to what it was."""
    return walk(value, cleaner())


def address(url: str) -> str:
    """A whole URL as a name: without user, password, query and fragment."""
    if _SIMPLE.fullmatch(url):
        return url
    head, place, _ = parted(url)
    return head + place


def credentials(url: str) -> bool:
    """Whether a whole text is an address that holds a user or a password, however it is spelled."""
    if _SPACED.match(url):
        return True
    return any(_has_user(text[0]) for said in {url, unquote(unquote(url))} for text in _ADDRESS.finditer(said))


def unsigned(url: str) -> str:
    """An address without what may change when the same file is signed again; any other text as it is."""
    found = _ADDRESS.match(url)
    if found is None or found[0] != url:
        return url
    head, place, query = parted(url)
    parts = re.split(r"[&;]", query[1:]) if query else []
    kept = [part for part in parts if not SIGNATURE.fullmatch(unquote(part.partition("=")[0]))]
    return url if kept == parts and not _has_user(url) else f"{head}{place}{query[:1] if kept else ''}{'&'.join(kept)}"


def is_name(text: str) -> bool:
    """Whether `text` may be the name of an environment variable, and is not a key that was written in its place."""
    if not re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) or _KEYS.search(text):
        return False
    longest = max(text.split("_"), key=len)
    if len(longest) >= 16 and re.search(r"\d", longest):
        return False
    return "_" in text or len(text) < 13 or text.isupper() or text in os.environ


class Cleaner:
    """Cleans texts of secrets; these `values`, in any of their usual encodings, among them."""

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
        """The text without the values."""
        if spans := self._found(text):
            out, end = [], 0
            for start, stop in spans:
                out += [text[end:start], MARK]
                end = stop
            text = "".join([*out, text[end:]])
        if "%" in text or "\\" in text or "&" in text:
            for view in _VIEWS:
                if self._found(view("".join(text.split()))):  # also where an escape is broken into two lines
                    text = "".join(MARK if self._found(view(piece)) else piece for piece in re.split(r"(\s+)", text))
                    if self._found(view("".join(text.split()))):
                        return f"{MARK} (a text that repeats a key)"
        return text

    def _found(self, text: str) -> list[tuple[int, int]]:
        """Where the values stand in the text, also cut into lines or only in part; overlaps joined."""
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
    """A secret as others may write it, in lower case and without spaces."""
    data = value.encode(errors="surrogatepass")
    found = {value, data.hex(), base64.b32encode(data).decode().rstrip("=")}
    for lead in range(3):  # base64 of a text that holds it has three alignments
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
    """Without the escapes of JSON and Python."""
    return _ESCAPE.sub(
        lambda m: chr(int(m[1] or m[2], 16)) if m[1] or m[2] else {"n": "\n", "t": "\t", "r": "\r"}.get(m[3], m[3]),
        text,
    )


_VIEWS = (unquote, lambda text: unquote(unquote(text)), _unescaped, html.unescape)


def _plain(text: str) -> str:
    """The text without what looks like a secret."""
    if _SPACED.match(text):
        text = text[: len(text) - len(text.lstrip())] + _SPACED.sub(lambda m: _head(m[0].lstrip()), text, count=1)
    text = _ADDRESS.sub(lambda found: _told(found[0]), text)
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


def _told(found: str) -> str:
    """An address in a text, as it may stand there."""
    url = found.rstrip(")]}'.,;:!")
    end = found[len(url) :]
    if "%" in url and not re.match(
        r"[a-z][\w.+-]*:[/\\]", url, re.IGNORECASE
    ):  # an address in the query of another, or quoted
        plain = unquote(unquote(url))
        if plain != url:
            return (url if (told := _told(plain)) == plain else told) + end
    head, place, query = parted(url)
    parts = re.split(r"[&;#?]", query[1:]) if query else []
    kept = _kept(parts)
    if kept == parts and not _has_user(url):
        return found
    return f"{head}{place}{query[:1] if kept else ''}{'&'.join(kept)}{end}"


def parted(url: str) -> tuple[str, str, str]:
    """(scheme and slashes, host and path, query and fragment with their first mark), without the user and password."""
    url = url.strip()
    head = _head(url)
    rest = url[len(head) :]
    authority, path = authority_of(rest)
    if (found := _user(authority)) is not None:
        authority = authority[found:]
    elif (
        _odd(authority) and (found := _user(path)) is not None
    ):  # a password with a slash, a question mark or a hash in it
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
    """User, password and host of what stands behind the slashes; and the rest."""
    found = re.search(rf"{_SLASH}|[?#]", rest, re.IGNORECASE)
    return (rest, "") if found is None else (rest[: found.start()], rest[found.start() :])


def _user(text: str) -> int | None:
    """Where the host begins behind a user and password."""
    last = None
    for found in re.finditer(_AT, text, re.IGNORECASE):
        last = found.end()
    return last


def _odd(authority: str) -> bool:
    """Whether what stands behind the colon is not a port: then it begins a password."""
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
    """The parts of a query that may be told. Those that may be secrets though their names do not say so are one short digest, so
    that two addresses stay two."""
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


def walk(value: Any, told: Callable[[str], str]) -> Any:
    """A JSON value with `told` of each text in it, keys among them."""
    if isinstance(value, str):
        return told(value)
    if isinstance(value, dict):
        return {walk(key, told): walk(of, told) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [walk(of, told) for of in value]
    return value
