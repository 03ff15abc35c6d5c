"""Maps of the codes: in the plane for pictures (figure 2 of the paper), and for clustering."""

from __future__ import annotations

import warnings
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation.interpret import check_codes
from ddnmf_np.evaluation.options import EmbeddingMethod

Points = npt.NDArray[np.float64]
TSNE_OPTIONS: dict[str, Any] = {
    "perplexity": 30.0,
    "early_exaggeration": 12.0,
    "learning_rate": "auto",
    "max_iter": 1000,
    "min_grad_norm": 1e-7,
    "n_iter_without_progress": 300,
    "metric": "euclidean",
    "method": "barnes_hut",
    "angle": 0.5,
}
"""Settings of t-SNE. The perplexity is reduced if there are few samples."""

START_SCALE = 1e-4
"""Standard deviation of t-SNE's start, as in scikit-learn's own ``init="pca"``."""

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
"""Settings of UMAP: the first three as in N2D (see `unfold`), the others umap-learn's defaults.

The number of neighbours is reduced if there are few samples.
"""

# Fewer samples have no neighbourhoods: t-SNE's perplexity would be below 3, and UMAP starts from
# one eigenvector of the samples' graph for each dimension and one more.
_FEWEST = 10


def embed(
    H: npt.ArrayLike,
    method: EmbeddingMethod = "tsne",
    max_samples: int = 3000,
    seed: int = 0,
) -> tuple[npt.NDArray[np.intp], Points]:
    """Place codes in the plane.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        One code per row.
    method : {"tsne", "pca"}
        t-SNE (perplexity 30, or a third of the other samples if that is less; started from
        the principal components), or the first two principal components. Fewer than 10 samples
        are always placed by their components.
    max_samples : int
        At least 1. From more samples we draw this many, without looking at any label, because
        the time of t-SNE grows as n log n.
    seed : int
        Not negative; used for the draw and for t-SNE.

    Returns
    -------
    indices : ndarray of shape (k,), dtype intp
        Rows of `H` that were placed, in order; ``k = min(n, max_samples)``.
    points : ndarray of shape (k, 2), dtype float64
        Their places. Constant codes give zeros. The axes of t-SNE have no meaning or unit.

    Raises
    ------
    UsageError
        If the method is unknown or a number is out of range.
    DataError
        As `check_codes`.

    Notes
    -----
    van der Maaten and Hinton (2008), "Visualizing data using t-SNE", Journal of Machine
    Learning Research 9:2579-2605. The start from the principal components keeps more of the
    global layout: Kobak and Linderman (2021), Nature Biotechnology 39:156-157.
    """
    codes = check_codes(H)
    if method not in get_args(EmbeddingMethod):
        raise UsageError(f"method is {method!r}; choose tsne or pca")
    if max_samples < 1 or seed < 0:
        raise UsageError(
            f"max_samples is {max_samples} and seed is {seed}; "
            "pass at least one sample and a seed that is not negative"
        )
    indices = np.arange(len(codes))
    if len(codes) > max_samples:
        draw = np.random.default_rng(seed).choice(len(codes), max_samples, replace=False)
        indices = np.sort(draw)
    centred = _centred(codes[indices].astype(np.float64))
    if centred is None:
        return indices, np.zeros((len(indices), 2))
    points = _principal_components(centred)
    if method == "pca" or len(indices) < _FEWEST:
        return indices, points
    perplexity = min(TSNE_OPTIONS["perplexity"], (len(indices) - 1) / 3)
    model = TSNE(
        **{**TSNE_OPTIONS, "perplexity": perplexity},
        # Not scikit-learn's own init="pca", which refuses codes of one unit.
        init=(points / points[:, 0].std() * START_SCALE).astype(np.float32),
        random_state=seed,
    )
    # One thread: t-SNE's thousand steps each wait for all threads, so that one busy core makes
    # two threads slower than one (2000 samples: 36 s against 14 s), for the same picture.
    with threadpool_limits(1):
        # Centred, because t-SNE works in float32, where 0.5 + 1e-9 is 0.5.
        placed = model.fit_transform(centred)
    return indices, placed.astype(np.float64)


def _centred(codes: Points) -> Points | None:
    """Subtract the mean code; return None if all codes are equal up to rounding."""
    centred: Points = codes - codes.mean(axis=0)
    # The mean of equal values may differ from them by some ulps.
    rounding = 8 * np.finfo(np.float64).eps * np.abs(codes).max()
    return centred if np.abs(centred).max() > rounding else None


def _principal_components(centred: Points) -> Points:
    """Return the first two principal components, (k, 2); one that does not exist is zero."""
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found: Points = (left * values)[:, :2]
    # The sign of a singular vector is arbitrary: make its largest entry positive.
    peak = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    points = np.zeros((len(centred), 2))
    points[:, : found.shape[1]] = found * np.where(peak < 0, -1.0, 1.0)
    return points


def unfold(H: npt.ArrayLike, n_components: int, seed: int = 0) -> Points:
    """Map codes by UMAP, which keeps near codes together and moves groups apart.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        One code per row.
    n_components : int
        Dimensions of the map, at least 1.
    seed : int
        From 0 to 2^32 - 1. The same seed gives the same map on the same machine.

    Returns
    -------
    ndarray of shape (n, n_components), dtype float64
        Places; constant codes give zeros. Fewer than 10 codes, or than ``n_components + 3``, have
        no neighbourhoods: they are returned as they are, of shape (n, rank).

    Raises
    ------
    UsageError
        If a number is out of range, or umap-learn cannot be imported.
    DataError
        As `check_codes`.

    Notes
    -----
    McInnes, Healy and Melville (2018), "UMAP: Uniform Manifold Approximation and Projection for
    Dimension Reduction", arXiv:1802.03426. The settings, and as many dimensions as clusters, are
    those of McConville, Santos-Rodriguez, Piechocki and Craddock (2021), "N2D: (Not Too) Deep
    Clustering via Clustering the Local Manifold of an Autoencoded Embedding", ICPR.
    """
    codes = check_codes(H).astype(np.float64)
    if n_components < 1 or not 0 <= seed < 2**32:
        raise UsageError(
            f"n_components is {n_components} and seed is {seed}; "
            "pass at least one dimension and a seed from 0 to 2^32 - 1"
        )
    make = import_umap()
    n = len(codes)
    centred = _centred(codes)
    if centred is None:
        return np.zeros((n, n_components))
    if n < max(_FEWEST, n_components + 3):
        return codes
    peak = np.abs(centred).max()
    if not 1e-15 < peak < 1e15:  # UMAP squares in float32; only ratios of distances matter to it
        centred = np.ldexp(centred, -int(np.frexp(peak)[1]))
    model = make(
        **{**UMAP_OPTIONS, "n_neighbors": min(UMAP_OPTIONS["n_neighbors"], n - 1)},
        n_components=n_components,
        random_state=seed,
        n_jobs=1,  # with a seed UMAP uses one thread anyway, but warns about it
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about groups that are not connected, and of its imports
        # Centred, because UMAP works in float32, where 0.5 + 1e-9 is 0.5.
        placed: npt.NDArray[Any] = model.fit_transform(centred)
    return placed.astype(np.float64)


def import_umap() -> Any:
    """Return the class ``UMAP``, or raise `UsageError` if umap-learn cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP  # another package has this name too
    except Exception as error:  # a broken Numba raises anything
        raise UsageError(
            f"a map by UMAP needs umap-learn, which cannot be imported ({type(error).__name__}: "
            f"{error}). Remedy: pip install 'ddnmf-np[umap]', or take a map by t-SNE"
        ) from error
    return UMAP
