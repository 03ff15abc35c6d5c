"""Matrix products by nvmath-python, NVIDIA's bindings of cuBLAS; the only file that imports it.

A graph cannot record CuPy's calls of cuBLAS, because CuPy refuses them. It can record calls of the
library itself, if we give it a workspace. Without the bindings we use CuPy's products and do not
record steps.
"""

from __future__ import annotations

import weakref
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from ddnmf_np.backends.ops import Array

WORKSPACE = 32 * 2**20
"""Bytes for each stream, as NVIDIA advises for its largest devices; 4 MiB are enough on others."""


class Gemm(NamedTuple):
    """Arguments of cuBLAS for a product. cuBLAS stores matrices by columns, NumPy by rows.

    A matrix stored by rows is its transpose stored by columns. We therefore compute ``out = a @ b``
    as ``out^T = b^T a^T``, so the first factor is ``b``. Each factor has an ``op`` (1 if cuBLAS has
    to transpose it, else 0) and a leading dimension.
    """

    op_b: int
    op_a: int
    m: int
    n: int
    k: int
    ld_b: int
    ld_a: int
    ld_out: int


def describe(a: Array, b: Array, out: Array) -> Gemm:
    """Return the arguments of cuBLAS for ``out = a @ b``.

    ``a``, (n, k), and ``b``, (k, m), are contiguous along the rows or the columns, such as ``x`` or
    ``W.T``; ``out``, (n, m), is contiguous along the rows. Raises `ValueError` if shapes or dtypes
    do not fit, or an array is not contiguous along an axis.
    """
    if (
        not a.ndim == b.ndim == out.ndim == 2
        or a.shape[1] != b.shape[0]
        or out.shape != (a.shape[0], b.shape[1])
        or not a.dtype == b.dtype == out.dtype
        or 0 in (*a.shape, *b.shape)
    ):
        raise ValueError(
            f"product of {a.shape} {a.dtype} and {b.shape} {b.dtype} into {out.shape} {out.dtype}"
        )
    op_a, ld_a = _lies(a)
    op_b, ld_b = _lies(b)
    op_out, ld_out = _lies(out)
    if op_out:
        raise ValueError(f"product into strides {out.strides}; expected rows")
    return Gemm(op_b, op_a, out.shape[1], out.shape[0], a.shape[1], ld_b, ld_a, ld_out)


def _lies(x: Array) -> tuple[int, int]:
    """Return 0 if rows are contiguous, 1 if columns are, and the distance from one to the next."""
    size = x.dtype.itemsize
    rows, columns = x.shape
    along_columns, along_rows = x.strides
    # With a single row (or column) NumPy may give any distance, but cuBLAS checks it.
    if along_rows == size or columns == 1:
        return 0, max(along_columns // size, columns) if rows > 1 else columns
    if along_columns == size or rows == 1:
        return 1, max(along_rows // size, rows) if columns > 1 else rows
    raise ValueError(f"product of an array with strides {x.strides}")


class Cublas:
    """Matrix products on one stream at a time.

    ``xp`` is CuPy. With ``tf32``, tensor cores may round float32 factors to TF32
    (10 bits of mantissa). The sums are float32 in both cases. float64 is never rounded. The
    constructor tries a product, and raises an exception if the bindings do not work.

    Notes
    -----
    Each stream needs its own handle and workspace. Otherwise cuBLAS does not guarantee the same
    bits in every run, and two streams may not compute at the same time.
    """

    def __init__(self, xp: Any, *, tf32: bool = False) -> None:
        self.xp = xp
        self._blas: Any = import_module("nvmath.bindings.cublas")
        types = import_module("nvmath").CudaDataType
        compute, self._default = self._blas.ComputeType, int(self._blas.GemmAlgo.DEFAULT)
        single = compute.COMPUTE_32F_FAST_TF32 if tf32 else compute.COMPUTE_32F
        self._types = {
            "float32": (int(types.CUDA_R_32F), int(single)),
            "float64": (int(types.CUDA_R_64F), int(compute.COMPUTE_64F)),
        }
        # cuBLAS reads alpha and beta on the host when we launch or record a product.
        self._scalars = {name: np.array([1, 0], name) for name in self._types}
        self._workspace = xp.empty((WORKSPACE,), "uint8")
        self._handle = self._blas.create()
        weakref.finalize(self, self._blas.destroy, self._handle)
        self._stream: int | None = None
        self._try()

    def matmul(self, a: Any, b: Any, out: Any) -> None:
        """Compute ``out = a @ b`` on the current stream, see `describe`."""
        gemm = describe(a, b, out)
        stream = self.xp.cuda.get_current_stream().ptr
        if stream != self._stream:
            self._blas.set_stream(self._handle, stream)  # this removes the workspace
            self._blas.set_workspace(self._handle, self._workspace.data.ptr, WORKSPACE)
            self._stream = stream
        kind, compute = self._types[out.dtype.name]
        one = self._scalars[out.dtype.name].ctypes.data
        self._blas.gemm_ex(
            self._handle, gemm.op_b, gemm.op_a, gemm.m, gemm.n, gemm.k,
            one, b.data.ptr, kind, gemm.ld_b, a.data.ptr, kind, gemm.ld_a,
            one + out.dtype.itemsize, out.data.ptr, kind, gemm.ld_out, compute, self._default,
        )  # fmt: skip

    def _try(self) -> None:
        """Try a layer's three products on whole numbers, so that rounding excuses no difference."""
        xp = self.xp
        for dtype in self._types:
            x, w, delta = (
                xp.asarray(np.arange(n * m).reshape(n, m) % 11, dtype)
                for n, m in ((3, 5), (7, 5), (3, 7))
            )
            for a, b in ((x, w.T), (delta, w), (delta.T, x)):
                out = xp.empty((a.shape[0], b.shape[1]), dtype)
                self.matmul(a, b, out)
                if (xp.asnumpy(out) != xp.asnumpy(a) @ xp.asnumpy(b)).any():
                    raise RuntimeError("cuBLAS multiplied wrongly in a trial")
