"""Metrics with confidence intervals: percentile bootstrap over prompts (Efron & Tibshirani 1993, ch. 13)."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def replicates(counts: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], seed: int) -> np.ndarray:
    """[1 + RESAMPLES, metrics]: first row over all prompts, then one row per resample.

    counts [prompts, k] are quantities that add up over prompts, prompts >= 1; `figure` maps sums [r, k] to metrics [r, metrics]."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    return figure(np.concatenate([counts.sum(0, keepdims=True), weights @ counts]))


def interval(values: np.ndarray) -> dict[str, float]:
    """{value, low, high} of one column of `replicates`: the value over all prompts and the middle 95 % of the resamples."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": round(float(values[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
