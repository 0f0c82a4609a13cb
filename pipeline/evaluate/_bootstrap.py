"""Metrics with confidence intervals: percentile bootstrap over prompts (Efron & Tibshirani 1993, ch. 13), and differences of two evaluations
over the same prompts: both are resampled alike, so that what makes a prompt hard for both of them cancels out (a paired bootstrap)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from schemas.disk import disk

RESAMPLES = 1000
LEVEL = 0.95
CELLS = 1 << 23  # weights that are in memory at a time
FILE = "resamples.npz"


def replicates(counts: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], seed: int) -> np.ndarray:
    """[1 + RESAMPLES, metrics]: first row over all prompts, then one row per resample.

    counts [prompts, k] are quantities that add up over prompts, prompts >= 1; `figure` maps sums [r, k] to metrics [r, metrics]. The
    prompts of a resample depend on their number and the seed alone."""
    rng = np.random.default_rng(seed)
    n = len(counts)
    at_once = max(1, CELLS // n)
    sums = [counts.sum(0, keepdims=True)]
    for start in range(0, RESAMPLES, at_once):
        sums.append(rng.multinomial(n, np.full(n, 1 / n), size=min(at_once, RESAMPLES - start)) @ counts)
    return figure(np.concatenate(sums))


def interval(values: np.ndarray) -> dict[str, float]:
    """{value, low, high} of one column of `replicates`: the value over all prompts and the middle 95 % of the resamples."""
    low, high = np.quantile(values[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": round(float(values[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def keep(folder: Path, metrics: Sequence[str], values: np.ndarray, prompts: str) -> None:
    """Writes the replicates of an evaluation, `values` [1 + RESAMPLES, metrics], for `differences`. `prompts` identifies prompts, their order and
    the seed. StoreError if the disk fails."""
    with disk(folder / FILE):
        np.savez(folder / FILE, metrics=np.array(metrics, str), values=values, prompts=np.array(prompts))


def differences(after: Path, before: Path) -> dict[str, dict[str, float]]:
    """{metric: {value, low, high}} of the evaluation in the folder `after` minus the one in `before`, by paired bootstrap, for the metrics that
    both have; empty unless both are over the same prompts, or if one is of an older version."""
    if not all((folder / FILE).exists() for folder in (after, before)):
        return {}
    with np.load(after / FILE) as new, np.load(before / FILE) as old:
        if str(new["prompts"]) != str(old["prompts"]):
            return {}
        columns = {str(name): old["values"][:, i] for i, name in enumerate(old["metrics"])}
        found = {str(name): new["values"][:, i] for i, name in enumerate(new["metrics"])}
    return {name: interval(values - columns[name]) for name, values in found.items() if name in columns}
