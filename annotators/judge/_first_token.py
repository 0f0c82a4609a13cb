"""Shared by the judges that take a verdict from the log-probabilities of a reply's first token."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from schemas.operator import OperatorSettings

MIN_MASS = 0.5  # measured: docs/judge_quality.md


class FirstTokenSettings(OperatorSettings):
    """The setting common to these judges."""

    min_mass: float = Field(MIN_MASS, ge=0, le=1)
    """smallest probability that the allowed words must have together as the first token; below it no verdict is taken from them"""


def digested(settings: FirstTokenSettings) -> dict[str, Any]:
    """The settings that enter digests: without `min_mass` at its default, so that the ids of earlier judgements stay."""
    return settings.model_dump(mode="json", exclude={"min_mass"} if settings.min_mass == MIN_MASS else None)


def mass_of(logprobs: Sequence[float | None]) -> float:
    """The probability that the first token is one of the choices, 0..1, rounded to 4 digits.

    `logprobs`: natural log, one per choice; None, for a choice that the engine does not report, counts as 0, so that the sum is then a lower
    bound."""
    return min(1.0, round(math.fsum(math.exp(p) for p in logprobs if p is not None), 4))


def raw_of(choices: Sequence[str], logprobs: Sequence[float | None]) -> str:
    """The log-probabilities as a Judgement's `raw`, such as `yes=-0.1000 Yes=- no=-2.4000 No=-`."""
    return " ".join(f"{c}={'-' if p is None else f'{p:.4f}'}" for c, p in zip(choices, logprobs, strict=True))
