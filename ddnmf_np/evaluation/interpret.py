"""The meaning of the learned base units, measured without labels.

These functions reach the model through a callable ``decode``, which turns codes ``H`` of shape
(k, rank) into data of shape (k, D), both host arrays. It may return a view of a buffer that its
next call overwrites, because each function calls it once and copies the result.
"""

import math
from collections.abc import Callable, Sequence
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
        Only read; float32 and float64 are passed on without a copy.
    name : str
        Name for error messages.

    Returns
    -------
    ndarray of shape (n, rank), dtype float32 or float64
        `H` itself where its type allows.

    Raises
    ------
    DataError
        If `H` is not a matrix, is empty, or holds a value that is not finite.
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
    """Return the decoded parts, one row per base unit.

    Parameters
    ----------
    decode : callable, (k, rank) -> (k, D)
        The student's layers above ``H``.
    rank : int
        Number of base units, at least 1.
    dtype : dtype
        Floating type of the model.

    Returns
    -------
    ndarray of shape (rank, D)
        Row k is ``decode(e_k)``: unit k at 1, every other unit at 0.

    Raises
    ------
    DataError
        If `rank` is below 1, or `decode` does not give one row per code.

    Notes
    -----
    In plain NMF, ``x = W h``, the product ``W e_k`` is column k of ``W``: the part that unit k
    adds to every sample that uses it (Lee and Seung 1999, "Learning the parts of objects by
    non-negative matrix factorization", Nature 401:788-791). We read the base module in the same
    way, through the decoder. This has two limits. The layers above are not linear, so the parts
    of a sample need not add up to it. And ``e_k`` is a corner of the open cube (0, 1)^rank of
    codes, which may be far from every sample; `unit_effects` stays where the samples are.
    """
    if rank < 1:
        raise DataError(f"rank is {rank}; a model has at least one base unit")
    return _decoded(decode, np.eye(rank, dtype=dtype))


def unit_effects(decode: Decoder, H: npt.ArrayLike) -> Floats:
    """Return the change of the output as one unit moves from its 5th to its 95th percentile.

    Parameters
    ----------
    decode : callable, (k, rank) -> (k, D)
        The student's layers above ``H``.
    H : array_like of shape (n, rank)
        Codes of real samples.

    Returns
    -------
    ndarray of shape (rank, D)
        Row k is decode(median code with unit k at its 95th percentile) minus the same at its 5th
        percentile; zero for a unit that does not vary.

    Raises
    ------
    DataError
        As `check_codes`, or if `decode` does not give one row per code.

    Notes
    -----
    A one-at-a-time sensitivity analysis by finite differences (Saltelli et al. 2008, "Global
    sensitivity analysis: the primer", Wiley, chapter 1). The step goes between percentiles, so
    that it stays where the samples are. It does not show effects that need two units at once.
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
    """Find the units that are the same for all samples, and so carry no information.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        Codes of real samples.
    tol : float
        A unit is dead if its standard deviation over the samples is below this.

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
    when it is constant at any value, so we test the spread.
    """
    spread: npt.NDArray[np.float64] = check_codes(H).std(axis=0, dtype=np.float64)  # (rank,)
    return spread < tol


def hoyer_sparsity(parts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the sparsity of each part: 1 for a single non-zero entry, 0 for equal entries.

    Parameters
    ----------
    parts : array_like of shape (k, D), D >= 2
        One part per row. Signs and the scale of a row have no effect.

    Returns
    -------
    ndarray of shape (k,), dtype float64
        ``(sqrt(D) - |p|_1 / |p|_2) / (sqrt(D) - 1)``, in [0, 1]; 0 for a row of zeros.

    Raises
    ------
    DataError
        As `check_codes`, or if a part has a single entry.

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
    """Summarize the codes in plain JSON types.

    Parameters
    ----------
    H : array_like of shape (n, rank)
        Codes of real samples.

    Returns
    -------
    dict
        ``"mean"``, ``"std"``, ``"min"``, ``"max"`` over all entries; ``"unit_std"``, the
        standard deviation of each unit (list of rank floats); ``"dead_units"``, their number;
        ``"saturated"``, the share of entries below 0.01 or above 0.99, where the slope of the
        sigmoid is under 4 % of its largest.

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


def top_features(
    change: npt.ArrayLike, names: Sequence[str], count: int = 5
) -> list[list[tuple[str, float]]]:
    """Return the features on which each unit acts most.

    Parameters
    ----------
    change : array_like of shape (rank, D)
        What each unit does to each feature, in comparable units: `unit_effects` or `decode_parts`,
        divided by the range of each feature.
    names : sequence of str, of length D
        Names of the features.
    count : int
        Features for each unit.

    Returns
    -------
    list of list of (str, float)
        For each unit the names and changes, the largest in size first; features that do not change
        are left out.

    Raises
    ------
    DataError
        If there is not one name for each feature.
    """
    sizes = check_codes(change, "change")
    if len(names) != sizes.shape[1]:
        raise DataError(f"{len(names)} names for {sizes.shape[1]} features; pass one for each")
    order = np.argsort(-np.abs(sizes), axis=1, kind="stable")[:, :count]
    return [
        [(names[k], float(row[k])) for k in chosen.tolist() if row[k] != 0.0]
        for row, chosen in zip(sizes, order, strict=True)
    ]
