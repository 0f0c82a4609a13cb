"""Length balance: keeps pairs from teaching a model to write longer or shorter answers.

`search` is RLAIF-V's: for r = 0, .02 ... 1, keep the pairs with (words of rejected - words of chosen) / words of rejected <= r,
and take the r with the smallest |mean chosen - mean rejected| / mean rejected."""

import numpy as np
import pyarrow.compute as pc
from pydantic import model_validator

from schemas.arrow import word_counts
from schemas.operator import Context, Tables
from schemas.operator import OperatorSettings as Base
from schemas.records import SAMPLE_KINDS, Reason, Rejection

READS = ("pairs",)
LEAVES = ()
MEDIA = SAMPLE_KINDS
SCOPE = "table"
VERSION = 1


class Settings(Base):
    search: bool = False
    """search for the bound that balances the mean lengths (RLAIF-V)"""
    max_ratio: float | None = None
    """instead of search: keep pairs whose rejected answer is at most this share of its own length longer than the chosen one"""

    @model_validator(mode="after")
    def _one_way(self):
        if self.search == (self.max_ratio is not None):
            raise ValueError("set either `search: true` or `max_ratio: 0.5`")
        return self


def keep(tables: Tables, settings: Settings, context: Context) -> list[Rejection]:
    """Returns a rejection for each pair outside the bound. Keeps a few numbers per pair in memory, never its text."""
    ids, samples, words = [], [], []
    for batch in tables.batches("pairs", ["id", "sample", "chosen", "rejected"]):
        ids += batch.column("id").to_pylist()
        samples += batch.column("sample").to_pylist()
        sides = [word_counts(batch.column(s)) for s in ("chosen", "rejected")]
        words.append(np.stack([np.asarray(pc.fill_null(s, 0), float) for s in sides], 1))
    if not ids:
        return []
    chosen, rejected = np.concatenate(words).T
    ratio = (rejected - chosen) / np.maximum(rejected, 1)
    bound = best_bound(chosen, rejected, ratio) if settings.search else settings.max_ratio
    detail = f"the rejected answer is more than {bound:.2f} of its length longer than the chosen one; shorten it or raise max_ratio"
    return [
        Rejection(ids[i], "pairs", context.step, Reason.LENGTH, detail, samples[i])
        for i in np.flatnonzero(ratio > bound)
    ]


def best_bound(chosen: np.ndarray, rejected: np.ndarray, ratio: np.ndarray) -> float:
    """The bound in 0, .02 ... 1 that best balances the mean lengths; the smallest of equally good ones; 1 if no bound keeps any pair."""
    best = (np.inf, 1.0)
    for step in range(51):
        kept = ratio <= step / 50
        if kept.any() and rejected[kept].mean() > 0:
            gap = abs(chosen[kept].mean() - rejected[kept].mean()) / rejected[kept].mean()
            best = min(best, (gap, step / 50))
    return best[1]
