"""Medians with their spread, and exponents with their confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


def summarise(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return what is left of the times of several rounds.

    Parameters
    ----------
    rounds : sequence of sequences of float
        Times, at least one in each round.

    Returns
    -------
    dict
        ``median``, ``q1`` and ``q3`` (quartiles) of all times together; ``low`` and ``high``, the
        smallest and the largest median of a round; ``n``, the number of times.
    """
    times = np.concatenate([np.asarray(times, dtype=np.float64) for times in rounds])
    medians = [float(np.median(times)) for times in rounds]
    q1, median, q3 = (float(q) for q in np.quantile(times, (0.25, 0.5, 0.75)))
    return {
        "median": median,
        "q1": q1,
        "q3": q3,
        "low": min(medians),
        "high": max(medians),
        "n": len(times),
    }


class Power(NamedTuple):
    """``y = factor * x**exponent``, with the 95 % confidence interval of the exponent."""

    exponent: float
    low: float
    high: float
    factor: float


def fit_power(x: Sequence[float], y: Sequence[float]) -> Power:
    """Fit a power law by least squares on the logarithms.

    Parameters
    ----------
    x, y : sequence of float
        Positive; at least three points.

    Returns
    -------
    Power
        The interval is that of Student's t with two degrees of freedom less than points: it
        answers for scatter about the line, not for a curve that is no line.
    """
    fit = stats.linregress(np.log(x), np.log(y))
    margin = float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)
    exponent = float(fit.slope)
    return Power(exponent, exponent - margin, exponent + margin, float(np.exp(fit.intercept)))
