"""Prompt files: filled in one pass over known names, so that a brace or a fence inside an answer changes nothing."""

import re
from functools import lru_cache
from pathlib import Path

from schemas.disk import read_text

FENCE = re.compile(r"<<<|>>>")
NAME = re.compile(r"\{(\w+)\}")


def guard(word: str) -> str:
    """`word`, unable to close the fence <<< >>> it is to stand in."""
    return FENCE.sub(lambda m: " ".join(m[0]), word) if "<<<" in word or ">>>" in word else word


def fill(template: str, **words: str) -> str:
    """`template` with each {name} replaced by its word; a word cannot close the fence it stands in. Other braces stay."""
    safe = {name: guard(word) for name, word in words.items()}
    return NAME.sub(lambda m: safe.get(m[1], m[0]), template)


def words_of(template: str, text: str) -> dict[str, str] | None:
    """The words that `fill` put into `template` where `text` is what it made; None where `text` is another's. Of a name that stands there twice
    the first word; {} of a template without names."""
    pieces = NAME.split(template)  # text, name, text, name ... text
    names = list(dict.fromkeys(pieces[1::2]))
    slots = [
        f"(?P<{name}>.*?)" if pieces[1::2].index(name) == i else f"(?P={name})" for i, name in enumerate(pieces[1::2])
    ]
    pattern = "".join(re.escape(piece) + slot for piece, slot in zip(pieces[::2], [*slots, ""], strict=True))
    found = re.fullmatch(pattern, text, re.DOTALL)
    return {name: found[name] for name in names} if found else None


@lru_cache
def read(path: str | None, beside: str, name: str) -> str:
    """The user's own prompt file, or the one beside the operator. RecipeError where it cannot be read, or is not UTF-8."""
    file = Path(path) if path else Path(beside).with_name(name)
    return read_text(file, "prompt file").strip("\n")
