"""Parsers of judge replies. Each is a pure function of the text, runs in linear time, and never raises.

A reply is untrusted: the judge has read hostile answers. Thoughts are removed first; quoted text (fences, double quotes, backticks, lines after
`>`) and what is reported about an answer are never taken as its verdict. Two different verdicts are `unparsable`, never a score."""

import math
from collections.abc import Sequence

from annotators.judge._ranking import ranking as ranking
from annotators.judge._ratings import ratings as ratings
from annotators.judge._reply import ParsedReply as ParsedReply
from annotators.judge._spans import error_spans as error_spans
from annotators.judge._verdicts import STRENGTHS as STRENGTHS
from annotators.judge._verdicts import preference as preference
from annotators.judge._verdicts import strength as strength
from schemas.records import Outcome


def verdict_from_logprobs(
    logprobs: Sequence[float | None], values: Sequence[float]
) -> tuple[ParsedReply[float], float | None]:
    """(verdict, probability that the first answer is better) from the first token's distribution.

    `logprobs` has the natural log-probability of each choice, None if it was not returned; `values` has its value, above 0 if it means
    that the first is better. The probability is 0..1, normalised over the choices, with half of a tie's share, rounded to 4 digits. The
    verdict is the value with the highest probability. Two equally probable values: abstain; no choice returned: unparsable and None."""
    shares: dict[float, float] = {}
    for value, logprob in zip(values, logprobs, strict=True):
        shares[value] = shares.get(value, 0.0) + (0.0 if logprob is None else math.exp(logprob))
    total = sum(shares.values())
    if total == 0:
        return ParsedReply(Outcome.UNPARSABLE), None
    prob = round(sum(p if value > 0 else p / 2 for value, p in shares.items() if value >= 0) / total, 4)
    top = max(shares.values())
    modes = [value for value, p in shares.items() if p == top]
    if len(modes) > 1:
        return ParsedReply(Outcome.ABSTAIN), prob
    return ParsedReply(Outcome.VERDICT if modes[0] else Outcome.TIE, modes[0]), prob
