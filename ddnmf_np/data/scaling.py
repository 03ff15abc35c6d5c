"""The scaling of features, learned from the data and kept with the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Array, Ops

Scale = Literal["none", "all", "features"]
"""Whether we scale nothing, all features by one number, or each feature by its own."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scaling:
    """The map ``(x - low) / span`` of each feature, and its inverse.

    ``low`` and ``span``, (n_features,), are the smallest value, and the distance from it to the
    largest, above 0. ``fill``, (n_features,), is the scaled value that the networks see where an
    entry is missing; None for 0.
    """

    low: Floats
    span: Floats
    fill: Floats | None = None

    @classmethod
    def learn(cls, x: npt.NDArray[Any], scale: Scale, *, fill: bool = False) -> Scaling:
        """Return the scaling that maps the samples into [0, 1].

        ``x``, (n, n_features) on the host, are training samples; NaN is a missing entry. With
        ``scale`` "all" we subtract the smallest value of all and divide by the distance to the
        largest; 0 stays 0 where it is the smallest. A feature that is constant, or missing
        everywhere, is only shifted. With ``fill`` we fill missing entries with the mean of the
        feature, not with 0. A feature that is missing everywhere has no mean and is filled with 0.
        """
        n_features = x.shape[1]
        low, span = np.zeros(n_features), np.ones(n_features)
        known = ~np.isnan(x)
        if scale == "all" and known.any():
            low[:] = float(np.min(x, initial=np.inf, where=known))
            span[:] = float(np.max(x, initial=-np.inf, where=known)) - low[0] or 1.0
        elif scale == "features":
            some = known.any(axis=0)
            least = np.min(x, axis=0, initial=np.inf, where=known)
            most = np.max(x, axis=0, initial=-np.inf, where=known)
            low[some] = least[some]
            distance = most[some].astype(np.float64) - least[some]
            span[some] = np.where(distance > 0.0, distance, 1.0)
        if not fill:
            return cls(low, span)
        count = known.sum(axis=0)
        mean = np.sum(x, axis=0, where=known, dtype=np.float64) / np.maximum(count, 1)
        return cls(low, span, np.where(count > 0, (mean - low) / span, 0.0))

    @property
    def is_identity(self) -> bool:
        """Whether it changes no number."""
        return not self.low.any() and bool((self.span == 1.0).all())

    def on(self, ops: Ops, dtype: Any) -> DeviceScaling:
        """Return the scaling as it works on a backend, in one precision."""
        low, span = (ops.to_device(values.astype(dtype)) for values in (self.low, self.span))
        fill = None if self.fill is None else ops.to_device(self.fill.astype(dtype))
        return DeviceScaling(ops, low, span, fill)


@dataclass(frozen=True, eq=False)
class DeviceScaling:
    """A `Scaling` on a backend; its methods work in place."""

    ops: Ops
    low: Array
    span: Array
    fill: Array | None

    def apply(self, x: Array) -> None:
        """Replace samples by their scaled values."""
        xp = self.ops.xp
        xp.subtract(x, self.low, out=x)
        xp.divide(x, self.span, out=x)

    def undo(self, x: Array) -> None:
        """Replace scaled values by samples."""
        xp = self.ops.xp
        xp.multiply(x, self.span, out=x)
        xp.add(x, self.low, out=x)
