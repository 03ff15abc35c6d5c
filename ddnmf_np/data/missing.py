"""Entries that are not known: NaN says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.errors import DataError


def hide(x: npt.ArrayLike, observed: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return a copy of samples in which what a mask does not show is missing.

    For data whose missing entries hold something else than NaN, such as -1 or 0.

    Parameters
    ----------
    x : array_like of shape (n, D)
        Samples; integers become float64.
    observed : array_like of shape (n, D), bool
        True where an entry is known.

    Returns
    -------
    ndarray of shape (n, D)
        ``x`` where it is observed and NaN elsewhere: data for ``missing="nan"``.

    Raises
    ------
    DataError
        If the mask has another shape or dtype.

    Examples
    --------
    >>> hide([[0.5, -1.0]], [[True, False]])
    array([[0.5, nan]])
    """
    values, mask = np.asarray(x), np.asarray(observed)
    if mask.shape != values.shape or mask.dtype != bool:
        raise DataError(
            f"observed has shape {mask.shape} and dtype {mask.dtype}; expected {values.shape} and "
            "bool, one entry for each of x"
        )
    dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    return np.where(mask, values, dtype.type(np.nan)).astype(dtype, copy=False)
