"""Where the NMF module starts: from the data instead of from chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Ops

SAMPLES = 4096
"""Samples whose codes decide: twice the paper's widest layer."""

Floats = npt.NDArray[np.float64]
Blocks = dict[str, Floats]


def blocks_from_code(
    code: Floats, W_base: Floats, *, bias: bool, activation: str, spread: float
) -> Blocks:
    """Return weights of the NMF module with which its first ``H`` says most about the code.

    The base (equation 3) starts at the principal components of the code, each with mean 0 and
    standard deviation `spread` before the sigmoid. The recovery starts at the least-squares
    solution of ``code = W H``, the step of classical NMF by alternating least squares. See
    ``derivations/03-nmf-module.md``.

    Parameters
    ----------
    code : ndarray of shape (n, width), float64
        Codes of some clean samples under the untrained encoder.
    W_base : ndarray of shape (rank, width), float64
        Weights that base units keep for which the code has no component that varies.
    bias : bool
        Whether the base has one. Without it (the paper's has none) a pre-activation can have mean 0
        only if its weights are orthogonal to the mean of the code; so the components are looked for
        in the space that is.
    activation : str
        Of the base.
    spread : float
        Of the first pre-activations.

    Returns
    -------
    dict of str to ndarray
        ``W_base``, ``W_rec`` and, with ``bias``, ``b_base``.
    """
    mean = code.mean(axis=0)
    centred = code - mean
    if not bias and mean.any():
        centred -= np.outer(centred @ mean, mean / (mean @ mean))
    base = principal_rows(centred, len(W_base))
    W_base = W_base.copy()
    W_base[: len(base)] = spread * base
    blocks = {"W_base": W_base} | ({"b_base": -W_base @ mean} if bias else {})
    H = code @ W_base.T
    Ops().activate(activation, H, blocks.get("b_base"))
    blocks["W_rec"] = np.linalg.lstsq(H, code, rcond=None)[0].T
    return blocks


def principal_rows(centred: Floats, count: int) -> Floats:
    """Return the directions of largest variance, scaled so that samples vary by 1 along each.

    Parameters
    ----------
    centred : ndarray of shape (n, width)
        Samples, a row each, with mean 0.
    count : int
        How many are wanted.

    Returns
    -------
    ndarray of shape (at most count, width)
        Rows ``v / sigma``, by falling ``sigma``; the entry of largest size is positive. Directions
        without spread, up to rounding, are left out.
    """
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    variances, directions = variances[::-1][:count], directions.T[::-1][:count]
    varies = variances > 1e-10 * max(variances[0], np.finfo(np.float64).tiny)
    variances, directions = variances[varies], directions[varies]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    rows: Floats = directions * np.sign(largest) / np.sqrt(variances)[:, None]
    return rows
