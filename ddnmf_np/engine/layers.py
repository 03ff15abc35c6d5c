"""One fully connected layer: equation 1 forward, equations 9 and 10 backward."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import ACTIVATIONS, Array, DirectGradient, Ops
from ddnmf_np.engine.arena import Arena
from ddnmf_np.errors import DataError, UsageError


class Dense:
    """A layer ``h = f(x W^T + b)`` (equation 1); without bias, half of equation 3.

    Rows are samples, so the paper's ``W h`` for a column is ``x @ W.T`` for a batch. The layer
    owns its output ``h`` and the signal ``dh``; an arena owns ``W``, ``b``, ``dW`` and ``db``.

    Parameters
    ----------
    fan_in, fan_out : int
        Widths of input and output, at least 1.
    activation : {"identity", "relu", "sigmoid", "tanh", "softplus"}
        The function f.
    bias : bool
        Whether there is a ``b``; the NMF module of equation 3 has none.
    label : str
        What distinguishes the names of this layer's blocks, ``"W" + label`` and
        ``"b" + label``.

    Attributes
    ----------
    W, dW : ndarray of shape (fan_out, fan_in)
        Weights and their gradient.
    b, db : ndarray of shape (fan_out,) or None
        Bias and its gradient.
    h, dh, work : ndarray of shape (rows, fan_out)
        Output; signal (``g``, after `backward` ``delta``); scratch.
    span : slice
        Where ``W`` and ``b`` lie in the flat arrays of the arena.
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        activation: str = "relu",
        *,
        bias: bool = True,
        label: str = "",
    ) -> None:
        for name, value in (("fan_in", fan_in), ("fan_out", fan_out)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise UsageError(f"Dense: {name} is {value!r}; expected a whole number >= 1")
        if activation not in ACTIVATIONS:
            raise UsageError(
                f"Dense: activation is {activation!r}; choose one of {', '.join(ACTIVATIONS)}"
            )
        self.fan_in, self.fan_out = int(fan_in), int(fan_out)
        self.activation, self.bias, self.label = activation, bias, label

    def __repr__(self) -> str:
        bias = "" if self.bias else ", no bias"
        return f"Dense {self.label} {self.fan_in}->{self.fan_out} ({self.activation}{bias})"

    def unbound(self) -> Dense:
        """Return a layer of the same class and options, without memory."""
        twin = copy(self)
        for name in ("ops", "W", "dW", "b", "db", "span", "h", "dh", "work"):
            twin.__dict__.pop(name, None)
        return twin

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter block by name."""
        blocks: dict[str, tuple[int, ...]] = {f"W{self.label}": (self.fan_out, self.fan_in)}
        if self.bias:
            blocks[f"b{self.label}"] = (self.fan_out,)
        return blocks

    def bind(self, arena: Arena, rows: int) -> None:
        """Take this layer's blocks of the arena and make room for batches of ``rows`` rows."""
        self.ops: Ops = arena.ops
        self.attach(arena)
        dtype = arena.params.dtype
        self.h, self.dh, self.work = (self.ops.zeros((rows, self.fan_out), dtype) for _ in range(3))

    def attach(self, arena: Arena) -> None:
        """Take this layer's blocks of the arena: views of its flat arrays."""
        self.W, self.dW = arena.param(f"W{self.label}"), arena.grad(f"W{self.label}")
        self.b = arena.param(f"b{self.label}") if self.bias else None
        self.db = arena.grad(f"b{self.label}") if self.bias else None
        self.span = arena.span(self.shapes())

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw ``W`` from U(-a, a), a = sqrt(6 / (fan_in + fan_out)), and set ``b`` to 0.

        Glorot and Bengio (2010). Drawn on the host in float64, so that every backend and
        precision starts from the same numbers.
        """
        a = (6.0 / (self.fan_in + self.fan_out)) ** 0.5
        self.W[...] = self.ops.to_device(rng.uniform(-a, a, self.W.shape), self.W.dtype)
        if self.b is not None:
            self.b.fill(0.0)

    def forward(self, x: Array) -> Array:
        """Compute ``h = f(x W^T + b)`` (equation 1).

        See ``derivations/01-layer.md``; without bias, ``derivations/03-nmf-module.md``.

        Parameters
        ----------
        x : ndarray of shape (n, fan_in), n <= rows
            Input, read here and again by `backward`.

        Returns
        -------
        ndarray of shape (n, fan_out)
            A view of ``h``.

        Raises
        ------
        DataError
            If the shape of ``x`` does not fit.
        """
        ops = self.ops
        if x.ndim != 2 or x.shape[1] != self.fan_in or not 1 <= x.shape[0] <= self.h.shape[0]:
            raise DataError(
                f"{self!r}: x has shape {x.shape}; expected (n, {self.fan_in}) "
                f"with 1 <= n <= {self.h.shape[0]}"
            )
        h = self.h[: x.shape[0]]
        ops.matmul(x, self.W.T, out=h)  # (n, in) @ (in, out) -> (n, out)
        ops.activate(self.activation, h, self.b)  # equation 1; without b, equation 3
        return h

    def backward(
        self, x: Array, dx: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> None:
        """Turn the signal in ``dh`` into ``delta`` and gradients (equation 9, equation 10).

        ``g = dh + Grad[h]``; ``delta = f'(z) g``; ``dW = sum_i delta_i x_i^T``, a sum of outer
        products; ``db = sum_i delta_i``; ``dx = W^T delta``, the signal of the layer below. See
        ``derivations/09-supervisor-gradient.md``.

        Parameters
        ----------
        x : ndarray of shape (n, fan_in)
            What `forward` was given.
        dx : ndarray of shape (n, fan_in), optional
            Overwritten with the signal for ``x``. The first layer of a network needs none.
        direct : sequence of DirectGradient
            ``Grad[h]``, the direct gradients at this layer.
        """
        ops = self.ops
        n = x.shape[0]
        delta = self.dh[:n]
        ops.delta(self.activation, self.h[:n], delta, direct, self.work[:n], self.db)
        if dx is not None:
            ops.matmul(delta, self.W, out=dx)  # (n, out) @ (out, in) -> (n, in)
        ops.sum_outer(delta, x, out=self.dW)  # (out, n) @ (n, in) -> (out, in)


def glorot(layers: list[Dense], seed: int, stream: int) -> None:
    """Initialise layers from a seed and a stream number, one stream per network."""
    rng: Any = np.random.default_rng([seed, stream])
    for layer in layers:
        layer.initialise(rng)
