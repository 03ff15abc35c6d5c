"""AnnData's layout of HDF5: sparse matrices as groups, names and labels of rows and columns.

The arrays come from h5py; this file imports neither h5py nor anndata.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddnmf_np.data.sparse import make_sparse
from ddnmf_np.errors import DataError


class StoredRows:
    """Rows of a sparse matrix in a file, which become dense a slice at a time.

    ``data`` and ``indices``, h5py datasets (nnz,), have the values and the column of each;
    ``indptr``, (n + 1,), where each row begins. Raises `DataError` if the arrays do not fit each
    other.
    """

    def __init__(
        self,
        data: Any,
        indices: Any,
        indptr: NDArray[np.int64],
        shape: tuple[int, int],
        name: str,
    ) -> None:
        self.data, self.indices, self.indptr = data, indices, indptr
        self.shape, self.dtype, self.name = shape, data.dtype, name
        rising = len(indptr) == shape[0] + 1 and indptr[0] == 0 and (np.diff(indptr) >= 0).all()
        if not rising or not indptr[-1] <= min(len(data), len(indices)):
            raise DataError(
                f"{name}: is sparse, and its indptr does not fit its shape {shape}; write it again"
            )

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        start, stop, _ = rows.indices(self.shape[0])
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        shape = [stop - start, self.shape[1]]
        places = [self.indices[first:last], self.indptr[start : stop + 1] - first]
        name = f"{self.name}, rows {start} to {stop - 1}"
        block = make_sparse("csr", self.data[first:last], places, shape, name)
        found: NDArray[Any] = block.toarray()
        return found


def form_of(group: Any) -> tuple[str, list[int]]:
    """Return the form ("csr", "csc") and the shape of a group that is a sparse matrix."""
    form = group.attrs.get("encoding-type", group.attrs.get("h5sparse_format", b""))
    form = form.decode() if isinstance(form, bytes) else str(form)
    shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape", ()))
    return form.removesuffix("_matrix"), [int(size) for size in np.atleast_1d(shape)]


def names_of(table: Any) -> tuple[str, ...] | None:
    """Return the names of the rows of a table (``obs`` or ``var``), or None."""
    key = _text(table.attrs.get("_index", "_index"))
    found = _values(table, key)
    return None if found is None else tuple(map(str, found))


def column_of(table: Any, name: str) -> NDArray[Any] | None:
    """Return a column of a table as numbers or text, "" where a category is missing; or None."""
    return None if "/" in name else _values(table, name)


def _values(table: Any, name: str) -> NDArray[Any] | None:
    node = _member(table, name)
    if node is None or not hasattr(node, "keys"):
        return None if node is None else _array(node)
    codes, categories = _member(node, "codes"), _member(node, "categories")
    if codes is None or categories is None:
        return None
    places, names = np.asarray(codes[...]), _array(categories)
    fits = places.dtype.kind in "ui" and places.ndim == 1
    if not fits or places.max(initial=-1) >= len(names):
        return None
    named = np.append(names.astype(str), "")
    return named[np.where(places < 0, len(names), places)]


def _member(group: Any, name: str) -> Any:
    """Return a member of a group that is in this file, or None."""
    link = group.get(name, getlink=True)
    return group[name] if type(link).__name__ == "HardLink" else None


def _array(node: Any) -> NDArray[Any]:
    if node.dtype.kind in "OS":
        return np.asarray(node.asstr()[...]).astype(str)
    return np.asarray(node[...])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
