"""Data whose parts we know, drawn anew from their published descriptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BARS = 1000
"""Images of bars."""

CHANCE = 0.125
"""Probability of a bar: two of the sixteen bars are in an image on average."""


@dataclass(frozen=True, eq=False)
class Known:
    """Samples, and the parts and activations from which they were made."""

    x: Floats  # (n, n_features)
    parts: Floats | None  # (k, n_features), which a method should find; None if nobody knows them
    activations: Floats | None  # (n, k): how much of each part is in each sample
    rank: int  # number of components that a method gets
    y: npt.NDArray[Any] | None = None  # (n,): classes of images, for a probe

    @property
    def training(self) -> Floats:
        """The first four fifths of the samples, to which methods are fitted."""
        return self.x[: len(self.x) - len(self.x) // 5]


def swimmer(rng: np.random.Generator) -> Known:
    """Return all 256 images of a torso with four limbs in four positions each, in random order.

    Notes
    -----
    Donoho and Stodden (2003), "When does non-negative matrix factorization give a correct
    decomposition into parts?". Images have 32 x 32 pixels, the torso 12 and a limb 6. The torso is
    in all images, so it counts as no part; methods get one component more for it.
    """
    torso, limbs = np.zeros((32, 32)), np.zeros((4, 4, 32, 32))
    torso[10:22, 16] = 1.0
    for limb, (row, up) in enumerate(((10, -1), (10, -1), (21, 1), (21, 1))):
        side = 1 if limb % 2 else -1
        for position, (down, across) in enumerate(((up, 0), (up, side), (0, side), (-up, side))):
            for step in range(1, 7):
                limbs[limb, position, row + step * down, 16 + side + step * across] = 1.0
    chosen = np.indices((4,) * 4).reshape(4, -1).T  # (256, limb)
    chosen = chosen[rng.permutation(len(chosen))]
    activations = np.eye(4)[chosen].reshape(len(chosen), 16)
    parts = limbs.reshape(16, -1)
    return Known(activations @ parts + torso.ravel(), parts, activations, rank=17)


def _bars(width: int) -> Floats:
    """Return 8 horizontal and 8 vertical bars of ``width`` pixels in the smallest square."""
    side = 7 + width
    bars = np.zeros((16, side, side))
    for at in range(8):
        bars[at, at : at + width, :] = bars[8 + at, :, at : at + width] = 1.0
    return bars.reshape(16, -1)


def _brightness(rng: np.random.Generator) -> Floats:
    present = rng.random((BARS, 16)) < CHANCE
    return np.where(present, rng.uniform(0.5, 1.0, present.shape), 0.0)


def bars_added(rng: np.random.Generator) -> Known:
    """Return images of 8 x 8 pixels with bars whose brightness adds up where they cross.

    Notes
    -----
    After Spratling (2006), "Learning image components for object recognition", Journal of Machine
    Learning Research 7:793-815: each of 16 bars appears with probability 1/8. The brightness is
    uniform in [0.5, 1].
    """
    bars, activations = _bars(1), _brightness(rng)
    return Known(activations @ bars, bars, activations, rank=16)


def bars_occluded(rng: np.random.Generator) -> Known:
    """Return images of 9 x 9 pixels with bars, two pixels wide, that hide each other.

    The order from front to back is drawn for each image. Neighbours share half of their pixels, so
    that a sum of parts is often not the image, and no linear model describes these data without
    error. The same random numbers give the same amounts as in `bars_added`.
    """
    bars, activations = _bars(2), _brightness(rng)
    depth = np.where(activations > 0.0, rng.random(activations.shape), -1.0)
    seen = np.where(bars > 0.0, depth[:, :, None], -1.0)  # (n, bar, pixel), the largest is in front
    x = np.take_along_axis(activations, seen.argmax(axis=1), axis=1)
    return Known(np.where(seen.max(axis=1) >= 0.0, x, 0.0), bars, activations, rank=16)


def _spectra(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return eight spectra of three peaks each in 128 channels, and their amounts in 600 samples.

    The amounts are exponential, and half of them 0.
    """
    fixed = np.random.default_rng(8)  # the same spectra for every seed
    channels, k, n = np.arange(128.0), 8, 600
    centres, widths = fixed.uniform(5, 123, (k, 3, 1)), fixed.uniform(1.5, 4, (k, 3, 1))
    heights = fixed.uniform(0.3, 1.0, (k, 3, 1))
    parts = (heights * np.exp(-0.5 * ((channels - centres) / widths) ** 2)).sum(axis=1)
    return parts, rng.exponential(1.0, (n, k)) * (rng.random((n, k)) < 0.5)


def spectra(rng: np.random.Generator) -> Known:
    """Return noisy sums of eight spectra.

    The noise has a standard deviation of 0.02 of the highest peak; values below 0 become 0.
    """
    parts, activations = _spectra(rng)
    x = activations @ parts
    x += 0.02 * parts.max() * rng.standard_normal(x.shape)
    return Known(np.maximum(x, 0.0), parts, activations, rank=len(parts))


def absorbed(rng: np.random.Generator) -> Known:
    """Return the share of the light that eight substances absorb together, a curved function.

    By the law of Beer and Lambert absorbances add up, and ``1 - exp(-absorbance)`` of the light is
    lost: more of a substance makes its peaks wider, not only higher. The noise has a standard
    deviation of 0.02; values below 0 become 0. The same random numbers give the same amounts as in
    `spectra`.
    """
    parts, activations = _spectra(rng)
    x = 1.0 - np.exp(-activations @ parts)
    x += 0.02 * rng.standard_normal(x.shape)
    return Known(np.maximum(x, 0.0), parts, activations, rank=len(parts))


KNOWN: dict[str, Callable[[np.random.Generator], Known]] = {
    "swimmer": swimmer,
    "bars": bars_added,
    "occluded": bars_occluded,
    "spectra": spectra,
    "absorbed": absorbed,
}
"""Data with known parts by name."""
