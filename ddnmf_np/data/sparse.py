"""Sparse matrices of SciPy: checked, and read from files."""

from __future__ import annotations

from copy import copy
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.errors import DataError
from ddnmf_np.system.archives import ArchiveError, NpzArchive

MAX_DENSE = 4 * 2**30
"""Most bytes of a sparse matrix that we make dense as a whole."""


def check_indices(array: Any, name: str) -> None:
    """Refuse a sparse matrix with indices outside of it: SciPy would read or write anywhere.

    Raises `DataError` if an index does not fit the shape.
    """
    if not hasattr(array, "check_format"):
        return
    try:
        copy(array).check_format(full_check=True)  # a shallow copy, because it trims its arrays
    except ValueError as error:
        raise DataError(
            f"{name}: is sparse, and its indices do not fit its shape {array.shape} ({error}); "
            "make the matrix again from the data"
        ) from error


def is_sparse(archive: NpzArchive) -> bool:
    """Return whether an archive is one that ``scipy.sparse.save_npz`` has written."""
    return {"format", "shape", "data"} <= set(archive.keys)


def read_sparse(archive: NpzArchive, name: str) -> Any:
    """Return the matrix of an archive by rows (CSR).

    Raises `DataError` if it is no matrix of real numbers, or its indices do not fit its shape, and
    `ArchiveError` if the archive is damaged.
    """
    form = str(archive.read("format", text=True).astype(str))
    parts = {key: archive.read(key) for key in archive.keys if key != "format"}
    shape = parts["shape"]
    if (
        shape.shape != (2,)
        or shape.dtype.kind not in "ui"
        or parts["data"].dtype.kind not in "buif"
    ):
        raise ArchiveError(f"its shape is {shape.tolist()} and its type {parts['data'].dtype}")
    needed = ("row", "col") if form == "coo" else ("indices", "indptr")
    if form not in ("csr", "csc", "coo") or not set(needed) <= parts.keys():
        raise ArchiveError(f"it is sparse in the format {form!r}; convert it with .tocsr()")
    return make_sparse(form, parts["data"], [parts[key] for key in needed], shape.tolist(), name)


def make_sparse(
    form: str, data: NDArray[Any], indices: list[NDArray[Any]], shape: list[int], name: str
) -> Any:
    """Return a matrix by rows from its arrays, as SciPy names and orders them.

    Raises `DataError` if the arrays do not fit each other or the shape.
    """
    # Late: help and usage errors should not wait for SciPy.
    make = getattr(import_module("scipy.sparse"), f"{form}_matrix")
    try:
        matrix = make((data, tuple(indices)) if form == "coo" else (data, *indices), tuple(shape))
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(
            f"{name}: is sparse, and its arrays do not fit its shape {tuple(shape)} ({error}); "
            "make the matrix again from the data"
        ) from error
    check_indices(matrix, name)  # before anything follows the indices
    return matrix.tocsr()


def dense(matrix: Any, name: str) -> NDArray[Any]:
    """Return a matrix as an array; raises `DataError` if it is larger than `MAX_DENSE`."""
    size = matrix.shape[0] * matrix.shape[1] * np.dtype(matrix.dtype).itemsize
    if size > MAX_DENSE:
        raise DataError(
            f"{name}: is sparse and would take {size / 1e9:.1f} GB as a whole; read it with "
            "--stream, a block of rows at a time"
        )
    found: NDArray[Any] = matrix.toarray()
    return found
