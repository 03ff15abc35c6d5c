"""Operations in Numba for a CPU (the extra ``fast``): one loop each between the matrix products.

Each loop does the arithmetic of `ddnmf_np.backends.ops` in the same order; tests hold the two
equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ddnmf_np.backends.noise_ops import LOW_WORD, MULTIPLIERS, ROUNDS, WEYL, Draw, Words
from ddnmf_np.backends.ops import (
    Array,
    DirectGradient,
    DirectGradients,
    Ops,
    Rate,
    Scales,
    flush_constant,
)

IDENTITY, RELU, SIGMOID, TANH = range(4)
CODES = {"identity": IDENTITY, "relu": RELU, "sigmoid": SIGMOID, "tanh": TANH}
"""Activations that the loop of `NumbaOps.delta` knows; the others take the plain form."""


def _loop(function: Callable[..., Any]) -> Callable[..., Any]:
    # error_model="numpy": 0/0 is NaN as in the plain form, and no branch prevents vectorisation.
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # the folder of the cache is not writable: compile in every process
        compiled = numba.njit(**options)(function)
    return compiled


_LOW, _32 = np.uint64(LOW_WORD), np.uint64(32)
_M0, _M1 = map(np.uint64, MULTIPLIERS)
_W0, _W1 = map(np.uint64, WEYL)


@_loop
def _philox(c0: Any, c1: Any, c2: Any, c3: Any, key: Any) -> Any:
    k0, k1 = np.uint64(key[0]), np.uint64(key[1])
    for _ in range(ROUNDS):
        product0, product1 = c0 * _M0, c2 * _M1
        c0, c2 = (product1 >> _32) ^ c1 ^ k0, (product0 >> _32) ^ c3 ^ k1
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@_loop
def _replace(
    x: Any, index: Any, key: Any, epoch: Any,
    limits: Any, first: Any, second: Any, scale: Any, out: Any,
) -> None:  # fmt: skip
    n, width = x.shape
    below_first, below_second = np.uint64(limits[0]), np.uint64(limits[1])
    for i in range(n):
        row = np.uint64(index[i])
        low, high = row & _LOW, row >> _32
        for block in range(0, width, 4):
            words = _philox(np.uint64(block // 4), low, high, np.uint64(epoch), key)
            for k in range(min(4, width - block)):
                j = block + k
                word = words[k]
                kept = x[i, j] * scale
                out[i, j] = first if word < below_first else second if word < below_second else kept


@_loop
def _interpolate(x: Any, maps: Any, height: int, width: int, out: Any) -> None:
    for i in range(x.shape[0]):
        a, b, c, d, s, t = maps[i]
        for j in range(height * width):
            row, column = j // width - (height - 1) / 2, j % width - (width - 1) / 2
            y = a * row + b * column + s + (height - 1) / 2
            z = c * row + d * column + t + (width - 1) / 2
            top, left = np.floor(y), np.floor(z)
            down, right = y - top, z - left
            value = 0.0
            for k in range(4):
                y1, z1 = top + k // 2, left + k % 2
                if 0 <= y1 < height and 0 <= z1 < width:
                    wy, wz = down if k // 2 else 1.0 - down, right if k % 2 else 1.0 - right
                    value += wy * wz * x[i, int(y1) * width + int(z1)]
            out[i, j] = value


@_loop
def _bias_relu(z: Any, b: Any) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            zij = z[i, j] + b[j]
            z[i, j] = zero if zij <= zero else zij  # NaN stays, as in the plain maximum


@_loop
def _delta(
    kind: int, h: Any, dh: Any, count: int,
    ref1: Any, c1: Any, sum1: bool, ref2: Any, c2: Any, sum2: bool, db: Any,
) -> tuple[float, float]:  # fmt: skip
    zero, one = h.dtype.type(0), h.dtype.type(1)
    width = h.shape[1]
    squares1, squares2 = 0.0, 0.0
    parts = np.empty(_LANES, h.dtype)
    db[:] = zero
    for i in range(h.shape[0]):  # a row stays in the L1 cache during the loops below
        hi, di = h[i], dh[i]
        if count > 0:
            r = ref1[i]
            if sum1:
                squares1 += _square(hi, r, parts)
            for j in range(width):
                di[j] += (hi[j] - r[j]) * c1
        if count > 1:
            r = ref2[i]
            if sum2:
                squares2 += _square(hi, r, parts)
            for j in range(width):
                di[j] += (hi[j] - r[j]) * c2
        if kind == RELU:
            for j in range(width):
                di[j] *= one if hi[j] > zero else zero
        elif kind == SIGMOID:
            for j in range(width):
                di[j] *= (one - hi[j]) * hi[j]
        elif kind == TANH:
            for j in range(width):
                di[j] *= one - hi[j] * hi[j]
        for j in range(db.size):
            db[j] += di[j]
    return squares1, squares2


_LANES = 16
"""Partial sums, which the vector unit adds at the same time."""


@_loop
def _square(a: Any, b: Any, parts: Any) -> float:
    parts[:] = a.dtype.type(0)
    whole = a.size - a.size % _LANES
    for at in range(0, whole, _LANES):
        for k in range(_LANES):
            d = a[at + k] - b[at + k]
            parts[k] += d * d
    total = 0.0
    for k in range(_LANES):
        total += parts[k]
    for j in range(whole, a.size):
        d = a[j] - b[j]
        total += d * d
    return total


@_loop
def _momentum(p: Any, g: Any, v: Any, lr: Any, mu: Any, big: Any) -> None:
    for k in range(p.size):
        vk = mu * v[k] + g[k]
        v[k] = (vk + big) - big
        p[k] -= lr * v[k]


@_loop
def _adam(
    p: Any, g: Any, m: Any, v: Any,
    b1: Any, c1: Any, b2: Any, c2: Any, rate: Any, eps_t: Any, big: Any, big_v: Any,
) -> None:  # fmt: skip
    for k in range(p.size):
        gk = g[k]
        mk = ((m[k] * b1 + gk * c1) + big) - big
        vk = ((v[k] * b2 + (gk * gk) * c2) + big_v) - big_v
        m[k] = mk
        v[k] = vk
        p[k] -= (mk / (np.sqrt(vk) + eps_t)) * rate


class NumbaOps(Ops):
    """The reference operations, with one pass over memory where NumPy takes several."""

    name = "numpy+numba"

    def warm_up(self, dtype: Any) -> None:
        """Run every loop once on a small array, so that Numba compiles it or reads its cache."""
        a, flat, total = np.zeros((1, 4), dtype), np.zeros(4, dtype), np.zeros(1)
        draw = Draw(np.zeros(1, np.int64), (0, 0), 0)
        self.replace(a, draw, (0, 0), (0.0, 0.0), 1.0, a.copy(), Words())
        self.interpolate(a, np.zeros((1, 6)), (2, 2), a.copy())
        self.activate("relu", a, flat)
        self.delta("relu", a, a.copy(), [DirectGradient(a, 1.0, total)], a.copy(), flat)
        self.momentum(flat, flat.copy(), flat.copy(), 1.0, 0.0, flat)
        self.adam(flat, flat.copy(), flat.copy(), flat.copy(), (1.0, 1.0), 0.0, 0.0, flat)

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
        """Write ``scale x``, and replace entries at random (equation 2), in one pass."""
        _replace(x, *draw, limits, *map(x.dtype.type, (*values, scale)), out)

    def interpolate(self, x: Array, maps: Array, shape: tuple[int, int], out: Array) -> None:
        """Write images seen through affine maps (equation 2, geometric noise), in one pass."""
        _interpolate(x, maps, *shape, out)

    def activate(self, kind: str, z: Array, b: Array | None = None) -> None:
        """Overwrite ``z`` with ``f(z + b)`` (equations 1 and 3), for ReLU with bias in one pass.

        Other functions gain nothing: NumPy vectorises exp and tanh, and this model needs them for
        the few columns of ``H`` only.
        """
        if kind == "relu" and b is not None:
            _bias_relu(z, b)
        else:
            super().activate(kind, z, b)

    def delta(
        self, kind: str, h: Array, dh: Array, direct: DirectGradients, work: Array, db: Array | None
    ) -> None:
        """Overwrite ``dh`` with ``delta``, ``db`` with its sum (equations 9, 10), in one pass.

        Softplus takes the plain form, and so do more than two direct gradients, which no objective
        of ours has.
        """
        code, count = CODES.get(kind, -1), len(direct)
        odd = any(term.ref.dtype != h.dtype or term.ref.shape != h.shape for term in direct)
        if code < 0 or count > 2 or odd or h.shape[1] == 1:  # NumPy sums one column pairwise
            super().delta(kind, h, dh, direct, work, db)
            return
        one = direct[0] if count > 0 else DirectGradient(h, 0.0)
        two = direct[1] if count > 1 else one
        as_dtype = h.dtype.type
        squares = _delta(
            code, h, dh, count,
            one.ref, as_dtype(one.c), one.total is not None,
            two.ref, as_dtype(two.c), two.total is not None,
            h[0, :0] if db is None else db,
        )  # fmt: skip
        for term, square in zip(direct, squares, strict=False):
            if term.total is not None:
                term.total[0] += square

    def momentum(self, p: Array, g: Array, v: Array, lr: Rate, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v``, in one pass."""
        rate = lr[0] if isinstance(lr, np.ndarray) else lr
        _momentum(p, g, v, *map(p.dtype.type, (rate, mu, flush_constant(p.dtype))))

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
        """Do a step of Adam in one pass."""
        decays = (adam_b1, 1.0 - adam_b1, adam_b2, 1.0 - adam_b2)
        flushes = (flush_constant(p.dtype), flush_constant(p.dtype, for_root=True))
        _adam(p, g, m, v, *map(p.dtype.type, (*decays, *scales, *flushes)))
