"""NVIDIA's bindings of cuBLAS (nvmath-python) as far as they are used, without a library.

A product is computed from what the library would be told: addresses, transpositions and leading
dimensions of column-major matrices. What the library forbids or forgets is kept: a leading
dimension that is too small is an error, a new stream takes the workspace away, and without a
workspace of the caller's it would allocate, which must not happen while a stream is recorded.
"""

import ctypes
from enum import IntEnum
from types import SimpleNamespace

import numpy as np
import strict as stand_in


class ComputeType(IntEnum):
    COMPUTE_32F = 68
    COMPUTE_64F = 70
    COMPUTE_32F_FAST_TF32 = 77


class CudaDataType(IntEnum):
    CUDA_R_32F = 0
    CUDA_R_64F = 1


TYPES = {0: np.dtype("float32"), 1: np.dtype("float64")}
COMPUTE = {0: {ComputeType.COMPUTE_32F, ComputeType.COMPUTE_32F_FAST_TF32},
           1: {ComputeType.COMPUTE_64F}}  # fmt: skip


class FakeCublas:
    """The module ``nvmath.bindings.cublas``."""

    ComputeType = ComputeType
    GemmAlgo = SimpleNamespace(DEFAULT=-1)

    def __init__(self):
        self.handles = {}
        self.computed = []
        self._numbers = iter(range(1000, 10**9))

    def create(self):
        handle = next(self._numbers)
        self.handles[handle] = SimpleNamespace(stream=0, workspace=None)
        return handle

    def destroy(self, handle):
        del self.handles[handle]

    def set_stream(self, handle, stream):
        self.handles[handle].stream = stream
        self.handles[handle].workspace = None

    def set_workspace(self, handle, workspace, size):
        self.handles[handle].workspace = (workspace, workspace + size)

    def gemm_ex(
        self, handle, transa, transb, m, n, k, alpha, a, atype, lda, b, btype, ldb, beta, c, ctype,
        ldc, compute_type, algo
    ):  # fmt: skip
        state = self.handles[handle]
        assert state.stream == stand_in.strict.cuda.get_current_stream().ptr, "another stream"
        assert algo == -1
        assert atype == btype == ctype
        assert compute_type in COMPUTE[ctype]
        assert ldc >= m >= 1
        assert n >= 1
        assert lda >= (k if transa else m)
        assert ldb >= (n if transb else k)
        dtype = TYPES[ctype]
        if state.workspace is None:
            stand_in.allocate(1)
        one, zero = (_vector(address, 1, dtype)[0] for address in (alpha, beta))
        assert (one, zero) == (1, 0)
        left = _matrix(a, k if transa else m, m if transa else k, lda, dtype)
        right = _matrix(b, n if transb else k, k if transb else n, ldb, dtype)
        out = _matrix(c, m, n, ldc, dtype)

        def compute():
            factors = left.T if transa else left, right.T if transb else right
            if compute_type == ComputeType.COMPUTE_32F_FAST_TF32:
                factors = map(to_tf32, factors)
            with np.errstate(all="ignore"):
                out[...] = np.matmul(*factors)

        writes = [stand_in.extent(out), *([state.workspace] if state.workspace else [])]
        self.computed.append(ComputeType(compute_type))
        stand_in.submit("gemm", [stand_in.extent(left), stand_in.extent(right)], writes, compute)


def to_tf32(x):
    """Round to 10 bits of mantissa, as tensor cores do with their factors."""
    bits = np.ascontiguousarray(x, "float32").view("uint32")
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded.view("float32"), x)


def _vector(address, size, dtype):
    kind = np.ctypeslib.as_ctypes_type(dtype) * size
    return np.frombuffer(kind.from_address(address), dtype)


def _matrix(address, rows, columns, ld, dtype):
    """Return the column-major matrix that lies there, as a view of that memory."""
    size = (ld * (columns - 1) + rows) * dtype.itemsize
    if not stand_in.is_memory(address, address + size):
        raise stand_in.StrictError(f"gemm: {rows} x {columns}, {ld} apart, is not in any memory")
    memory = (ctypes.c_char * size).from_address(address)
    strides = (dtype.itemsize, ld * dtype.itemsize)
    return np.ndarray((rows, columns), dtype, memory, strides=strides)


def importer(blas):
    """Return an ``import_module`` that gives the fake bindings."""
    modules = {"nvmath.bindings.cublas": blas, "nvmath": SimpleNamespace(CudaDataType=CudaDataType)}
    return modules.__getitem__
