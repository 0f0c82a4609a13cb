"""Streaming statistics in constant memory. A statistic without data is None, never zero."""

import bisect
import itertools
import math
from typing import Any

from annotators.measures.agreement import wilson_interval

BINS = 10  # of a calibration curve, for confidences from 0.5 to 1


class Share:
    """A share with its 95 % Wilson interval. Counts of one sample are correlated, so the interval uses the effective sample size
    n / design effect (L. Kish, "Survey Sampling", 1965): the variance between samples divided by that of independent draws. A design
    effect below 1 counts as 1. Where all hit or none, nothing tells how alike those of a sample are, and each sample counts once."""

    def __init__(self):
        self.hits, self.n, self._samples = 0.0, 0, 0
        self._hits2 = self._both = self._n2 = 0.0

    def add(self, hits: float, n: int = 1) -> None:
        """Adds `hits` of `n` (at least 1) for one sample."""
        self.hits += hits
        self.n += n
        self._samples += 1
        self._hits2 += hits * hits
        self._both += hits * n
        self._n2 += n * n

    def figure(self) -> dict[str, Any] | None:
        """{n, share, low, high}, all but n 0..1; None without data."""
        if not self.n:
            return None
        share = self.hits / self.n
        independent = share * (1 - share) * self.n
        between = self._hits2 - 2 * share * self._both + share * share * self._n2
        effective_n = self.n / max(1.0, between / independent) if independent > 0 else self._samples
        low, high = wilson_interval(share * effective_n, effective_n)
        return {"n": self.n, "share": round(share, 4), "low": round(low, 4), "high": round(high, 4)}


class Calibration:
    """Calibration: accuracy by confidence (reliability curve) and expected calibration error (M. P. Naeini et al., "Obtaining Well
    Calibrated Probabilities Using Bayesian Binning", AAAI 2015)."""

    def __init__(self):
        self._bins = [[0, 0.0, 0] for _ in range(BINS)]

    def add(self, prob: float, right: bool) -> None:
        """Adds one verdict; `prob`, 0..1, is the probability of its positive side, and the confidence is max(prob, 1 - prob)."""
        sure = max(prob, 1 - prob)
        count = self._bins[min(int((sure - 0.5) * 2 * BINS), BINS - 1)]
        count[0] += 1
        count[1] += sure
        count[2] += right

    def figure(self) -> dict[str, Any] | None:
        """{n, error, bins: [{n, sure (mean confidence), right (accuracy)}], non-empty ones, lowest confidence first}; None without data.

        error, sure and right are 0..1."""
        total = sum(n for n, _, _ in self._bins)
        if not total:
            return None
        error = sum(abs(sure - right) for _, sure, right in self._bins) / total
        bins = [{"n": n, "sure": round(s / n, 4), "right": round(r / n, 4)} for n, s, r in self._bins if n]
        return {"n": total, "error": round(error, 4), "bins": bins}


class Quantiles:
    """Quantiles of numbers from 0 to 1, to a hundredth."""

    def __init__(self):
        self._counts = [0] * 101

    def add(self, value: float) -> None:
        """Adds a number, 0..1; it counts as rounded to two digits."""
        self._counts[round(100 * value)] += 1

    def figure(self) -> dict[str, Any] | None:
        """{n, median, lowest (the 5 % quantile)}; None without data. A quantile q is the least number that a share q does not exceed."""
        total = sum(self._counts)
        if not total:
            return None
        sums = list(itertools.accumulate(self._counts))
        median, lowest = (bisect.bisect_left(sums, q * total) / 100 for q in (0.5, 0.05))
        return {"n": total, "median": median, "lowest": lowest}


class Correlation:
    """Pearson's r of two variables, with a 95 % interval by Fisher's z (R. A. Fisher, 1915)."""

    def __init__(self):
        self.n = 0
        self._mean = [0.0, 0.0]
        self._sums = [0.0, 0.0, 0.0]  # central sums of squares and of products (B. P. Welford, 1962)

    def add(self, x: float, y: float) -> None:
        """Adds one pair of values."""
        self.n += 1
        dx, dy = x - self._mean[0], y - self._mean[1]
        self._mean[0] += dx / self.n
        self._mean[1] += dy / self.n
        self._sums[0] += dx * (x - self._mean[0])
        self._sums[1] += dy * (y - self._mean[1])
        self._sums[2] += dx * (y - self._mean[1])

    def figure(self) -> dict[str, Any] | None:
        """{n, r, low, high}, all but n -1..1; None for fewer than four pairs, or if one variable is constant."""
        spread = math.sqrt(self._sums[0] * self._sums[1])
        if self.n < 4 or spread == 0:
            return None
        r = max(-1.0, min(1.0, self._sums[2] / spread))
        half = 1.959964 / math.sqrt(self.n - 3)
        low, high = (math.tanh(math.atanh(r) + side * half) if abs(r) < 1 else r for side in (-1, 1))
        return {"n": self.n, "r": round(r, 4), "low": round(low, 4), "high": round(high, 4)}
