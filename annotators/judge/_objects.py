"""The JSON values in a reply, also as models write them: trailing commas, single quotes, bare keys, comments, None and True."""

import re
from typing import Any, NamedTuple

from annotators.judge._reply import QUOTE, is_shown_only, strip_marked_quotes

MAX_FAILED_STARTS = 64  # opening braces that lead to no JSON value: each may cost the whole length of the text
MAX_VALUES = 256  # a reply with more of them is repetitive
DEEPEST = 12
_TICKED = re.compile(r"(?<!`)`(?!``)[^`\n]*`(?!`)")
_START = re.compile(r"[{\[]")
_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*(?:(?!\*/).)*\*/)*", re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d{1,9}(?:\.\d{1,9})?(?:[eE][-+]?\d{1,3})?(?![\w.])")
_WORD = re.compile(r"[^\W\d][\w-]{0,79}")
_BARE_TEXT = re.compile(r"[^\W\d][\w-]{0,20}(?: \w{1,20})?(?=\s{0,4}[,}])")  # {verdict: two}
_TEXTS = {'"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL), "'": re.compile(r"'([^'\\\n]*(?:\\.[^'\\\n]*)*)'"),
          "“": re.compile(r"“([^“”]*)”")}  # fmt: skip
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_CONSTANTS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}


class Found(NamedTuple):
    """A JSON value in a text, and its position."""

    value: Any
    start: int
    end: int


def own_words(text: str) -> str:
    """`text` without what is quoted, with its JSON: `<<< >>>`, lines after `>` and backticks within a line are quotes, double quotes are
    not."""
    return _TICKED.sub(QUOTE, strip_marked_quotes(text))


def values_in(text: str) -> list[Found]:
    """The outermost JSON objects and lists in `text` that are not reported as someone else's. Truncated ones and those with a
    duplicate key are skipped. Stops after MAX_FAILED_STARTS; [] if there are more than MAX_VALUES."""
    found: list[Found] = []
    end = failed = 0
    for start in _START.finditer(text):
        at = start.start()
        if at < end:
            continue
        try:
            value, end = _value(text, at, 0)
        except ValueError:
            failed += 1
            if failed == MAX_FAILED_STARTS:
                break
        else:
            found.append(Found(value, at, end))
            if len(found) > MAX_VALUES:
                return []
    return [one for one in found if not is_shown_only(text, one.start)]


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    """(the value that begins at `at`, where it ends). ValueError if there is none."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    sign = text[at : at + 1]
    if sign == "{":
        return _object(text, at + 1, depth)
    if sign == "[":
        return _list(text, at + 1, depth)
    if sign in _TEXTS:
        return _text(text, at)
    if number := _NUMBER.match(text, at):
        written = number[0]
        return (int(written) if written.lstrip("+-").isdigit() else float(written)), number.end()
    word = _WORD.match(text, at)
    if word and word[0] in _CONSTANTS:
        return _CONSTANTS[word[0]], word.end()
    if depth and (bare := _BARE_TEXT.match(text, at)):
        return bare[0], bare.end()
    raise ValueError("no value")


def _text(text: str, at: int) -> tuple[str, int]:
    found = _TEXTS[text[at]].match(text, at)
    if not found:
        raise ValueError("a text without end")
    return _ESCAPE.sub(_unescaped, found[1]), found.end()


def _unescaped(escape: re.Match) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _skip(text, at)
    while text[at : at + 1] != "]":
        item, at = _value(text, at, depth + 1)
        items.append(item)
        at = _next(text, at, "]")
    return items, at + 1


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _skip(text, at)
    while text[at : at + 1] != "}":
        if text[at : at + 1] in _TEXTS:
            key, at = _text(text, at)
        elif name := _WORD.match(text, at) or _NUMBER.match(text, at):
            key, at = name[0], name.end()
        else:
            raise ValueError("no key")
        at = _skip(text, at)
        if text[at : at + 1] != ":" or key in found:
            raise ValueError("no value, or a duplicate key")
        found[key], at = _value(text, _skip(text, at + 1), depth + 1)
        at = _next(text, at, "}")
    return found, at + 1


def _next(text: str, at: int, end: str) -> int:
    """Where the next item begins, or the end."""
    at = _skip(text, at)
    if text[at : at + 1] == ",":
        return _skip(text, at + 1)
    if text[at : at + 1] != end:
        raise ValueError("no comma")
    return at


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def name_of(key: str) -> str:
    """A key as it is compared: lower case, words joined by _ ("Visual Faithfulness" is visual_faithfulness)."""
    return re.sub(r"[\W_]+", "_", key).strip("_").lower()


def whole(value: Any, low: int, high: int) -> int | None:
    """The integer from `low` to `high` that a JSON value means: 4, 4.0, "4", "4/5" with `high` 5; None for anything else."""
    if isinstance(value, str):
        number, slash, of = value.strip().partition("/")
        if slash and of.strip() != str(high):
            return None
        if not re.fullmatch(r"[-+]?\d{1,9}(?:\.0{1,9})?", number.strip()):
            return None
        value = float(number)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if low <= value <= high else None


def without_objects(text: str, values: list[Found], between: str) -> str:
    """`text` with `between` in place of each object among `values`, which are in the order of the text; lists are kept, since brackets in order
    are lists too."""
    pieces, at = [], 0
    for found in values:
        if isinstance(found.value, dict):
            pieces.append(text[at : found.start])
            at = found.end
    return between.join([*pieces, text[at:]])
