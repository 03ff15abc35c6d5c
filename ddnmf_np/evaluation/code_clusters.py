"""Clusters of the training codes, found when they are first asked for."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import config_context
from sklearn.mixture import GaussianMixture

from ddnmf_np.backends.ops import Array
from ddnmf_np.evaluation.clustering import cluster, mixture
from ddnmf_np.evaluation.options import Method

METHOD: Method = "gmm-spherical"
"""The mixture, which is the command line's."""

MOST_CODES = 10_000
"""Largest number of codes that a mixture is fitted to, as many as MNIST has test images."""

_LEARNED = ("weights_", "means_", "covariances_", "precisions_cholesky_")


class CodeClusters:
    """A Gaussian mixture on codes; several threads may ask for it.

    ``codes`` are those of training samples, of shape (n, rank): if ``complete`` of all, in their
    order.
    """

    def __init__(self, codes: Array, seed: int, *, complete: bool = True) -> None:
        self.codes, self.seed, self.complete = codes, seed, complete
        self._mixture: GaussianMixture | None = None
        self._lock = Lock()

    def some(self) -> Array:
        """Return at most `MOST_CODES` codes, at equal distances."""
        index = np.linspace(0, len(self.codes) - 1, min(MOST_CODES, len(self.codes)))
        return self.codes[index.astype(np.int64)]

    def mixture(self, n_clusters: int) -> GaussianMixture:
        """Return the mixture of so many clusters; raises as `ddnmf_np.evaluation.clustering`."""
        with self._lock:
            if self._mixture is None or self._mixture.n_components != n_clusters:
                found = cluster(self.some(), n_clusters, method=METHOD, seed=self.seed)
                self._mixture = found.model
            return self._mixture

    def predict(self, codes: Array, n_clusters: int) -> npt.NDArray[np.int64]:
        """Return the cluster of each code, 0 to ``n_clusters - 1``."""
        fitted = self.mixture(n_clusters)
        with config_context(array_api_dispatch=False):  # codes are NumPy's
            found: npt.NDArray[np.int64] = fitted.predict(codes.astype(np.float64, copy=False))
        return found

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Return arrays and plain values from which `of_state` makes the same mixtures."""
        arrays = {"clusters.codes": self.some()}
        with self._lock:
            if self._mixture is not None:
                arrays |= {f"clusters.{name}": getattr(self._mixture, name) for name in _LEARNED}
        return arrays, {"seed": self.seed}

    @classmethod
    def of_state(cls, arrays: dict[str, Array], values: dict[str, Any]) -> CodeClusters:
        """Return the object of a state; raises `KeyError` or `ValueError` if it is no state."""
        made = cls(arrays["clusters.codes"], int(values["seed"]), complete=False)
        if "clusters.means_" in arrays:
            found = mixture(len(arrays["clusters.means_"]), METHOD)
            for name in _LEARNED:
                setattr(found, name, arrays[f"clusters.{name}"])
            found.n_features_in_, found.converged_ = arrays["clusters.means_"].shape[1], True
            if found.n_features_in_ != made.codes.shape[1]:
                raise ValueError("its clusters are of codes of another width")
            made._mixture = found
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Pickle without the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle with a new lock."""
        vars(self).update(state)
        self._lock = Lock()
