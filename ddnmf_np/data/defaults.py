"""Training options that suit some data: the preset "auto".

The rules see samples only, never a label and never a test set. How they were found is on the page
``derivations/defaults.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIXED = 10.0
"""Features whose ranges differ by more than this factor have different units."""


@dataclass(frozen=True)
class Facts:
    """What the rules know of the training samples.

    Parameters
    ----------
    n, n_features : int
        Shape of the samples.
    mixed : bool
        Whether the features seem to have different units.
    images : bool
        Whether the samples are images, whose pixels have one unit.
    missing : bool
        Whether entries may be missing.
    """

    n: int
    n_features: int
    mixed: bool
    images: bool
    missing: bool

    @classmethod
    def of(cls, x: npt.NDArray[Any], *, n: int, images: bool, missing: bool) -> Facts:
        """Return the facts of samples, of which ``x`` on the host are some or all."""
        spread = np.nanmax(x, axis=0, initial=0.0) - np.nanmin(x, axis=0, initial=np.inf)
        spread = spread[np.isfinite(spread) & (spread > 0.0)]
        low, high = np.percentile(spread, (5, 95)) if spread.size else (1.0, 1.0)
        return cls(n, x.shape[1], bool(high > MIXED * low) and not images, images, missing)


def choose(facts: Facts, rank: int) -> dict[str, Any]:
    """Return the options that suit some data, by their short names."""
    n_features = facts.n_features
    wide = int(min(500, max(32, 2 * n_features)))
    narrow = int(min(256, max(16, 4 * rank)))
    batch_size = int(min(128, max(8, 2 ** round(math.log2(max(1, facts.n / 16))))))
    steps = 6000
    return {
        "widths": (wide, narrow),
        "output_activation": "sigmoid",
        "scale": "features" if facts.mixed else "all",
        "noise_kind": "none",
        "batch_size": min(batch_size, facts.n),
        "lr": 2e-3,
        "epochs": max(1, math.ceil(steps / math.ceil(facts.n / batch_size))),
    }


DECIDED = (*("widths", "output_activation", "scale", "noise_kind", "batch_size", "lr", "epochs"),)
"""Names of the options that `choose` returns."""
