"""Codes laid out in the plane: for pictures (figure 2 of the paper), and to cluster them there."""

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from ddnmf_np.errors import UsageError
from ddnmf_np.evaluation.interpret import check_codes
from ddnmf_np.evaluation.options import EmbeddingMethod

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
"""Of t-SNE; the perplexity is less where there are few samples."""

START_SCALE = 1e-4
"""Standard deviation of t-SNE's start; the scale that scikit-learn's own ``init="pca"`` uses."""

# Fewer samples than this have no neighbourhoods to keep: their perplexity would be below 3.
_FEWEST_FOR_TSNE = 10


def embed(
    H: npt.ArrayLike,
    method: EmbeddingMethod = "tsne",
    max_samples: int = 3000,
    seed: int = 0,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Place codes in the plane.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        One code per row.
    method : {"tsne", "pca"}
        t-SNE (perplexity 30, or a third of the other samples if that is less; started from
        the principal components), or the first two principal components. Fewer than 10
        samples, or samples that are all alike, get the components in either case.
    max_samples : int
        At least 1. Of more samples, this many are drawn without looking at any label:
        the time of t-SNE grows as n log n.
    seed : int
        Of the draw and of t-SNE; not negative.

    Returns
    -------
    indices : ndarray of shape (k,), dtype intp
        Rows of `H` that were placed, in order; ``k = min(n, max_samples)``.
    points : ndarray of shape (k, 2), dtype float64
        Their places. Constant codes give zeros; the axes of t-SNE have no meaning or unit.

    Raises
    ------
    UsageError
        A method or number that cannot be used.
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
    codes = codes[indices].astype(np.float64)
    centred = codes - codes.mean(axis=0)
    points = _principal_components(centred)
    # The mean of equal values may differ from them by some ulps.
    rounding = 8 * np.finfo(np.float64).eps * np.abs(codes).max()
    if np.abs(centred).max() <= rounding:
        return indices, np.zeros_like(points)
    if method == "pca" or len(codes) < _FEWEST_FOR_TSNE:
        return indices, points
    model = TSNE(
        **{
            **TSNE_OPTIONS,
            "perplexity": min(TSNE_OPTIONS["perplexity"], (len(codes) - 1) / 3),
        },
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


def _principal_components(centred: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """First two principal components, (k, 2); zeros for a component that does not exist."""
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found: npt.NDArray[Any] = (left * values)[:, :2]
    # The sign of a singular vector is arbitrary: make its largest entry positive.
    peak = found[np.abs(found).argmax(axis=0), np.arange(found.shape[1])]
    points = np.zeros((len(centred), 2))
    points[:, : found.shape[1]] = found * np.where(peak < 0, -1.0, 1.0)
    return points
