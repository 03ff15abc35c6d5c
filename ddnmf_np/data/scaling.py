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

    Parameters
    ----------
    low, span : ndarray of shape (n_features,), float64
        Smallest value, and distance from it to the largest, above 0.
    """

    low: Floats
    span: Floats

    @classmethod
    def learn(cls, x: npt.NDArray[Any], scale: Scale) -> Scaling:
        """Return the scaling that maps the samples into [0, 1].

        Parameters
        ----------
        x : ndarray of shape (n, n_features)
            Training samples on the host; NaN is a missing entry.
        scale : {"none", "all", "features"}
            With "all" we subtract the smallest value of all and divide by the distance to the
            largest; 0 stays 0 where it is the smallest. A feature that is constant, or missing
            everywhere, is only shifted.
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
        return cls(low, span)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.low.any() and bool((self.span == 1.0).all())

    def on(self, ops: Ops, dtype: Any) -> DeviceScaling:
        """Return the scaling as it works on a backend, in one precision."""
        return DeviceScaling(
            ops, ops.to_device(self.low.astype(dtype)), ops.to_device(self.span.astype(dtype))
        )


@dataclass(frozen=True, eq=False)
class DeviceScaling:
    """A `Scaling` on a backend; both methods work in place.

    Parameters
    ----------
    ops : Ops
        Backend.
    low, span : ndarray of shape (n_features,)
        As for `Scaling`.
    """

    ops: Ops
    low: Array
    span: Array

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
