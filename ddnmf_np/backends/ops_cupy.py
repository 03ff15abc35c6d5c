"""Operations on a CUDA device: one launch for everything between two matrix products.

The kernels are in ``kernels.cu``. `ddnmf_np.backends.select` imports CuPy and passes the module, so
this file does not import it. Numbers get the type of the arrays, so float32 stays float32. CuPy
compiles with ``-ftz=true``, which sets denormal float32 numbers to zero. No operation allocates
device memory, so a graph may record all of them (`ddnmf_np.backends.cupy_graph`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from types import ModuleType
from typing import Any

import numpy as np

from ddnmf_np.backends.cublas import Cublas
from ddnmf_np.backends.cupy_graph import Recorder, Streams
from ddnmf_np.backends.noise_ops import Draw, Motion, Words
from ddnmf_np.backends.ops import (
    ACTIVATIONS,
    Array,
    DirectGradient,
    DirectGradients,
    Ops,
    Rate,
    Scales,
    flush_constant,
    sigmoid_bound,
)

COLUMNS, ROWS = 32, 16
"""Threads of a block of ``ddnmf_delta``, as in ``kernels.cu``."""

MOST_BLOCKS = 512
"""Blocks in one launch of ``ddnmf_delta``; a wider layer takes several launches."""

THREADS = 128
"""Threads of a block of the other kernels, side by side along a row."""

SOURCE = resources.files("ddnmf_np.backends").joinpath("kernels.cu").read_text("utf-8")
"""CUDA C++, compiled once for float and once for double."""

KERNELS = (
    *("activate", "delta", "descend", "momentum", "adam", "write"),
    *("gather", "replace", "add_gaussian", "warp"),
)
"""Names of the kernels in `SOURCE`, without ``ddnmf_``."""

NULL = np.uint64(0)
"""Null pointer as an argument of a kernel, because CuPy does not take None."""


class CupyOps(Ops):
    """The reference operations on a CUDA device, fused.

    ``products`` are matrix products that a graph may record, one `Cublas` for each of the
    ``STREAMS``. By default we use CuPy's own, which a graph cannot record, so nothing is recorded.
    """

    name = "cupy"
    on_host = False

    def __init__(self, xp: ModuleType, products: Sequence[Cublas] | None = None) -> None:
        super().__init__(xp)
        self._products = products
        self._streams = Streams(xp)
        self._kernels = {
            (name, dtype): self.xp.RawKernel(SOURCE, f"ddnmf_{name}", (f"-DREAL={ctype}",))
            for name in KERNELS
            for dtype, ctype in (("float32", "float"), ("float64", "double"))
        }
        # Memory that the blocks of ddnmf_delta share. There are two, as two kernels run at a time.
        self._partial = [self.xp.zeros((2 * MOST_BLOCKS,), "float64") for _ in range(2)]
        self._done = [self.xp.zeros((1,), "uint32") for _ in range(2)]

    # -- memory ---------------------------------------------------------------------------

    def to_device(self, array: Any, dtype: Any = None) -> Array:
        """Return the array as a C-contiguous array on the device (a copy only if needed)."""
        # CuPy's ascontiguousarray takes only CuPy's arrays.
        result: Array = self.xp.asarray(array, dtype, order="C")
        return result

    def to_host(self, array: Array) -> Array:
        """Copy the array to host memory."""
        result: Array = self.xp.asnumpy(array)
        return result

    def synchronize(self) -> None:
        """Wait for all work of the current stream."""
        self.xp.cuda.get_current_stream().synchronize()

    def warm_up(self, dtype: Any) -> None:
        """Compile all kernels at once, or read them from CuPy's cache on disk."""
        self.activate("identity", self.zeros((1, 1), dtype))

    def device_name(self) -> str:
        """Return the name of the current device."""
        properties = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return str(properties["name"].decode())

    def gather(self, x: Array, index: Array, out: Array) -> None:
        """Copy the rows ``x[index]`` into ``out``."""
        arguments = (self._read(x, out.dtype), self._read(index, "int64"), out)
        self._by_row("gather", out, arguments)

    # -- order of work --------------------------------------------------------------------

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Do two things, each on a separate stream, and let later work wait for both.

        With CuPy's own products we do one after the other. CuPy has one handle of cuBLAS for both
        streams, and cuBLAS then does not guarantee the same bits in every run.
        """
        if self._products is None:
            super().both(one, two)
        else:
            self._streams.both(one, two)

    def recorder(self) -> Callable[..., None]:
        """Return ``repeat(work, *arrays)``, which launches a graph from its third call on."""
        return Recorder(self.xp) if self._products is not None else super().recorder()

    # -- equations 1, 9 and 10 ------------------------------------------------------------

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``out = a @ b``."""
        if self._products is None:
            super().matmul(a, b, out)
        else:
            self._products[self._streams.number].matmul(a, b, out)

    def sum_outer(self, delta: Array, x: Array, out: Array) -> None:
        """Compute ``dW`` on a second stream while the backward pass goes on (equations 9, 10)."""
        self._streams.beside(lambda: self.matmul(delta.T, x, out))

    def activate(self, kind: str, z: Array, b: Array | None = None) -> None:
        """Overwrite ``z`` with ``f(z + b)`` (equations 1 and 3)."""
        bound = z.dtype.type(sigmoid_bound(z.dtype))
        bias = NULL if b is None else self._read(_shaped(b, z.shape[1:]), z.dtype)
        self._by_row("activate", z, (bound, bias, z), np.int32(_code(kind)))

    def delta(
        self, kind: str, h: Array, dh: Array, direct: DirectGradients, work: Array, db: Array | None
    ) -> None:
        """Overwrite ``dh`` with ``delta``, and ``db`` with its sum (equations 9 and 10).

        The kernel takes two direct gradients. No objective of ours has more; if there are more, the
        first ones take the plain form.
        """
        super().delta("identity", h, dh, direct[:-2], work, None)
        self._delta(_code(kind), h, dh, direct[-2:], db)
        self._streams.mark()  # from here on dW can be computed

    def squared_distance(self, a: Array, b: Array, work: Array, out: Array) -> None:
        """Compute ``out += ||a - b||^2`` (equations 4, 5 and 6), summed in float64."""
        self._delta(0, a, None, [DirectGradient(b, 0.0, out)], None)

    def _delta(
        self, code: int, h: Array, dh: Array | None, direct: DirectGradients, db: Array | None
    ) -> None:
        n, width = h.shape
        refs: list[Any] = []
        for term in direct:
            ref = self._read(_shaped(term.ref, h.shape), h.dtype)
            refs += [ref, h.dtype.type(term.c)]
        refs += [NULL, h.dtype.type(0)] * (2 - len(direct))
        totals = [NULL if term.total is None else term.total for term in direct]
        outputs = [NULL if array is None else _written(array) for array in (dh, db)]
        network = self._streams.network
        arrays = (
            *refs, *outputs, *(*totals, NULL, NULL)[:2],
            self._partial[network], self._done[network],
        )  # fmt: skip
        kernel, h = self._kernels["delta", h.dtype.name], self._read(h)
        for first in range(0, width, MOST_BLOCKS * COLUMNS):
            numbers = (np.int32(code), np.int64(n), np.int64(width), np.int64(first))
            blocks = min(-(-(width - first) // COLUMNS), MOST_BLOCKS)
            kernel((blocks,), (COLUMNS, ROWS), (*numbers, h, *arrays))

    # -- equation 2 -----------------------------------------------------------------------

    def replace(
        self,
        x: Array,
        draw: Draw,
        limits: tuple[int, int],
        values: tuple[float, float],
        scale: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``scale x``, and replace entries at random (equation 2)."""
        numbers = (*map(np.uint64, limits), *map(out.dtype.type, (*values, scale)))
        self._add_noise("replace", x, draw, out, numbers)

    def add_gaussian(self, x: Array, draw: Draw, sigma: float, out: Array, work: Words) -> None:
        """Write ``x`` plus normal deviates times ``sigma`` (equation 2), drawn in float64."""
        numbers = map(np.float64, (-2.0 * sigma**2, 2.0 * math.pi * 2.0**-32))
        self._add_noise("add_gaussian", x, draw, out, numbers)

    def warp(
        self, x: Array, draw: Draw, motion: Motion, shape: tuple[int, int], out: Array
    ) -> None:
        """Write images moved at random (equation 2, geometric noise)."""
        _shaped(x, (out.shape[0], shape[0] * shape[1]))
        numbers = (*map(np.int64, shape), *map(np.float64, motion))
        self._add_noise("warp", x, draw, out, numbers, each=1)

    def _add_noise(
        self, name: str, x: Array, draw: Draw, out: Array, numbers: Iterable[Any], each: int = 4
    ) -> None:
        rows = self._read(_shaped(x, out.shape), out.dtype)
        index = self._read(_shaped(draw.rows, out.shape[:1]), "int64")
        number, there = (draw.epoch, NULL) if isinstance(draw.epoch, int) else (0, draw.epoch)
        counter = (*map(np.uint32, (*draw.key, number)), there)
        self._by_row(name, out, (*counter, *numbers, rows, index, out), each=each)

    # -- equation 8 -----------------------------------------------------------------------

    # Inside `both` these run on a second stream, after the backward pass has used W.

    def descend(self, p: Array, g: Array, lr: Rate, work: Array) -> None:
        """Compute ``p -= lr g`` (equation 8)."""
        self._descend("descend", p, g, lr)

    def momentum(self, p: Array, g: Array, v: Array, lr: Rate, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v``."""
        self._descend("momentum", p, g, lr, (mu, flush_constant(p.dtype)), v)

    def adam(
        self,
        p: Array,
        g: Array,
        m: Array,
        v: Array,
        scales: Scales,
        adam_b1: float,
        adam_b2: float,
        work: Array,
    ) -> None:
        """Do a step of Adam."""
        decays = (adam_b1, 1.0 - adam_b1, adam_b2, 1.0 - adam_b2)
        flushes = (flush_constant(p.dtype), flush_constant(p.dtype, for_root=True))
        self._descend("adam", p, g, scales, decays + flushes, m, v)

    def _descend(
        self, name: str, p: Array, g: Array, step: Any, numbers: Sequence[float] = (), *slots: Array
    ) -> None:
        g = self._read(_shaped(g, p.shape), p.dtype)
        written = [_written(_shaped(slot, p.shape)) for slot in (*slots, p)]
        arguments = (np.int64(p.size), g, step, *map(p.dtype.type, numbers), *written)
        kernel, blocks = self._kernels[name, p.dtype.name], -(-p.size // THREADS)
        self._streams.mark()
        self._streams.beside(lambda: kernel((blocks,), (THREADS,), arguments))

    def write(self, out: Array, *numbers: float) -> None:
        """Write two numbers of the host; they are arguments of a launch, so nothing is copied."""
        kernel = self._kernels["write", out.dtype.name]
        kernel((1,), (1,), (*map(out.dtype.type, numbers), out))

    # -- launches -------------------------------------------------------------------------

    def _by_row(
        self, name: str, out: Array, arguments: tuple[Any, ...], *first: Any, each: int = 1
    ) -> None:
        """Launch a kernel with a thread for every ``each`` entries of a row of ``out``."""
        n, width = _written(out).shape
        blocks = -(-width // (THREADS * each))
        self._kernels[name, out.dtype.name](
            (blocks, min(n, 65535)),  # the largest grid along its second axis
            (THREADS,),
            (*first, np.int64(n), np.int64(width), *arguments),
        )

    def _read(self, array: Array, dtype: Any = None) -> Array:
        """Return the array as a C-contiguous array (a copy only if needed)."""
        result: Array = self.xp.ascontiguousarray(array, dtype)
        return result


def _code(kind: str) -> int:
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")
    return ACTIVATIONS.index(kind)


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    # A kernel would read past the end of a smaller array.
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is expected")
    return array


def _written(array: Array) -> Array:
    if not array.flags.c_contiguous:
        raise ValueError(f"an array of shape {array.shape} to be written is not C-contiguous")
    return array
