"""Answers to drawn scenes, made wrong by a word."""

import random
import re

from tests.support.small_run import SWAPS


def exchanged(answer: str, rng: random.Random) -> str:
    """The answer with a word of it exchanged."""
    words = [(word, group) for group in SWAPS for word in group if re.search(rf"\b{word}\b", answer)]
    word, group = rng.choice(words)
    return re.sub(rf"\b{word}\b", rng.choice([w for w in group if w != word]), answer, count=1)
