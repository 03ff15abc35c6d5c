"""Classical NMF of Lee and Seung (1999, 2001), with samples as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def start(x: Array, rank: int, seed: int) -> tuple[Array, Array]:
    """Return random positive ``H`` (n, rank) and ``W`` (D, rank) on the scale of x."""
    rng = np.random.default_rng(seed)
    scale = float(np.sqrt(x.mean() / rank))
    H = scale * rng.uniform(0.5, 1.5, (x.shape[0], rank))
    W = scale * rng.uniform(0.5, 1.5, (x.shape[1], rank))
    return H.astype(x.dtype), W.astype(x.dtype)


def multiplicative_step(x: Array, H: Array, W: Array) -> tuple[Array, Array]:
    """Return ``H`` and ``W`` after one update each; ``||x - H W^T||`` never increases.

    The samples ``x`` (n, D) are non-negative. The codes ``H`` (n, rank) and the parts ``W``
    (D, rank), one per column, are positive. Both results are new arrays.
    """
    tiny = np.finfo(x.dtype).tiny  # makes 0 / 0 zero, for a pixel that is black in every image
    H = H * (x @ W) / np.maximum(H @ (W.T @ W), tiny)  # (n, rank)
    W = W * (x.T @ H) / np.maximum(W @ (H.T @ H), tiny)  # (D, rank)
    return H, W
