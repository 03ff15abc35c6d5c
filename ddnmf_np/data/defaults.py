"""Options that we choose from the data, for the presets "auto" and "parts".

The rules see samples only, never a label and never a test set. How they were found is on the page
``derivations/defaults.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.data.scaling import Scale, Scaling

WIDELY, SLIGHTLY = 100.0, 3.0
"""Ranges of features in one unit differ at most by the first factor if they begin near 0, and by
the second if they do not."""

NEAR = 0.05
"""A feature begins near 0 if its least value is within this share of its range of it."""

MOST_WORK = 2.4e11
"""A training does at most this many products of an encoder's weight and a sample, about a minute
on two processors, but at least 3,000 steps."""


@dataclass(frozen=True)
class Facts:
    """Facts about the training samples, from which the rules choose."""

    n: int  # number of samples
    n_features: int
    scale: Scale  # how they are scaled
    inside: bool  # whether all scaled values are in [0, 1]
    missing: bool  # whether entries may be missing
    variance: float  # mean variance of the scaled features

    @classmethod
    def of(
        cls,
        x: npt.NDArray[Any],
        *,
        n: int,
        images: bool,
        missing: bool,
        scale: Scale | None = None,
    ) -> Facts:
        """Return the facts of samples, of which ``x`` on the host are some or all.

        ``x`` is of shape (n_some, n_features); NaN is a missing entry. ``n`` is the number of all
        samples. ``images`` says whether they are images, whose pixels have one unit, and
        ``missing`` whether entries may be missing. ``scale`` is the scaling that is asked for; by
        default we choose it.
        """
        scale = scale or ("features" if not images and _is_mixed(x) else "all")
        scaling = Scaling.learn(x, scale)
        scaled = (np.asarray(x, np.float64) - scaling.low) / scaling.span
        known = ~np.isnan(scaled)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.sum(scaled, axis=0, where=known) / count
        squares = np.sum((scaled - mean) ** 2, axis=0, where=known)
        inside = bool(((scaled >= 0.0) & (scaled <= 1.0) | ~known).all())
        return cls(n, x.shape[1], scale, inside, missing, float((squares / count).mean()))


def _is_mixed(x: npt.NDArray[Any]) -> bool:
    """Return whether the features seem to have different units, by their ranges."""
    known = ~np.isnan(x)
    low = np.min(x, axis=0, initial=np.inf, where=known)
    span = np.max(x, axis=0, initial=-np.inf, where=known) - low
    varies = np.isfinite(span) & (span > 0.0)
    if not varies.any():
        return False
    least, most = np.percentile(span[varies], (10, 90))
    from_zero = np.mean((np.abs(low) <= NEAR * span)[varies]) >= 0.9
    return bool(most > (WIDELY if from_zero else SLIGHTLY) * least)


def choose(
    facts: Facts,
    rank: int,
    *,
    widths: Sequence[int] | None = None,
    batch_size: int | None = None,
    shallow: bool = False,
) -> dict[str, Any]:
    """Return the options that suit some data, by their short names.

    ``rank`` is the number of base units. ``widths`` of the encoder and ``batch_size``, the samples
    a step, may be given. ``shallow`` says whether the encoder that we choose has one layer in place
    of two.
    """
    n, n_features = facts.n, facts.n_features
    wide = _power_of_two(4 * n_features, 256, 512)
    batch_size = batch_size or min(n, _power_of_two(n / 10, 16, 128))
    widths = tuple(widths or (wide, max(128, 4 * rank))[shallow:])
    ends = (n_features, *widths, rank)
    work = batch_size * sum(a * b for a, b in pairwise(ends))
    steps = max(3_000, min(8_000, 4 * n, MOST_WORK / work))
    # In units of the variance, both reconstruction losses are fractions that are unexplained.
    weight = 1.0 / max(facts.variance, 1e-3)
    noise: dict[str, Any] = {
        "noise_kind": "gaussian",
        "noise_rate": min(0.5, 0.1 * facts.variance**0.5),
    }
    if facts.missing:  # what the model has to do with missing entries is what masking trains
        noise = {"noise_kind": "masking", "noise_rate": 0.25}
    return {
        "widths": widths,
        "output_activation": "sigmoid" if facts.inside else "relu",
        "scale": facts.scale,
        "alpha_sym": weight,
        "student_reconstruction": weight,
        **noise,
        "batch_size": batch_size,
        "lr": 1e-3 * (batch_size / 16) ** 0.5,
        "epochs": max(1, round(steps * batch_size / n)),
    }


def _power_of_two(value: float, least: int, most: int) -> int:
    return int(min(most, max(least, 2 ** round(math.log2(max(value, 1.0))))))


WEIGHTS = ("alpha_sym", "student_reconstruction")
"""Names of the weights among them."""

DECIDED = (
    *("widths", "output_activation", "scale", "alpha_sym", "student_reconstruction"),
    *("noise_rate", "noise_kind", "batch_size", "lr", "epochs"),
)
"""Names of the options that `choose` returns."""
