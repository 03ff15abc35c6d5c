"""Operations of the equations in plain NumPy, the reference for the faster forms.

Operations write into memory that the caller owns: ``out``, or the argument that the summary names.
An argument ``work`` is scratch memory, which they overwrite. They allocate nothing, and they run on
any array module ``xp`` with NumPy's interface. A backend may give any of them a faster form; tests
hold it equal to the one here. `ddnmf_np.backends.noise_ops` has the operations of equation 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.noise_ops import NoiseOps

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array, or the array of another module with the same interface (CuPy)."""

Rate: TypeAlias = float | Array
"""A learning rate, or an array of shape (1,) that holds it. A recorded step reads the array anew
each time it is repeated, so the rate can change."""

Scales: TypeAlias = tuple[float, float] | Array
"""Adam's step size and epsilon (`adam_scales`), or an array of shape (2,) that holds them."""


class DirectGradient(NamedTuple):
    """Direct gradient ``Grad[h] += c (h - ref)`` (equation 10) of one loss term.

    ``ref``, (n, width), is the signal that the loss term compares the layer's output with, and
    ``c`` is ``2 weight / N``. We add the term's ``||h - ref||^2`` (equations 4 to 6) to ``total``,
    (1,) in float64, if it is given.
    """

    ref: Array
    c: float
    total: Array | None = None


DirectGradients: TypeAlias = Sequence[DirectGradient]
"""``Grad[h]`` of a layer: a direct gradient for each loss term that compares its output."""

Activation = Literal["identity", "relu", "sigmoid", "tanh", "softplus"]
ACTIVATIONS: tuple[str, ...] = get_args(Activation)
"""The activations. Each derivative is a function of the output, so a layer stores only ``h``."""

_BLOCK = 1 << 17
"""Parameters that an optimizer updates at a time, few enough to stay in the cache between passes.

A step of Adam over 6.6 million parameters takes 14 ms with these blocks, 21 ms without blocks, and
27 ms with blocks of 2^13, because of the calls.
"""


class Ops(NoiseOps):
    """Operations of the equations on ``xp``: NumPy, or a module with its interface.

    Notes
    -----
    The arguments mean the same in all operations. Samples are rows.

    ========================  ===========  =====================================================
    argument                  shape        meaning
    ========================  ===========  =====================================================
    ``kind``                               activation, one of `ACTIVATIONS`
    ``z``, ``h``              (n, width)   pre-activation and output of a layer
    ``dh``                    (n, width)   gradient with respect to ``h``, then ``delta``
    ``b``, ``db``             (width,)     bias and its gradient; None for a layer without bias
    ``p``, ``g``              (size,)      parameters, which we update, and their gradients
    ``work``                  as ``h``     scratch memory; in the descent rules of shape (block,),
                                           and we update as many parameters at a time
    ========================  ===========  =====================================================
    """

    name = "numpy"
    on_host = True
    """Whether reading a value costs nothing. On a device it waits for all work so far."""
    matmul_precision = "highest"
    """What was asked of float32 products, see `ddnmf_np.backends.select.get_ops`."""

    # -- memory: the only methods that allocate or move data ------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return uninitialised memory."""
        array: Array = self.xp.empty(shape, dtype)
        return array

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return memory filled with zeros."""
        array: Array = self.xp.zeros(shape, dtype)
        return array

    def to_device(self, array: Any, dtype: Any = None) -> Array:
        """Return the array as a C-contiguous array of this backend (a copy only if needed)."""
        result: Array = self.xp.ascontiguousarray(array, dtype)
        return result

    def to_host(self, array: Array) -> Array:
        """Return the array as a NumPy array (a copy only if it is on a device)."""
        return array

    def write(self, out: Array, *numbers: float) -> None:
        """Write two numbers of the host into ``out``, shape (2,), where a recorded step reads them.

        A recorded step repeats the numbers it was called with, so we pass changing ones in arrays.
        """
        out[...] = numbers

    def gather(self, x: Array, index: Array, out: Array) -> None:
        """Copy the rows ``x[index]`` into ``out``."""
        # In its default mode, `take` allocates a buffer. Our indices are never out of range.
        self.xp.take(x, index, axis=0, out=out, mode="clip")

    # -- order of work: faster on a device, without effect here ---------------------------

    def synchronize(self) -> None:
        """Wait until all work is done."""

    def warm_up(self, dtype: Any) -> None:
        """Compile everything now, so that no measured time includes it."""

    def device_name(self) -> str:
        """Return the name of the device."""
        return "CPU"

    def both(self, one: Callable[[], object], two: Callable[[], object]) -> None:
        """Do two things, of which neither touches what the other writes; a device overlaps them."""
        one()
        two()

    def recorder(self) -> Callable[..., None]:
        """Return ``repeat(work, *arrays)``, which calls ``work(*arrays)``.

        A device records the launches of ``work`` and then repeats them. So pass the same ``work``
        every time; it must allocate nothing and depend on nothing that changes on the host.
        """
        return _call

    # -- missing entries (derivations/15-missing-values.md) -------------------------------

    def set_aside_missing(self, x: Array, observed: Array, fill: Array | None = None) -> None:
        """Replace each NaN in ``x``, and write into ``observed`` where ``x`` had numbers.

        ``fill``, of shape (width,), has the value of each column that replaces NaN; 0 by default.
        """
        self.xp.isnan(x, out=observed)
        self.xp.copyto(x, 0.0 if fill is None else fill, where=observed)
        self.xp.logical_not(observed, out=observed)

    def observed_or(self, x: Array, observed: Array, h: Array, out: Array) -> None:
        """Write ``out = x`` where an entry is observed, and ``out = h`` elsewhere.

        A loss term that compares ``h`` with ``out`` then ignores the missing entries.
        """
        self.xp.copyto(out, h)
        self.xp.copyto(out, x, where=observed)

    # -- equation 1: h = f(x W^T + b) -----------------------------------------------------

    def matmul(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``out = a @ b``."""
        self.xp.matmul(a, b, out=out)

    def activate(self, kind: str, z: Array, b: Array | None = None) -> None:
        """Overwrite ``z = x W^T`` with ``h = f(z + b)`` (equation 1; without bias, equation 3)."""
        xp = self.xp
        if b is not None:
            xp.add(z, b, out=z)  # (n, width) + (width,)
        match kind:
            case "identity":  # f(z) = z
                pass
            case "relu":  # f(z) = max(z, 0)
                xp.maximum(z, 0.0, out=z)
            case "sigmoid":  # f(z) = 1 / (1 + exp(-z))
                xp.negative(z, out=z)
                xp.minimum(z, sigmoid_bound(z.dtype), out=z)
                xp.exp(z, out=z)
                xp.add(z, 1.0, out=z)
                xp.reciprocal(z, out=z)
            case "tanh":  # f(z) = tanh(z)
                xp.tanh(z, out=z)
            case "softplus":  # f(z) = log(1 + exp(z))
                xp.logaddexp(z, 0.0, out=z)
            case _:
                raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")

    # -- equations 9 and 10: delta = f'(z) g ----------------------------------------------

    def delta(
        self, kind: str, h: Array, dh: Array, direct: DirectGradients, work: Array, db: Array | None
    ) -> None:
        """Overwrite the gradient ``dh`` with ``delta``, and ``db`` with its sum over rows.

        ``g = W^T delta(above) + Grad[h]``, ``delta = f'(z) g``, ``db = sum over rows of delta``
        (equation 9, equation 10). On entry ``dh`` is ``W^T delta(above)``; the direct gradients are
        ``Grad[h]``. If one has a ``total``, we add its distance to that (equations 4 to 6).

        This is a layer's whole backward pass except for two matrix products. Here it takes the
        four operations below; a faster form takes one pass over memory.
        """
        for ref, c, total in direct:
            if total is not None:
                self.squared_distance(h, ref, work, out=total)
            self.add_direct(h, ref, c, dh, work)
        self.dactivate(kind, h, dh, work)  # equation 9, equation 10: delta = f'(z) g
        if db is not None:
            self.sum_rows(dh, out=db)

    def dactivate(self, kind: str, h: Array, dh: Array, work: Array) -> None:
        """Overwrite ``dh = g`` with ``delta = f'(z) g`` (equation 9, equation 10).

        The paper's ``f'`` is a diagonal matrix, so its product with ``g`` is element by element.
        We write ``f'`` as a function of the output ``h``. At the kink of ReLU it is 0.
        """
        xp = self.xp
        match kind:
            case "identity":  # f' = 1
                pass
            case "relu":  # f' = 1 where h > 0, else 0
                xp.greater(h, 0.0, out=work)
                xp.multiply(dh, work, out=dh)
            case "sigmoid":  # f' = h (1 - h)
                xp.subtract(1.0, h, out=work)
                xp.multiply(work, h, out=work)
                xp.multiply(dh, work, out=dh)
            case "tanh":  # f' = 1 - h^2
                xp.multiply(h, h, out=work)
                xp.subtract(1.0, work, out=work)
                xp.multiply(dh, work, out=dh)
            case "softplus":  # f' = 1 - exp(-h)
                xp.negative(h, out=work)
                xp.expm1(work, out=work)
                xp.negative(work, out=work)
                xp.multiply(dh, work, out=dh)
            case _:
                raise ValueError(f"activation {kind!r} is unknown; choose one of {ACTIVATIONS}")

    def sum_outer(self, delta: Array, x: Array, out: Array) -> None:
        """Compute ``out = sum_i delta_i x_i^T``, ``dW`` of equation 9 and equation 10.

        No other gradient waits for this product, so a device computes it at the same time as the
        gradients of the layers below.
        """
        self.matmul(delta.T, x, out=out)  # (out, n) @ (n, in) -> (out, in)

    def sum_rows(self, delta: Array, out: Array) -> None:
        """Compute ``out = sum over rows of delta``, ``db`` of equation 9 and equation 10."""
        self.xp.sum(delta, axis=0, out=out)  # (n, width) -> (width,)

    # -- equations 4, 5, 6: a loss and its direct gradient, side by side ------------------

    def squared_distance(self, a: Array, b: Array, work: Array, out: Array) -> None:
        """Compute ``out += ||a - b||^2``, the sum in equation 4, equation 5 and equation 6.

        ``out`` is a float64 array of shape (1,), which adds up an epoch. The sum over one batch is
        computed in the precision of ``a`` (on CuPy in float64). See
        ``derivations/04-symmetric-loss.md`` and the two pages after it.
        """
        self.xp.subtract(a, b, out=work)
        self.xp.add(out, self.xp.vdot(work, work), out=out)  # equation 4, equation 5, equation 6

    def add_direct(self, h: Array, ref: Array, c: float, dh: Array, work: Array) -> None:
        """Compute ``dh += c (h - ref)``, the Grad[h] of equation 10 (and g(L) of equation 9).

        See `DirectGradient` and ``derivations/10-student-gradient.md``.
        """
        self.xp.subtract(h, ref, out=work)
        self.xp.multiply(work, c, out=work)
        self.xp.add(dh, work, out=dh)  # equation 10: + Grad[h]; equation 9: g(L)

    # -- equation 8: theta <- theta - rho dL/dtheta ---------------------------------------

    def descend(self, p: Array, g: Array, lr: Rate, work: Array) -> None:
        """Compute ``p -= lr g`` (equation 8); see ``derivations/08-descent.md``."""
        xp = self.xp
        for at in range(0, p.size, work.size):
            pk, gk = p[at : at + work.size], g[at : at + work.size]
            s = work[: pk.size]
            xp.multiply(gk, lr, out=s)
            xp.subtract(pk, s, out=pk)  # equation 8

    def momentum(self, p: Array, g: Array, v: Array, lr: Rate, mu: float, work: Array) -> None:
        """Compute the velocity ``v = mu v + g``, then ``p -= lr v`` (Polyak's heavy ball)."""
        xp = self.xp
        big = flush_constant(p.dtype)
        for at in range(0, p.size, work.size):
            pk, gk, vk = (a[at : at + work.size] for a in (p, g, v))
            s = work[: pk.size]
            xp.multiply(vk, mu, out=vk)
            xp.add(vk, gk, out=vk)
            xp.add(vk, big, out=vk)
            xp.subtract(vk, big, out=vk)
            xp.multiply(vk, lr, out=s)
            xp.subtract(pk, s, out=pk)

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
        """Do a step of Adam with moments ``m`` and ``v`` (Kingma and Ba, 2015, algorithm 1).

        ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, then
        ``p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)``. `adam_scales` computes the
        ``scales`` of step ``t``.
        """
        xp = self.xp
        rate, eps_t = scales
        big, big_v = flush_constant(p.dtype), flush_constant(p.dtype, for_root=True)
        for at in range(0, p.size, work.size):
            pk, gk, mk, vk = (a[at : at + work.size] for a in (p, g, m, v))
            s = work[: pk.size]
            xp.multiply(gk, 1.0 - adam_b1, out=s)
            xp.multiply(mk, adam_b1, out=mk)
            xp.add(mk, s, out=mk)
            xp.add(mk, big, out=mk)
            xp.subtract(mk, big, out=mk)
            xp.multiply(gk, gk, out=s)
            xp.multiply(s, 1.0 - adam_b2, out=s)
            xp.multiply(vk, adam_b2, out=vk)
            xp.add(vk, s, out=vk)
            xp.add(vk, big_v, out=vk)
            xp.subtract(vk, big_v, out=vk)
            xp.sqrt(vk, out=s)
            xp.add(s, eps_t, out=s)
            xp.divide(mk, s, out=s)
            xp.multiply(s, rate, out=s)
            xp.subtract(pk, s, out=pk)

    def project_nonnegative(self, p: Array) -> None:
        """Compute ``p = max(p, 0)``, the nearest non-negative point."""
        self.xp.maximum(p, 0.0, out=p)


def _call(work: Callable[..., object], *arrays: Array) -> None:
    work(*arrays)


def adam_scales(
    t: int, lr: float, adam_b1: float, adam_b2: float, adam_eps: float
) -> tuple[float, float]:
    """Return Adam's step size and epsilon for step ``t``, bias corrections included.

    With ``c = 1 - b^t``, ``lr (m / c1) / (sqrt(v / c2) + eps)`` equals
    ``(lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))``, which takes two passes over memory less.
    """
    root_c2 = float((1.0 - adam_b2**t) ** 0.5)
    return lr * root_c2 / (1.0 - adam_b1**t), adam_eps * root_c2


def optimizer_work(ops: Ops, size: int, dtype: Any) -> Array:
    """Return the scratch memory of `Ops.descend`, `Ops.momentum` and `Ops.adam`."""
    return ops.empty((min(size, _BLOCK),), dtype)


def sigmoid_bound(dtype: Any) -> float:
    """Return a bound for ``-z`` that keeps the sigmoid ``h``, and ``h (1 - h)``, normal numbers."""
    return float(-np.log(np.finfo(dtype).tiny)) - 1.0


@cache
def flush_constant(dtype: Any, *, for_root: bool = False) -> float:
    """Return a constant; adding and subtracting it sets denormal moments to zero.

    The moments of a dead unit decay for ever. Below the smallest normal number, ``tiny``, each
    multiplication takes about ten times as long. Near the constant, floating-point numbers are at
    least ``2^41 tiny`` apart (2.6e-26 in float32, negligible against any weight). After adding and
    subtracting it, a moment is therefore zero, or so large that its product with a learning rate
    above 1e-12 is a normal number. A second moment is only decayed and put under a root, so for it
    (``for_root``) a spacing of ``2 tiny`` is enough; a larger one would matter next to a small
    ``adam_eps``.
    """
    info = np.finfo(dtype)
    return float((4.0 if for_root else 2.0**42) * info.tiny / info.eps)
