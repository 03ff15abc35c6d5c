"""Numba twins of the operations that cost most on a CPU (the extra ``fast``).

Each override states the formula of `ddnmf_np.engine.ops` as one loop, in the same order of the
same operations; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from ddnmf_np.engine.ops import Array, Ops, adam_scales, flush_constant


def _loop(function: Callable[..., None]) -> Callable[..., None]:
    # error_model="numpy": 0/0 is NaN, as in the plain form, and no branch hinders the vector unit.
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        compiled: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the cache can be written: compile in every process
        compiled = numba.njit(**options)(function)
    return compiled


@_loop
def _momentum(p: Any, g: Any, v: Any, lr: Any, mu: Any, big: Any) -> None:
    for k in range(p.size):
        vk = mu * v[k] + g[k]
        v[k] = (vk + big) - big
        p[k] -= lr * v[k]


@_loop
def _adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    b1: Any,
    c1: Any,
    b2: Any,
    c2: Any,
    rate: Any,
    eps_t: Any,
    big: Any,
    big_v: Any,
) -> None:
    for k in range(p.size):
        gk = g[k]
        mk = ((m[k] * b1 + gk * c1) + big) - big
        vk = ((v[k] * b2 + (gk * gk) * c2) + big_v) - big_v
        m[k] = mk
        v[k] = vk
        p[k] -= (mk / (np.sqrt(vk) + eps_t)) * rate


class NumbaOps(Ops):
    """The reference operations with fused descent rules."""

    name = "numpy+numba"

    def momentum(self, p: Array, g: Array, v: Array, lr: float, mu: float, work: Array) -> None:
        """Compute ``v = mu v + g``, then ``p -= lr v``, in one pass."""
        as_dtype = p.dtype.type
        _momentum(p, g, v, as_dtype(lr), as_dtype(mu), as_dtype(flush_constant(p.dtype)))

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
        """Do step ``t`` of Adam in one pass."""
        rate, eps_t = adam_scales(t, lr, adam_b1, adam_b2, adam_eps)
        decays = (adam_b1, 1.0 - adam_b1, adam_b2, 1.0 - adam_b2)
        flushes = (flush_constant(p.dtype), flush_constant(p.dtype, for_root=True))
        _adam(p, g, m, v, *map(p.dtype.type, (*decays, rate, eps_t, *flushes)))
