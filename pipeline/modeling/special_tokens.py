"""Shared by engines with a tokenizer: special tokens to escape, first tokens of choices, rounding of log-probabilities."""

import re
from collections.abc import Iterable
from typing import Any

from schemas.errors import RowError
from schemas.messages import MARKUP
from schemas.records import Reason
from schemas.special_tokens import BRACKETS, Specials


def specials(tokenizer: Any) -> dict[str, int]:
    """{special token: id} of a tokenizer."""
    return {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def markup(specials: Iterable[str]) -> Specials:
    """What is escaped in data: these special tokens, and the markup that most chat templates use."""
    longest_first = sorted(specials, key=len, reverse=True)
    bare = [token for token in longest_first if not any(bracket in token for bracket in BRACKETS)]
    return Specials(re.compile("|".join([MARKUP.pattern, *map(re.escape, longest_first)])), (*BRACKETS, *bare))


def first_tokens(tokenizer: Any, choices: tuple[str, ...]) -> list[int | None]:
    """The id of each choice's first token; None if it is unknown or the same as an earlier choice's. RowError if all are None."""
    found: list[int | None] = []
    for choice in choices:
        ids = tokenizer.encode(choice, add_special_tokens=False)
        own = ids and ids[0] != tokenizer.unk_token_id and ids[0] not in found
        found.append(ids[0] if own else None)
    if all(i is None for i in found):
        raise RowError(
            Reason.ENGINE_REFUSED,
            f"the model's tokenizer has no distinct first token for any of the choices {list(choices)}; use other choices",
        )
    return found


def rounded(logprob: float) -> float:
    """Rounded to 4 digits: the same request in another batch differs by up to 6e-6."""
    return round(logprob, 4) + 0.0  # no -0.0
