"""What the learned base units stand for, measured without any label.

The model is reached through a callable ``decode``: codes ``H`` of shape (k, rank) to data of
shape (k, D), both host arrays. A decoder may return a view of a buffer that its next call
overwrites: each function calls it once and keeps a copy.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.errors import DataError

Floats = npt.NDArray[np.floating[Any]]
Decoder = Callable[[Floats], Floats]


def check_codes(H: npt.ArrayLike, name: str = "H") -> Floats:
    """Check that codes are a finite matrix with one row per sample.

    Parameters
    ----------
    H : array_like of shape (n, rank), n >= 1, rank >= 1
        Read only; float32 and float64 are passed on without a copy.
    name : str
        What an error message calls it.

    Returns
    -------
    ndarray of shape (n, rank), dtype float32 or float64
        `H` itself where its type allows.

    Raises
    ------
    DataError
        Another number of dimensions, no entries, or a value that is not finite.
    """
    codes = np.asarray(H)
    if codes.dtype.kind not in "fiub":
        raise DataError(f"{name} has dtype {codes.dtype}; pass numbers")
    if codes.dtype not in (np.float32, np.float64):
        codes = codes.astype(np.float64)
    if codes.ndim != 2 or codes.size == 0:
        raise DataError(
            f"{name} has shape {codes.shape}; pass a matrix (n, rank), one row per sample"
        )
    bad = int(np.count_nonzero(~np.isfinite(codes)))
    if bad:
        raise DataError(
            f"{name} holds {bad} values that are not finite; check that training did not diverge"
        )
    return codes


def _decoded(decode: Decoder, codes: Floats) -> Floats:
    data = np.array(decode(codes))
    if data.ndim != 2 or len(data) != len(codes):
        raise DataError(
            f"decode gave shape {data.shape} for codes of shape {codes.shape}; "
            f"expected ({len(codes)}, D): one row per code"
        )
    return data


def decode_parts(decode: Decoder, rank: int, dtype: npt.DTypeLike = np.float32) -> Floats:
    """Decode each base unit on its own.

    Parameters
    ----------
    decode : callable, (k, rank) -> (k, D)
        The student's layers above ``H``.
    rank : int
        Number of base units, at least 1.
    dtype : dtype
        Floating type of the codes that are decoded; that of the model.

    Returns
    -------
    ndarray of shape (rank, D)
        Row k is ``decode(e_k)``: unit k at 1, every other unit at 0.

    Raises
    ------
    DataError
        `rank` below 1, or a decoder that does not give one row per code.

    Notes
    -----
    In plain NMF, ``x = W h``, the product ``W e_k`` is column k of ``W``: the part that unit k
    adds to every sample that uses it (Lee and Seung 1999, "Learning the parts of objects by
    non-negative matrix factorization", Nature 401:788-791). This is the same reading of the
    base module here, carried through the decoder. Its limits: the layers above are not linear,
    so the parts of a sample need not add up to it; and ``e_k`` is a corner of the open cube
    (0, 1)^rank in which codes live, one that no sample need be near. `unit_effects` asks the
    same question where the samples are.
    """
    if rank < 1:
        raise DataError(f"rank is {rank}; a model has at least one base unit")
    return _decoded(decode, np.eye(rank, dtype=dtype))


def unit_effects(decode: Decoder, H: npt.ArrayLike) -> Floats:
    """Change of the output as one unit goes from rarely off to rarely exceeded.

    Parameters
    ----------
    decode : callable, (k, rank) -> (k, D)
        The student's layers above ``H``.
    H : array_like of shape (n, rank)
        Codes of real samples.

    Returns
    -------
    ndarray of shape (rank, D)
        Row k is decode(median code with unit k at its 95th percentile) minus decode(the same
        with unit k at its 5th percentile); zero for a unit that does not vary.

    Raises
    ------
    DataError
        As `check_codes`, or a decoder that does not give one row per code.

    Notes
    -----
    The finite difference form of a one-at-a-time sensitivity analysis (Saltelli et al. 2008,
    "Global sensitivity analysis: the primer", Wiley, chapter 1), between quantiles of each unit
    rather than a fixed step, so that it stays where the samples are. Effects that need two
    units at once are not seen.
    """
    codes = check_codes(H)
    rank = codes.shape[1]
    low, median, high = np.quantile(codes, [0.05, 0.5, 0.95], axis=0)
    points = np.tile(median, (2 * rank, 1))  # (2 rank, rank): high rows, then low rows
    units = np.arange(rank)
    points[units, units] = high
    points[rank + units, units] = low
    data = _decoded(decode, points.astype(codes.dtype))
    return data[:rank] - data[rank:]


def dead_units(H: npt.ArrayLike, tol: float = 1e-3) -> npt.NDArray[np.bool_]:
    """Find the units that say nothing about a sample: they are the same for all.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        Codes of real samples.
    tol : float
        Smallest standard deviation over the samples of a unit that is alive.

    Returns
    -------
    ndarray of shape (rank,), dtype bool
        True where the unit is dead.

    Raises
    ------
    DataError
        As `check_codes`.

    Notes
    -----
    A ReLU unit is dead when it is 0 for every sample (Maas, Hannun and Ng 2013, "Rectifier
    nonlinearities improve neural network acoustic models"). A sigmoid unit carries as little
    when it is constant, whatever the constant, so it is the spread that is tested here.
    """
    spread: npt.NDArray[np.float64] = check_codes(H).std(axis=0, dtype=np.float64)  # (rank,)
    return spread < tol


def hoyer_sparsity(parts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How few entries carry each part.

    ``(sqrt(D) - |p|_1 / |p|_2) / (sqrt(D) - 1)``: 1 for one entry, 0 for equal entries.

    Parameters
    ----------
    parts : array_like of shape (k, D), D >= 2
        One part a row. Signs do not count, nor does the scale of a row.

    Returns
    -------
    ndarray of shape (k,), dtype float64
        In [0, 1]; 0 for a row of zeros, where the ratio is undefined: its entries are equal.

    Raises
    ------
    DataError
        As `check_codes`, or parts of a single entry.

    Notes
    -----
    Hoyer (2004), "Non-negative matrix factorization with sparseness constraints", Journal of
    Machine Learning Research 5:1457-1469, section 3.1.
    """
    sizes = np.abs(check_codes(parts, "parts")).astype(np.float64)
    width = sizes.shape[1]
    if width < 2:
        raise DataError(f"parts has {width} column; sparsity needs at least two entries per part")
    # Scaled to a largest entry of 1, so that squares neither overflow nor vanish.
    peak = sizes.max(axis=1, keepdims=True)  # (k, 1)
    sizes = np.divide(sizes, peak, out=np.ones_like(sizes), where=peak > 0)
    ratio = sizes.sum(axis=1) / np.sqrt(np.square(sizes).sum(axis=1))  # (k,)
    root = math.sqrt(width)
    sparsity: npt.NDArray[np.float64] = (root - ratio) / (root - 1)
    return sparsity.clip(0.0, 1.0)  # rounding can leave the interval by an ulp or two


def code_statistics(H: npt.ArrayLike) -> dict[str, Any]:
    """Summary of the codes, ready for JSON.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        Codes of real samples.

    Returns
    -------
    dict
        ``"mean"``, ``"std"``, ``"min"``, ``"max"`` over all entries; ``"unit_std"``, the
        standard deviation of each unit (list of rank floats); ``"dead_units"``, their number
        (`dead_units` at its default); ``"saturated"``, the fraction of entries below 0.01 or
        above 0.99, where the slope of the sigmoid is under 4 % of its largest.

    Raises
    ------
    DataError
        As `check_codes`.
    """
    codes = check_codes(H)
    return {
        "mean": float(codes.mean(dtype=np.float64)),
        "std": float(codes.std(dtype=np.float64)),
        "min": float(codes.min()),
        "max": float(codes.max()),
        "unit_std": codes.std(axis=0, dtype=np.float64).tolist(),
        "dead_units": int(dead_units(codes).sum()),
        "saturated": float(np.mean((codes < 0.01) | (codes > 0.99))),
    }
