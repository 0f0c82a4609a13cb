"""What data could do if it were not guarded: speak as the template, write into the card, shut out those who annotate, take files along."""

import random
from pathlib import Path

from schemas.chat import escape, escape_all
from schemas.special_tokens import GUARD
from tests.faults.fault import Fault
from tests.schemas.test_special_tokens import tokenizer
from tests.special_tokens import EVERY, ORDINARY


def token_soup(dice: random.Random, folder: Path) -> None:
    """Special tokens of all families, in each other, cut in two, among ordinary text."""
    model, ids = tokenizer(EVERY)
    for _ in range(300):
        text = dice.choice(EVERY)
        for _ in range(dice.randint(0, 5)):
            place = dice.randint(0, len(text))
            text = text[:place] + dice.choice((*EVERY, *ORDINARY, "<", "|>", GUARD, "\n")) + text[place:]
        safe = escape(text)
        assert not ids.intersection(model.encode(safe).ids), text
        assert escape(safe) == safe, text
        cut = sorted(dice.choices(range(len(text)), k=2))
        parts = text[: cut[0]], text[cut[0] : cut[1]], text[cut[1] :]
        assert not ids.intersection(model.encode("".join(escape_all(parts))).ids), parts


FAULTS = [
    Fault("data", "a text holds special tokens of models", "no tokenizer finds one of them", token_soup, 30),
]
