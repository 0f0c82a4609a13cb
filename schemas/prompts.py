"""Prompt files: filled in one pass over known names, so that braces or fences inside an answer have no effect."""

import re
from functools import lru_cache
from pathlib import Path

from schemas.disk import read_text

# phrases of bundled prompts about media, and what they say about a sample without any; tests/schemas/test_prompts.py finds those missing here
OF_TEXTS = {
    "a question about a picture, a video or a sound": "a question",
    "a question about what is shown": "a question",
    "anything that is not about what can be seen or heard": "anything that is not a fact",
    "What is known of what is shown": "What is known of what is asked",
    "Look at what is shown and replace": "Replace",
    "that one must see to know": "that one must know",
    "a careless viewer": "a careless reader",
    "who looked at it": "who read it",
    "Look closely at what is shown and write one question about it that cannot be answered without it.": "Write one question that can be"
    " answered by itself.",
    "Look closely at what is shown and write one short sentence about it that is false but sounds as if somebody had seen it": "Write one"
    " short sentence about the question below that is false but sounds true",
    "that is not what is shown": "that is not so",
    "what is shown": "the facts and any text in the question",
}

FENCE = re.compile(r"<<<|>>>")
NAME = re.compile(r"\{(\w+)\}")


def guard(word: str) -> str:
    """`word` with `<<<` and `>>>` spaced out, so that it cannot close a fence around it."""
    return FENCE.sub(lambda m: " ".join(m[0]), word) if "<<<" in word or ">>>" in word else word


def fill(template: str, **words: str) -> str:
    """`template` with each {name} replaced by its word, made safe by `guard`. Unknown names and other braces are kept."""
    safe = {name: guard(word) for name, word in words.items()}
    return NAME.sub(lambda m: safe.get(m[1], m[0]), template)


def for_kind(template: str, kind: str, own: object = None) -> str:
    """A bundled prompt in words for a sample of this kind: what it says of media, it says of a text (`text`). The user's `own` prompt, and what
    is said of media, is as it is written."""
    if own or kind != "text":
        return template
    for phrase, said in OF_TEXTS.items():
        template = template.replace(phrase, said)
    return template


def words_of(template: str, text: str) -> dict[str, str] | None:
    """The inverse of `fill`: the words that make `text` from `template`; None if there are none. {} for a template without names. A name that
    occurs twice must have the same word."""
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
    """The user's prompt file `path`, else the file `name` next to the operator's file `beside`; without line breaks at its ends. RecipeError
    when it cannot be read or is not UTF-8."""
    file = Path(path) if path else Path(beside).with_name(name)
    return read_text(file, "prompt file").strip("\n")
