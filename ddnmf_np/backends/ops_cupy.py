"""CUDA twins of the operations: what happens between two matrix products is one launch.

This file never imports CuPy; `ddnmf_np.backends.select` does, and hands the module over. `SOURCE`
has the kernels whose threads work together or that draw random numbers, `KERNELS` those that treat
each entry by itself, in CuPy's notation. Scalar arguments take the type ``T`` of the arrays, so
float32 stays float32. CuPy compiles with ``-ftz=true``: denormal float32 numbers are zero on the
device from the start. No operation allocates device memory, so all of them may be recorded in a
graph (`ddnmf_np.backends.cupy_graph`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ddnmf_np.backends.cupy_graph import Recorder, Streams
from ddnmf_np.backends.ops import (
    ACTIVATIONS,
    Array,
    DirectGradient,
    Epoch,
    Motion,
    Ops,
    Rate,
    Scales,
    flush_constant,
    sigmoid_bound,
)
from ddnmf_np.backends.philox import Words

COLUMNS, ROWS, AHEAD = 32, 16, 4
"""Threads of a block of ``ddnmf_delta``, across (a warp) and down, and rows that each loads at a
time."""

MOST_BLOCKS = 512
"""Blocks of a launch of ``ddnmf_delta``; a wider layer takes several launches."""

THREADS = 128
"""Threads of a block of the other kernels; they lie along a row."""

SOURCE = (
    "".join(f"#define {kind.upper()} {number}\n" for number, kind in enumerate(ACTIVATIONS))
    + f"#define COLUMNS {COLUMNS}\n#define ROWS {ROWS}\n#define AHEAD {AHEAD}\n"
    + r"""
typedef REAL T;
typedef long long Int;

// equation 1: f(z). A NaN stays a NaN: z > 0 is false for it, and so is -z > bound.
__device__ T activation(int kind, T z, T bound) {
    switch (kind) {
        case RELU: return z > (T)0 || z != z ? z : (T)0;
        case SIGMOID: return (T)1 / ((T)1 + exp(-z > bound ? bound : -z));
        case TANH: return tanh(z);
        case SOFTPLUS: return (z > (T)0 ? z : (T)0) + log1p(exp(-fabs(z)));
        default: return z;
    }
}

// equations 9 and 10: f'(z) g, with f' as a function of h
__device__ T times_derivative(int kind, T h, T g) {
    switch (kind) {
        case RELU: return h > (T)0 ? g : g * (T)0;
        case SIGMOID: return g * (((T)1 - h) * h);
        case TANH: return g * ((T)1 - h * h);
        case SOFTPLUS: return g * -expm1(-h);
        default: return g;
    }
}

// equation 1: z = f(z + b) in every row
extern "C" __global__ void ddnmf_activate(
        int kind, Int n, Int width, T bound, const T* b, T* z) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= width) return;
    T bias = b ? b[j] : (T)0;
    for (Int i = blockIdx.y; i < n; i += gridDim.y)
        z[i * width + j] = activation(kind, z[i * width + j] + bias, bound);
}

// Two sums over the threads of a warp, in its first thread; always in the same order.
__device__ void warp_sums(double& one, double& two) {
    for (int step = 16; step > 0; step /= 2) {
        one += __shfl_down_sync(0xFFFFFFFFu, one, step);
        two += __shfl_down_sync(0xFFFFFFFFu, two, step);
    }
}

// equations 9 and 10: dh += c1 (h - ref1) + c2 (h - ref2), dh = f'(z) dh, db = sum of the rows of
// dh; equations 4 to 6: total += ||h - ref||^2. Null pointers leave a part out. A block has its
// columns, from `first` on, to itself: no other block adds to its entries of db. A warp has a row.
extern "C" __global__ void __launch_bounds__(ROWS * COLUMNS) ddnmf_delta(
        int kind, Int n, Int width, Int first, const T* h,
        const T* ref1, T c1, const T* ref2, T c2,
        T* dh, T* db, double* total1, double* total2, double* partial, unsigned int* done) {
    __shared__ T column[ROWS][COLUMNS];
    __shared__ double squares1[ROWS], squares2[ROWS];
    __shared__ bool last;
    int x = threadIdx.x, y = threadIdx.y;
    Int j = first + blockIdx.x * (Int)COLUMNS + x;
    double square1 = 0, square2 = 0;
    T sum = 0;
    for (Int start = y; j < width && start < n; start += AHEAD * ROWS) {
        // A load after a store would wait for it: so all loads of several rows come first.
        T hk[AHEAD], g[AHEAD], r1[AHEAD], r2[AHEAD];
        #pragma unroll
        for (int u = 0; u < AHEAD; ++u) {
            Int i = start + u * ROWS, k = i * width + j;
            bool inside = i < n;
            hk[u] = inside ? h[k] : (T)0;
            g[u] = inside && dh ? dh[k] : (T)0;
            r1[u] = inside && ref1 ? ref1[k] : (T)0;
            r2[u] = inside && ref2 ? ref2[k] : (T)0;
        }
        #pragma unroll
        for (int u = 0; u < AHEAD; ++u) {
            Int i = start + u * ROWS;
            if (i >= n) break;
            if (ref1) {
                T d = hk[u] - r1[u];
                square1 += (double)d * (double)d;
                g[u] += c1 * d;
            }
            if (ref2) {
                T d = hk[u] - r2[u];
                square2 += (double)d * (double)d;
                g[u] += c2 * d;
            }
            if (dh) {
                g[u] = times_derivative(kind, hk[u], g[u]);
                dh[i * width + j] = g[u];
                sum += g[u];
            }
        }
    }
    column[y][x] = sum;
    warp_sums(square1, square2);
    if (x == 0) {
        squares1[y] = square1;
        squares2[y] = square2;
    }
    __syncthreads();
    if (db && y == 0 && j < width) {
        for (int r = 1; r < ROWS; ++r) sum += column[r][x];
        db[j] = sum;
    }
    if (!total1 && !total2) return;
    // The block that is done last adds up the sums of all blocks, always in the same order: which
    // block that is changes nothing. Fences and volatile let it see what the others have written.
    if (x == 0 && y == 0) {
        for (int r = 1; r < ROWS; ++r) {
            square1 += squares1[r];
            square2 += squares2[r];
        }
        volatile double* mine = partial + 2 * blockIdx.x;
        mine[0] = square1;
        mine[1] = square2;
        __threadfence();
        last = atomicAdd(done, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last || y > 0) return;
    __threadfence();
    const volatile double* all = partial;
    square1 = square2 = 0;
    for (unsigned int block = x; block < gridDim.x; block += COLUMNS) {
        square1 += all[2 * block];
        square2 += all[2 * block + 1];
    }
    warp_sums(square1, square2);
    if (x == 0) {
        if (total1) *total1 += square1;
        if (total2) *total2 += square2;
        *done = 0;
    }
}

extern "C" __global__ void ddnmf_gather(
        Int n, Int width, const T* x, const Int* index, T* out) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= width) return;
    for (Int i = blockIdx.y; i < n; i += gridDim.y) out[i * width + j] = x[index[i] * width + j];
}

// Four random words for the features 4 block to 4 block + 3 of a sample: ten rounds of Philox.
__device__ void philox4x32(
        unsigned int block, Int index, unsigned int epoch, unsigned int k0, unsigned int k1,
        unsigned int* word) {
    unsigned int c0 = block, c1 = (unsigned int)index, c3 = epoch;
    unsigned int c2 = (unsigned int)((unsigned long long)index >> 32);
    for (int round = 0; round < 10; ++round) {
        unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(p1 >> 32) ^ c1 ^ k0;
        c2 = (unsigned int)(p0 >> 32) ^ c3 ^ k1;
        c1 = (unsigned int)p1;
        c3 = (unsigned int)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

// equation 2, masking and salt-and-pepper: low0 below limit0, low1 below limit1, else x * scale
extern "C" __global__ void ddnmf_replace(
        Int n, Int width, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        unsigned long long limit0, unsigned long long limit1, T value0, T value1, T scale,
        const T* x, const Int* index, T* out) {
    Int block = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (4 * block >= width) return;
    if (there) epoch = (unsigned int)*there;
    unsigned int word[4];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        philox4x32((unsigned int)block, index[i], epoch, k0, k1, word);
        for (int lane = 0; lane < 4 && 4 * block + lane < width; ++lane) {
            Int k = i * width + 4 * block + lane;
            unsigned long long w = word[lane];
            out[k] = w < limit0 ? value0 : w < limit1 ? value1 : x[k] * scale;
        }
    }
}

// equation 2, gaussian: Box and Muller's transform, two deviates from each pair of words
extern "C" __global__ void ddnmf_add_gaussian(
        Int n, Int width, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        double minus_two_variance, double radians, const T* x, const Int* index, T* out) {
    Int block = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (4 * block >= width) return;
    if (there) epoch = (unsigned int)*there;
    unsigned int word[4];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        philox4x32((unsigned int)block, index[i], epoch, k0, k1, word);
        for (int lane = 0; lane < 4 && 4 * block + lane < width; ++lane) {
            Int k = i * width + 4 * block + lane;
            int pair = lane / 2 * 2;
            double radius = log(((double)word[pair] + 0.5) * (1.0 / 4294967296.0));
            radius = sqrt(radius * minus_two_variance);
            double angle = (double)word[pair + 1] * radians;
            out[k] = (T)((lane % 2 ? sin(angle) : cos(angle)) * radius) + x[k];
        }
    }
}

__device__ double centred(unsigned int word) {  // uniform on (-1, 1)
    return ((double)word + 0.5) * (1.0 / 2147483648.0) - 1.0;
}

// equation 2, geometric: each pixel from the four nearest to where its image's map leads
extern "C" __global__ void ddnmf_warp(
        Int n, Int size, unsigned int k0, unsigned int k1, unsigned int epoch, const Int* there,
        Int height, Int width, double shift, double rotation, double zoom, double shear,
        const T* x, const Int* index, T* out) {
    Int j = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (j >= size) return;
    if (there) epoch = (unsigned int)*there;
    double middle = (double)(height - 1) / 2, centre = (double)(width - 1) / 2;
    double row = (double)(j / width) - middle, column = (double)(j % width) - centre;
    unsigned int word[8];
    for (Int i = blockIdx.y; i < n; i += gridDim.y) {
        // Each thread draws its image's map anew: that costs less than to wait for another's.
        philox4x32(0, index[i], epoch, k0, k1, word);
        philox4x32(1, index[i], epoch, k0, k1, word + 4);
        double angle = centred(word[0]) * rotation, scale = 1 + centred(word[1]) * zoom;
        double skew = centred(word[2]) * shear, c = cos(angle) / scale, s = sin(angle) / scale;
        double y = (c - s * skew) * row - s * column + centred(word[3]) * shift + middle;
        double z = (s + c * skew) * row + c * column + centred(word[4]) * shift + centre;
        double top = floor(y), left = floor(z), down = y - top, right = z - left, value = 0;
        for (int k = 0; k < 4; ++k) {
            double y1 = top + k / 2, z1 = left + k % 2;
            if (y1 >= 0 && y1 < (double)height && z1 >= 0 && z1 < (double)width) {  // not for NaN
                double weight = (k / 2 ? down : 1 - down) * (k % 2 ? right : 1 - right);
                value += weight * (double)x[i * size + (Int)y1 * width + (Int)z1];
            }
        }
        out[i * size + j] = (T)value;
    }
}
"""
)
"""Kernels in CUDA C++, compiled once for each ``T``; arrays are C-contiguous."""

RAW_KERNELS = ("activate", "delta", "gather", "replace", "add_gaussian", "warp")
"""Names of the kernels of `SOURCE`, without ``ddnmf_``."""


class Kernel(NamedTuple):
    """Source of an elementwise kernel, in CuPy's notation; ``T`` is float or double."""

    inputs: str
    outputs: str
    formula: str


KERNELS = {  # equation 8
    "descend": Kernel("T g, raw T lr", "T p", "p -= g * lr[0]"),
    "momentum": Kernel(
        "T g, raw T lr, T mu, T big",
        "T v, T p",
        "T vk = ((v * mu + g) + big) - big; T pk = p - vk * lr[0]; v = vk; p = pk",
    ),
    "adam": Kernel(
        "T g, raw T scales, T b1, T c1, T b2, T c2, T big, T big_v",
        "T m, T v, T p",
        "T gk = g;"
        " T mk = ((m * b1 + gk * c1) + big) - big;"
        " T vk = ((v * b2 + (gk * gk) * c2) + big_v) - big_v;"
        " T pk = p - (mk / (sqrt(vk) + scales[1])) * scales[0];"
        " m = mk; v = vk; p = pk",
    ),
    "write": Kernel("T a, T b", "raw T out", "out[0] = a; out[1] = b"),
}
"""The descent rules, and what writes the numbers of a step where they read them.

CuPy's kernel writes at each assignment, and its arrays might overlap for all that the compiler
knows: a load after a store waits for it. So every value is loaded before the first is stored.
"""

NULL = np.uint64(0)
"""A null pointer, as a kernel's argument; CuPy takes None for no argument at all."""


class Products(Protocol):
    """Who does the matrix products of one stream at a time."""

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``out = a @ b`` on the current stream."""


class CupyOps(Ops):
    """The reference operations on a CUDA device, fused.

    Parameters
    ----------
    xp : module
        CuPy.
    products : sequence of Products, optional
        Matrix products for each of the ``STREAMS`` that may be recorded in a graph. CuPy's own,
        if not given, may not; nothing is recorded then.
    """

    name = "cupy"
    on_host = False

    def __init__(self, xp: ModuleType, products: Sequence[Products] | None = None) -> None:
        super().__init__(xp)
        self._products = products
        self._streams = Streams(xp)
        self._kernels: dict[str, Any] = {
            name: self.xp.ElementwiseKernel(*kernel, f"ddnmf_{name}")
            for name, kernel in KERNELS.items()
        }
        self._raw = {
            (name, dtype): self.xp.RawKernel(SOURCE, f"ddnmf_{name}", (f"-DREAL={ctype}",))
            for name in RAW_KERNELS
            for dtype, ctype in (("float32", "float"), ("float64", "double"))
        }
        # What the blocks of ddnmf_delta tell each other; two kernels may run at a time.
        self._partial = [self.xp.zeros((2 * MOST_BLOCKS,), "float64") for _ in range(2)]
        self._done = [self.xp.zeros((1,), "uint32") for _ in range(2)]

    # -- memory ---------------------------------------------------------------------------

    def to_device(self, array: Any, dtype: Any = None) -> Array:
        """Return the array as a C-contiguous array on the device (a copy only if needed)."""
        # CuPy's ascontiguousarray takes nothing but CuPy's own arrays.
        result: Array = self.xp.asarray(array, dtype, order="C")
        return result

    def to_host(self, array: Array) -> Array:
        """Copy the array to host memory."""
        result: Array = self.xp.asnumpy(array)
        return result

    def synchronize(self) -> None:
        """Wait until the device has done all work of the current stream."""
        self.xp.cuda.get_current_stream().synchronize()

    def warm_up(self, dtype: Any) -> None:
        """Compile every kernel, or read it from CuPy's cache on disk."""
        self.activate("identity", self.zeros((1, 1), dtype))  # the source is compiled as a whole
        p, g, m, v = (self.zeros((1,), dtype) for _ in range(4))
        scales = self.zeros((2,), dtype)
        self.write(scales, 1.0, 1.0)
        self.descend(p, g, scales, p)
        self.momentum(p, g, v, scales, 0.0, p)
        self.adam(p, g, m, v, scales, 0.0, 0.0, p)

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
        """Do two things, each on a stream of its own, and let later work wait for both.

        With CuPy's own products one after the other: its one handle of cuBLAS serves both
        streams, and then cuBLAS does not promise the same bits at every run.
        """
        if self._products is None:
            super().both(one, two)
        else:
            self._streams.both(one, two)

    def recorder(self) -> Callable[..., None]:
        """Return ``repeat(work, *arrays)``: ``work(*arrays)`` as a graph from its third time on."""
        return Recorder(self.xp) if self._products is not None else super().recorder()

    # -- equations 1, 9 and 10 ------------------------------------------------------------

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``out = a @ b``."""
        if self._products is None:
            super().matmul(a, b, out)
        else:
            self._products[self._streams.number].matmul(a, b, out)

    def sum_outer(self, delta: Array, x: Array, out: Array) -> None:
        """Compute ``dW`` beside the network, which goes on (equations 9 and 10)."""
        self._streams.beside(lambda: self.matmul(delta.T, x, out))

    def activate(self, kind: str, z: Array, b: Array | None = None) -> None:
        """Overwrite ``z`` with ``f(z + b)`` (equations 1 and 3)."""
        bound = z.dtype.type(sigmoid_bound(z.dtype))
        bias = NULL if b is None else self._read(_shaped(b, z.shape[1:]), z.dtype)
        self._by_row("activate", z, (bound, bias, z), np.int32(_code(kind)))

    def delta(
        self,
        kind: str,
        h: Array,
        dh: Array,
        direct: Sequence[DirectGradient],
        work: Array,
        db: Array | None,
    ) -> None:
        """Overwrite ``dh`` with ``delta``, and ``db`` with its sum (equations 9 and 10).

        Of more than two direct gradients, which no objective of the paper has, the first ones
        take the plain way.
        """
        super().delta("identity", h, dh, direct[:-2], work, None)
        self._delta(_code(kind), h, dh, direct[-2:], db)
        self._streams.mark()  # dW needs no more than this

    def squared_distance(self, a: Array, b: Array, work: Array, out: Array) -> None:
        """Compute ``out += ||a - b||^2`` (equations 4, 5 and 6), summed in float64."""
        self._delta(0, a, None, [DirectGradient(b, 0.0, out)], None)

    def _delta(
        self,
        code: int,
        h: Array,
        dh: Array | None,
        direct: Sequence[DirectGradient],
        db: Array | None,
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
        kernel, h = self._raw["delta", h.dtype.name], self._read(h)
        for first in range(0, width, MOST_BLOCKS * COLUMNS):
            numbers = (np.int32(code), np.int64(n), np.int64(width), np.int64(first))
            blocks = min(-(-(width - first) // COLUMNS), MOST_BLOCKS)
            kernel((blocks,), (COLUMNS, ROWS), (*numbers, h, *arrays))

    # -- equation 2 -----------------------------------------------------------------------

    def replace(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        limits: tuple[int, int],
        values: tuple[float, float],
        scale: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``x`` times ``scale`` with the entries drawn set to ``values`` (equation 2)."""
        numbers = (*map(np.uint64, limits), *map(out.dtype.type, (*values, scale)))
        self._add_noise("replace", x, index, key, epoch, out, numbers)

    def add_gaussian(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        sigma: float,
        out: Array,
        work: Words,
    ) -> None:
        """Write ``x`` plus normal deviates times ``sigma`` (equation 2), drawn in float64."""
        numbers = map(np.float64, (-2.0 * sigma**2, 2.0 * math.pi * 2.0**-32))
        self._add_noise("add_gaussian", x, index, key, epoch, out, numbers)

    def warp(
        self,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        motion: Motion,
        shape: tuple[int, int],
        out: Array,
    ) -> None:
        """Write images moved at random (equation 2, geometric noise)."""
        _shaped(x, (out.shape[0], shape[0] * shape[1]))
        numbers = (*map(np.int64, shape), *map(np.float64, motion))
        self._add_noise("warp", x, index, key, epoch, out, numbers, each=1)

    def _add_noise(
        self,
        name: str,
        x: Array,
        index: Array,
        key: tuple[int, int],
        epoch: Epoch,
        out: Array,
        numbers: Iterable[Any],
        each: int = 4,
    ) -> None:
        rows = self._read(_shaped(x, out.shape), out.dtype)
        index = self._read(_shaped(index, out.shape[:1]), "int64")
        number, there = (epoch, NULL) if isinstance(epoch, int) else (0, epoch)
        counter = (*map(np.uint32, (*key, number)), there)
        self._by_row(name, out, (*counter, *numbers, rows, index, out), each=each)

    # -- equation 8 -----------------------------------------------------------------------

    # Inside of `both`, beside the network: after its product with W, which is about to change.

    def descend(self, p: Array, g: Array, lr: Rate, work: Array) -> None:
        """Compute ``p -= lr g`` (equation 8)."""
        self._descend("descend", g, lr, p)

    def momentum(self, p: Array, g: Array, v: Array, lr: Rate, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v``."""
        self._descend("momentum", g, lr, mu, flush_constant(p.dtype), v, p)

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
        self._descend("adam", g, scales, *decays, *flushes, m, v, p)

    def _descend(self, name: str, *arguments: Any) -> None:
        self._streams.mark()
        self._streams.beside(lambda: self._kernels[name](*arguments))

    def write(self, out: Array, *numbers: float) -> None:
        """Write two numbers of the host, as arguments of a launch: nothing is copied."""
        self._kernels["write"](*numbers, out, size=1)

    # -- launches -------------------------------------------------------------------------

    def _by_row(
        self, name: str, out: Array, arguments: tuple[Any, ...], *first: Any, each: int = 1
    ) -> None:
        """Launch a kernel whose threads lie along the rows of ``out``, for ``each`` entries one."""
        n, width = _written(out).shape
        blocks = -(-width // (THREADS * each))
        self._raw[name, out.dtype.name](
            (blocks, min(n, 65535)),  # what a grid may have in its second direction
            (THREADS,),
            (*first, np.int64(n), np.int64(width), *arguments),
        )

    def _read(self, array: Array, dtype: Any = None) -> Array:
        """Return the array as the kernels read it; a copy only if it is not contiguous."""
        result: Array = self.xp.ascontiguousarray(array, dtype)
        return result


def _code(kind: str) -> int:
    if kind not in ACTIVATIONS:
        raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")
    return ACTIVATIONS.index(kind)


def _shaped(array: Array, shape: tuple[int, ...]) -> Array:
    # A kernel would read past the end of a smaller one.
    if array.shape != shape:
        raise ValueError(f"an array of shape {array.shape} where {shape} is expected")
    return array


def _written(array: Array) -> Array:
    if not array.flags.c_contiguous:
        raise ValueError(f"an array of shape {array.shape} to be written is not C-contiguous")
    return array
