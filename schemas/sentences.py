"""Texts cut into sentences, by what ends one in the writings of most languages."""

import re

_SENTENCE = re.compile(r"[^.!?。！？]*[.!?。！？]+[\"')\]]*\s*|[^.!?。！？]+$")


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, each with the white space behind it; none of an empty text. A point inside 3.5 ends one too."""
    return [m[0] for m in _SENTENCE.finditer(text) if m[0].strip()]
