"""Statistics of a few seeds: paired differences, their intervals, and stability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import adjusted_rand_score

RESAMPLES = 20_000
_ALL_RESAMPLES = 6
"""Up to this number of values we use all resamples (at most 6^6) instead of a random draw."""


@dataclass(frozen=True)
class Difference:
    """A paired comparison of two rows over the seeds that both have, at least three for a test.

    The bootstrap interval ``resampled`` decides nothing, because it is too short for few seeds.
    """

    n: int
    mean: float  # of the differences
    interval: tuple[float, float] | None = None  # 95 %, by Student's t
    resampled: tuple[float, float] | None = None
    p: float | None = None  # of Wilcoxon's signed-rank test, two-sided

    @property
    def verdict(self) -> str:
        """Whether the first row is better: ``"yes"``, ``"no"`` or ``"open"``."""
        if self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]:
            return "open"
        return "yes" if self.interval[0] > 0.0 else "no"


def compare(one: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """Compare the scores of two rows by seed; return None if no seed is in both."""
    seeds = sorted(set(one.keys()) & set(other.keys()))
    if not seeds:
        return None
    values = np.array([one[seed] - other[seed] for seed in seeds])
    mean = float(values.mean())
    if len(seeds) < 3:
        return Difference(len(seeds), mean)
    # Wilcoxon's test drops differences of exactly zero, and needs at least one other.
    p = float(stats.wilcoxon(values).pvalue) if np.any(values != 0.0) else 1.0
    return Difference(len(seeds), mean, t_interval(values), bootstrap_interval(values), p)


def t_interval(values: npt.ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean of at least two values.

    Notes
    -----
    Student (1908), "The probable error of a mean". Unlike the bootstrap, it keeps its level for
    few seeds. If all values are equal both ends are the mean, where `scipy.stats.t.interval`
    returns NaN.
    """
    sample = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf(0.5 + level / 2.0, len(sample) - 1) * stats.sem(sample)
    return float(sample.mean() - half), float(sample.mean() + half)


def bootstrap_interval(values: npt.ArrayLike) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over all resamples, or over a fixed draw.

    Notes
    -----
    Efron and Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3. For few seeds
    the interval is too short: it covers the mean of five normal values in 85 % of cases, of three
    in 68 %.
    """
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n <= _ALL_RESAMPLES:
        index = np.indices((n,) * n).reshape(n, -1).T  # (n^n, n)
    else:
        index = np.random.Generator(np.random.PCG64(0)).integers(n, size=(RESAMPLES, n))
    low, high = np.quantile(sample[index].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def stability(assignments: Sequence[npt.ArrayLike]) -> float | None:
    """Return the mean adjusted Rand index over all pairs of clusterings, or None without pairs."""
    pairs = [float(adjusted_rand_score(a, b)) for a, b in combinations(assignments, 2)]
    return math.fsum(pairs) / len(pairs) if pairs else None
