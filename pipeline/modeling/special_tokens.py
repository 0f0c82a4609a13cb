"""What engines with a tokenizer share: the special tokens that data must not hold, first tokens of choices, log-probabilities as they are kept."""

import re
from collections.abc import Iterable
from typing import Any

from schemas.errors import RowError
from schemas.messages import MARKUP
from schemas.records import Reason
from schemas.special_tokens import BRACKETS, Specials


def specials(tokenizer: Any) -> dict[str, int]:
    """The tokenizer's special tokens and their ids."""
    return {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def markup(specials: Iterable[str]) -> Specials:
    """What is broken in a text that is data: these tokens, and what most chat templates use."""
    longest_first = sorted(specials, key=len, reverse=True)
    bare = [token for token in longest_first if not any(bracket in token for bracket in BRACKETS)]
    return Specials(re.compile("|".join([MARKUP.pattern, *map(re.escape, longest_first)])), (*BRACKETS, *bare))


def first_tokens(tokenizer: Any, choices: tuple[str, ...]) -> list[int | None]:
    """The first token of each choice; None for one that is unknown or that an earlier choice has. RowError when none has one."""
    found: list[int | None] = []
    for choice in choices:
        ids = tokenizer.encode(choice, add_special_tokens=False)
        own = ids and ids[0] != tokenizer.unk_token_id and ids[0] not in found
        found.append(ids[0] if own else None)
    if all(i is None for i in found):
        raise RowError(Reason.ENGINE_REFUSED, f"no choice of {list(choices)} has a token of its own")
    return found


def rounded(logprob: float) -> float:
    """To 4 digits: the same question in another batch differs by up to 6e-6."""
    return round(logprob, 4) + 0.0  # no -0.0
