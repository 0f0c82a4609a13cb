"""Figures that are counted while rows stream by, each in a few numbers however many rows there are. Where nothing was counted a figure
is None, never a zero."""

import math
from typing import Any

from annotators.measures.agreement import wilson

BINS = 10  # of a calibration curve, between a confidence of one half and of one


class Share:
    """A share with its 95 % interval. What was counted of one sample stands or falls together, so the interval is Wilson's of so many
    independent looks as tell as much: n / design effect (L. Kish, "Survey Sampling", 1965), the variance between samples over
    that of as many independent looks. A design effect below 1 counts as 1."""

    def __init__(self):
        self.hits, self.n = 0.0, 0
        self._hits2 = self._both = self._n2 = 0.0

    def add(self, hits: float, n: int = 1) -> None:
        """`hits` of `n` things of one sample."""
        self.hits += hits
        self.n += n
        self._hits2 += hits * hits
        self._both += hits * n
        self._n2 += n * n

    def figure(self) -> dict[str, Any] | None:
        """{n, share, low, high}, all but n 0..1."""
        if not self.n:
            return None
        share = self.hits / self.n
        alone = share * (1 - share) * self.n
        between = self._hits2 - 2 * share * self._both + share * share * self._n2
        looks = self.n / max(1.0, between / alone) if alone > 0 else self.n
        low, high = wilson(share * looks, looks)
        return {"n": self.n, "share": round(share, 4), "low": round(low, 4), "high": round(high, 4)}


class Calibration:
    """How often verdicts are right, by how sure they are: the reliability curve, and the expected calibration error over it
    (M. P. Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015)."""

    def __init__(self):
        self._bins = [[0, 0.0, 0] for _ in range(BINS)]

    def add(self, prob: float, right: bool) -> None:
        """One verdict: `prob`, 0..1, is that of its positive side; a verdict is for the side that is more probable."""
        sure = max(prob, 1 - prob)
        count = self._bins[min(int((sure - 0.5) * 2 * BINS), BINS - 1)]
        count[0] += 1
        count[1] += sure
        count[2] += right

    def figure(self) -> dict[str, Any] | None:
        """{n, error, bins: [{n, sure, right}] that are not empty, the least sure first}; error, sure and right 0..1."""
        total = sum(n for n, _, _ in self._bins)
        if not total:
            return None
        error = sum(abs(sure - right) for _, sure, right in self._bins) / total
        bins = [{"n": n, "sure": round(s / n, 4), "right": round(r / n, 4)} for n, s, r in self._bins if n]
        return {"n": total, "error": round(error, 4), "bins": bins}


class Correlation:
    """Pearson's r of two numbers, with the 95 % interval of R. A. Fisher's z (1915)."""

    def __init__(self):
        self.n = 0
        self._mean = [0.0, 0.0]
        self._sums = [0.0, 0.0, 0.0]  # of squares and of products, about the means (B. P. Welford, 1962)

    def add(self, x: float, y: float) -> None:
        self.n += 1
        dx, dy = x - self._mean[0], y - self._mean[1]
        self._mean[0] += dx / self.n
        self._mean[1] += dy / self.n
        self._sums[0] += dx * (x - self._mean[0])
        self._sums[1] += dy * (y - self._mean[1])
        self._sums[2] += dx * (y - self._mean[1])

    def figure(self) -> dict[str, Any] | None:
        """{n, r, low, high}, all but n -1..1. None of fewer than four, or where one of the two never changes."""
        spread = math.sqrt(self._sums[0] * self._sums[1])
        if self.n < 4 or spread == 0:
            return None
        r = max(-1.0, min(1.0, self._sums[2] / spread))
        half = 1.959964 / math.sqrt(self.n - 3)
        low, high = (math.tanh(math.atanh(r) + side * half) if abs(r) < 1 else r for side in (-1, 1))
        return {"n": self.n, "r": round(r, 4), "low": round(low, 4), "high": round(high, 4)}
