"""CUDA twins of the operations: one elementwise kernel each, its formula beside the plain one.

This file never imports CuPy; `ddnmf_np.engine.backend` does, and hands the module over. Scalar
arguments take the type ``T`` of the arrays, so float32 stays float32. CuPy compiles with
``-ftz=true``: denormal float32 numbers are zero on the device from the start.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from ddnmf_np.engine.ops import Array, Ops, adam_scales, flush_constant, sigmoid_bound


class Kernel(NamedTuple):
    """Source of an elementwise kernel, in CuPy's notation; ``T`` is float or double."""

    inputs: str
    outputs: str
    formula: str


KERNELS = {
    # equation 10: Grad[h] += c (h - ref)
    "tap": Kernel("T h, T ref, T c", "T dh", "dh += c * (h - ref)"),
    # equations 9 and 10: delta = f'(z) g, with f' as a function of h
    "d_relu": Kernel("T h", "T dh", "dh = h > (T)0 ? dh : dh * (T)0"),
    "d_sigmoid": Kernel("T h", "T dh", "dh *= ((T)1 - h) * h"),
    "d_tanh": Kernel("T h", "T dh", "dh *= (T)1 - h * h"),
    "d_softplus": Kernel("T h", "T dh", "dh *= -expm1(-h)"),
    # equation 3: the base of the NMF module, bounded as in the plain form; C's min(-z, bound)
    # would turn a NaN into the bound, and a network that diverged into one that looks well
    "sigmoid": Kernel("T bound", "T z", "z = (T)1 / ((T)1 + exp(-z > bound ? bound : -z))"),
    # equation 8
    "descend": Kernel("T g, T lr", "T p", "p -= g * lr"),
    "momentum": Kernel(
        "T g, T lr, T mu, T big", "T v, T p", "v = ((v * mu + g) + big) - big; p -= v * lr"
    ),
    "adam": Kernel(
        "T g, T b1, T c1, T b2, T c2, T rate, T eps_t, T big, T big_v",
        "T m, T v, T p",
        "m = ((m * b1 + g * c1) + big) - big;"
        " v = ((v * b2 + (g * g) * c2) + big_v) - big_v;"
        " p -= (m / (sqrt(v) + eps_t)) * rate",
    ),
}
"""Every fused kernel of this backend."""

SQUARED_DISTANCE = {
    "in_params": "T a, T b",
    "out_params": "float64 row",
    "map_expr": "(double)(a - b) * (double)(a - b)",
    "reduce_expr": "a + b",
    "post_map_expr": "row = a",
    "identity": "0",
}
"""The sum of equations 4, 5 and 6 as a reduction in float64, over the features of each sample.

CuPy gives each output of a reduction with two inputs one block of threads at most. A sum over
samples and features at once would be the work of a single block, while the device waits.
"""


class CupyOps(Ops):
    """The reference operations on a CUDA device, the elementwise ones fused.

    Parameters
    ----------
    xp : module
        CuPy.
    """

    name = "cupy"
    on_host = False

    def __init__(self, xp: ModuleType) -> None:
        super().__init__(xp)
        self._kernels: dict[str, Any] = {
            name: self.xp.ElementwiseKernel(*kernel, f"ddnmf_{name}")
            for name, kernel in KERNELS.items()
        }
        self._squared_distance = self.xp.ReductionKernel(
            **SQUARED_DISTANCE, name="ddnmf_squared_distance"
        )

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

    def device_name(self) -> str:
        """Return the name of the current device."""
        properties = self.xp.cuda.runtime.getDeviceProperties(self.xp.cuda.Device().id)
        return str(properties["name"].decode())

    def gather(self, x: Array, index: Array, out: Array) -> None:
        """Copy the rows ``x[index]`` into ``out``."""
        self.xp.take(x, index, axis=0, out=out)  # CuPy's take has no mode

    def activate(self, kind: str, z: Array) -> None:
        """Overwrite ``z`` with ``f(z)`` (equations 1 and 3)."""
        if kind == "sigmoid":
            self._kernels["sigmoid"](sigmoid_bound(z.dtype), z)
        else:
            super().activate(kind, z)

    def dactivate(self, kind: str, h: Array, dh: Array, work: Array) -> None:
        """Overwrite ``dh = g`` with ``delta = f'(z) g`` (equations 9 and 10)."""
        kernel = self._kernels.get(f"d_{kind}")
        if kernel is None:
            super().dactivate(kind, h, dh, work)
        else:
            kernel(h, dh)

    def squared_distance(self, a: Array, b: Array, work: Array, out: Array) -> None:
        """Compute ``out += ||a - b||^2`` (equations 4, 5 and 6), summed in float64."""
        rows = self._squared_distance(a, b, axis=1)  # (n, width) -> (n,)
        self.xp.add(out, rows.sum(), out=out)

    def tap(self, h: Array, ref: Array, c: float, dh: Array, work: Array) -> None:
        """Compute ``dh += c (h - ref)`` (equation 10)."""
        self._kernels["tap"](h, ref, c, dh)

    def descend(self, p: Array, g: Array, lr: float, work: Array) -> None:
        """Compute ``p -= lr g`` (equation 8)."""
        self._kernels["descend"](g, lr, p)

    def momentum(self, p: Array, g: Array, v: Array, lr: float, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v``."""
        self._kernels["momentum"](g, lr, mu, flush_constant(p.dtype), v, p)

    def adam(
        self,
        p: Array,
        g: Array,
        m: Array,
        v: Array,
        t: int,
        lr: float,
        adam_b1: float,
        adam_b2: float,
        adam_eps: float,
        work: Array,
    ) -> None:
        """Do step ``t`` of Adam."""
        rate, eps_t = adam_scales(t, lr, adam_b1, adam_b2, adam_eps)
        decays = (adam_b1, 1.0 - adam_b1, adam_b2, 1.0 - adam_b2)
        flushes = (flush_constant(p.dtype), flush_constant(p.dtype, for_root=True))
        self._kernels["adam"](g, *decays, rate, eps_t, *flushes, m, v, p)
