"""Codes laid out by UMAP, to be clustered there; umap-learn is no core dependency."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation.interpret import check_codes

UMAP_OPTIONS: dict[str, Any] = {
    "n_neighbors": 20,
    "min_dist": 0.0,
    "metric": "euclidean",
    "spread": 1.0,
    "learning_rate": 1.0,
    "init": "spectral",
    "local_connectivity": 1.0,
    "set_op_mix_ratio": 1.0,
    "repulsion_strength": 1.0,
    "negative_sample_rate": 5,
}
"""The first three are N2D's, see `unfold`, the others umap-learn's defaults.

There are fewer neighbours where there are few samples.
"""

# UMAP starts from eigenvectors of the graph of the samples, one for each component and one more.
_FEWEST_FOR_UMAP = 10


def check_umap() -> None:
    """Raise `UsageError` if umap-learn cannot be imported."""
    _umap()


def _umap() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP  # there is another package of that name
    except Exception as error:  # a broken Numba raises anything
        raise UsageError(
            f"a map by UMAP needs umap-learn, which cannot be imported ({type(error).__name__}: "
            f"{error}). Remedy: pip install 'ddnmf-np[umap]', or take a map by t-SNE"
        ) from error
    return UMAP


def unfold(H: npt.ArrayLike, n_components: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Lay codes out so that what is near stays near, and what is apart moves away.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        One code per row.
    n_components : int
        Dimensions to lay them out in, at least 1.
    seed : int
        Of UMAP, from 0 to 2^32 - 1. The same seed gives the same places on the same machine.

    Returns
    -------
    ndarray of shape (n, n_components), dtype float64
        Places; constant codes give zeros. So few codes that they have no neighbourhoods (fewer
        than 10, or than three more than there are dimensions) are returned as they are, of shape
        (n, rank).

    Raises
    ------
    UsageError
        A number that cannot be used, or no umap-learn.
    DataError
        As `check_codes`.

    Notes
    -----
    McInnes, Healy and Melville (2018), "UMAP: Uniform Manifold Approximation and Projection for
    Dimension Reduction", arXiv:1802.03426. Its settings, and as many dimensions as there are
    clusters, are those of McConville, Santos-Rodriguez, Piechocki and Craddock (2021), "N2D: (Not
    Too) Deep Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR.
    """
    codes = check_codes(H).astype(np.float64)
    if n_components < 1 or not 0 <= seed < 2**32:
        raise UsageError(
            f"n_components is {n_components} and seed is {seed}; "
            "pass at least one dimension and a seed from 0 to 2^32 - 1"
        )
    make = _umap()
    n = len(codes)
    centred = codes - codes.mean(axis=0)
    # The mean of equal values may differ from them by some ulps.
    peak = np.abs(centred).max()
    if peak <= 8 * np.finfo(np.float64).eps * np.abs(codes).max():
        return np.zeros((n, n_components))
    if n < max(_FEWEST_FOR_UMAP, n_components + 3):
        return codes
    if not 1e-15 < peak < 1e15:  # UMAP squares in float32; it sees ratios of distances alone
        centred = np.ldexp(centred, -int(np.frexp(peak)[1]))
    neighbours = min(UMAP_OPTIONS["n_neighbors"], n - 1)
    model = make(
        **{**UMAP_OPTIONS, "n_neighbors": neighbours},
        n_components=n_components,
        random_state=seed,
        n_jobs=1,  # what a seed makes of it anyway, with a warning
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # groups that are not connected, and its dependencies'
        # Centred, because UMAP works in float32, where 0.5 + 1e-9 is 0.5.
        placed: npt.NDArray[Any] = model.fit_transform(centred)
    return placed.astype(np.float64)
