"""Texts of rows, servers and recipes in Markdown pages: shown as they are, never read as Markdown or HTML."""

import re

from schemas.records import one_line

LONGEST = 200  # characters of a text in a page
_WORDS = re.compile(r"[\w ('\"][\w ,.:;()%/+'\"!?=–—…-]*")
# what some renderer makes something of: addresses, underlines around words, the number of a list
_LIVE = re.compile(r"://|www\.|\.[^\W\d_]{2}|(?<![^\W_])_|_(?![^\W_])|^\d+[.)]\s", re.IGNORECASE)


def line(text: str, most: int = LONGEST) -> str:
    """`text` on one line, cut at `most` characters; what cannot be seen is written as an escape."""
    text = one_line(" ".join(text.split()))
    return text if len(text) <= most else text[: most - 1] + "…"


def plain(text: str, most: int = LONGEST) -> str:
    """`text` on one line, for a paragraph, a heading or a cell of a table: plain words as they are, anything else as code, in which no renderer
    finds a link, a picture, a tag or the end of a cell."""
    text = line(text, most)
    return text if not text or (_WORDS.fullmatch(text) and not _LIVE.search(text)) else code(text, most)


def code(text: str, most: int = LONGEST) -> str:
    """`text` on one line as code. A bar would end a table's cell even there and is shown as a broken one."""
    text = line(text, most).replace("|", "¦")
    ticks = _ticks(text, 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def block(text: str, language: str) -> str:
    """A fenced block that no line of `text` ends."""
    ticks = _ticks(text, 3)
    return f"{ticks}{language}\n{text.rstrip()}\n{ticks}"


def _ticks(text: str, least: int) -> str:
    """More backticks than follow each other in `text`."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))
