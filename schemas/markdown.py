"""Texts of rows, servers and recipes in Markdown pages: shown literally, never interpreted as Markdown or HTML."""

import re

from schemas.records import one_line

LONGEST = 200  # maximum characters of a text in a page
_WORDS = re.compile(r"[\w ('\"][\w ,.:;()%/+'\"!?=–—…-]*")
# what some renderers interpret: addresses, underscores around words, list numbers
_LIVE = re.compile(r"://|www\.|\.[^\W\d_]{2}|(?<![^\W_])_|_(?![^\W_])|^\d+[.)]\s", re.IGNORECASE)


def line(text: str, most: int = LONGEST) -> str:
    """`text` on one line, cut at `most` characters; invisible characters are escaped."""
    text = one_line(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def plain(text: str, most: int = LONGEST) -> str:
    """`text` on one line, for a paragraph, heading or table cell: plain words unchanged, anything else as code, so that no renderer finds a
    link, image, tag or cell boundary in it."""
    text = line(text, most)
    return text if not text or (_WORDS.fullmatch(text) and not _LIVE.search(text)) else code(text, most)


def code(text: str, most: int = LONGEST) -> str:
    """`text` on one line as code. A vertical bar, which would end a table cell even in code, becomes a broken bar."""
    text = line(text, most).replace("|", "¦")
    ticks = _ticks(text, 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def block(text: str, language: str) -> str:
    """A fenced code block that no line of `text` can close."""
    ticks = _ticks(text, 3)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _ticks(text: str, least: int) -> str:
    """More backticks than any run of them in `text`, at least `least`."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
