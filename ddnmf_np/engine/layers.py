"""Fully connected layer: equation 1 forward, equations 9 and 10 backward."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import ACTIVATIONS, Array, DirectGradients, Ops
from ddnmf_np.engine.arena import Arena
from ddnmf_np.errors import DataError, UsageError


class Dense:
    """Layer ``h = f(x W^T + b)`` (equation 1); without bias, half of equation 3.

    Samples are rows, so the paper's ``W h`` for a column becomes ``x @ W.T`` for a batch. A network
    gives its layers their memory; a layer outside a network takes it when you first use it.

    Parameters
    ----------
    fan_in, fan_out : int
        Widths of input and output, at least 1.
    activation : {"identity", "relu", "sigmoid", "tanh", "softplus"}
        The function f.
    bias : bool
        Whether there is a ``b``; the NMF module of equation 3 has none.
    label : str
        End of the names of the layer's blocks, ``"W" + label`` and ``"b" + label``.

    Attributes
    ----------
    W, dW : ndarray of shape (fan_out, fan_in)
        Weights and their gradient, views of the arena's flat arrays.
    b, db : ndarray of shape (fan_out,) or None
        Bias and its gradient, also views.
    h, dh, work : ndarray of shape (rows, fan_out)
        Output; gradient ``g`` with respect to it, which `backward` turns into ``delta``; scratch
        memory.
    x : ndarray of shape (n, fan_in) or None
        Last input of `forward`, which `backward` reads again.
    dx : ndarray of shape (rows, fan_in) or None
        Gradient with respect to ``x``; None if nobody needs it. In a network this is the ``dh``
        of the layer below.
    span : slice
        Place of ``W`` and ``b`` in the flat arrays of the arena.

    Examples
    --------
    >>> layer = Dense(4, 3)
    >>> h, dx = layer.forward(np.ones((2, 4))), layer.backward(np.ones((2, 3)))
    >>> h.shape, dx.shape, layer.dW.shape, layer.db.shape
    ((2, 3), (2, 4), (3, 4), (3,))
    """

    x: Array | None = None
    dx: Array | None = None
    lone = False
    """Whether the layer is outside a network; then it takes more memory for larger batches."""

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
        label = f" {self.label}" if self.label else ""
        return f"Dense{label} {self.fan_in}->{self.fan_out} ({self.activation}{bias})"

    def unbound(self) -> Dense:
        """Return a copy of the layer without memory and weights, for another network."""
        twin = copy(self)
        for name in ("ops", "W", "dW", "b", "db", "span", "h", "dh", "work", "x", "dx", "lone"):
            twin.__dict__.pop(name, None)
        return twin

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter block by name."""
        blocks: dict[str, tuple[int, ...]] = {f"W{self.label}": (self.fan_out, self.fan_in)}
        if self.bias:
            blocks[f"b{self.label}"] = (self.fan_out,)
        return blocks

    def allocate(self, dtype: Any = "float64", ops: Ops | None = None, seed: int = 0) -> None:
        """Take memory for a layer outside a network, and draw its weights from a seed.

        If you do not call this, `forward` does. The backend is NumPy by default.
        """
        self.lone = True
        self.bind(Arena(ops or Ops(), self.shapes(), dtype), rows=1)
        glorot([self], seed, 0)

    def bind(self, arena: Arena, rows: int) -> None:
        """Take this layer's blocks of the arena, and memory for batches of ``rows`` rows."""
        self.ops: Ops = arena.ops
        self.W, self.dW = arena.param(f"W{self.label}"), arena.grad(f"W{self.label}")
        self.b = arena.param(f"b{self.label}") if self.bias else None
        self.db = arena.grad(f"b{self.label}") if self.bias else None
        spans = [arena.spans[name] for name in self.shapes()]
        self.span = slice(spans[0].start, spans[-1].stop)
        self._make_room(rows)

    def _make_room(self, rows: int) -> None:
        dtype = self.W.dtype
        self.h, self.dh, self.work = (self.ops.zeros((rows, self.fan_out), dtype) for _ in range(3))
        if self.lone:
            self.dx = self.ops.zeros((rows, self.fan_in), dtype)

    def forward(self, x: Array) -> Array:
        """Compute ``h = f(x W^T + b)`` (equation 1), and keep what `backward` needs.

        See ``derivations/01-layer.md``; without bias, ``derivations/03-nmf-module.md``.

        Parameters
        ----------
        x : ndarray of shape (n, fan_in), n <= rows
            Input; keep it unchanged until `backward` is done. Outside a network any n will do.

        Returns
        -------
        ndarray of shape (n, fan_out)
            A view of ``h``.

        Raises
        ------
        DataError
            If the shape of ``x`` does not fit.
        """
        if not hasattr(self, "ops"):
            self.allocate()
        if self.lone and x.ndim == 2 and x.shape[0] > self.h.shape[0]:
            self._make_room(x.shape[0])
        self._check(x, None if self.lone else self.h.shape[0])
        self.x = x
        return self._equation_1(x, self.h[: x.shape[0]])

    def apply(self, x: Array) -> Array:
        """Compute the bits of `forward` (equation 1) in new memory, for any n, and keep nothing.

        Several threads may call this at the same time, because it changes nothing in the layer. It
        raises `UsageError` if the layer has no weights yet, and `DataError` as `forward`.
        """
        if not hasattr(self, "ops"):
            raise UsageError(f"{self!r}: has no weights yet; call allocate() or forward(x) first")
        self._check(x)
        return self._equation_1(x, self.ops.empty((x.shape[0], self.fan_out), self.W.dtype))

    def _equation_1(self, x: Array, h: Array) -> Array:
        self.ops.matmul(x, self.W.T, out=h)  # (n, in) @ (in, out) -> (n, out)
        self.ops.activate(self.activation, h, self.b)  # equation 1; without b, equation 3
        return h

    def _check(self, x: Array, most: int | None = None) -> None:
        """Raise `DataError` unless ``x`` has the layer's width and at most that many rows."""
        fits = x.ndim == 2 and x.shape[1] == self.fan_in and 1 <= x.shape[0] <= (most or x.shape[0])
        if not fits:
            limit = "n >= 1" if most is None else f"1 <= n <= {most}"
            raise DataError(
                f"{self!r}: x has shape {x.shape}; expected (n, {self.fan_in}) with {limit}"
            )

    def backward(self, g: Array | None = None, direct: DirectGradients = ()) -> Array | None:
        """Compute the gradients with respect to W, b and x from that for ``h`` (equation 9).

        First we add ``Grad[h]`` to ``g`` (equation 10). The comments show each formula in the
        paper's columns; see ``derivations/09-supervisor-gradient.md``.

        Parameters
        ----------
        g : ndarray of shape (n, fan_out), optional
            Gradient with respect to the output; by default ``dh``, where a network's layer above
            has written it.
        direct : sequence of DirectGradient
            ``Grad[h]``, the gradients of the losses that compare this layer's output.

        Returns
        -------
        ndarray of shape (n, fan_in) or None
            A view of ``dx``; None where nobody needs it.

        Raises
        ------
        UsageError, DataError
            If `forward` has not run; if the shape of ``g`` does not fit.
        """
        if self.x is None:
            raise UsageError(f"{self!r}: backward comes after forward; call forward(x) first")
        ops, x, n = self.ops, self.x, self.x.shape[0]
        h, delta, work = self.h[:n], self.dh[:n], self.work[:n]
        if g is not None:
            if g.shape != delta.shape:
                raise DataError(f"{self!r}: g has shape {g.shape}; expected {delta.shape}")
            delta[...] = g
        dx = None if self.dx is None else self.dx[:n]

        # g = g + Grad[h];  delta = f'(z) g;  db = sum_i delta_i;  one pass over the batch
        ops.delta(self.activation, h, delta, direct, work, self.db)  # equation 9, equation 10
        if dx is not None:  # dx = W^T delta
            ops.matmul(delta, self.W, out=dx)  # equation 9: (n, out) @ (out, in) -> (n, in)
        # dW = sum_i delta_i x_i^T
        ops.sum_outer(delta, x, out=self.dW)  # equation 9: (out, n) @ (n, in) -> (out, in)
        return dx


def glorot(layers: list[Dense], seed: int, stream: int) -> None:
    """Draw each ``W`` from U(-a, a), a = sqrt(6 / (fan_in + fan_out)), and set ``b`` to 0.

    This is the rule of Glorot and Bengio (2010); each network has its own stream of the seed. We
    draw on the host in float64, so that every backend and precision starts from the same numbers.
    """
    rng = np.random.default_rng([seed, stream])
    for layer in layers:
        a = (6.0 / (layer.fan_in + layer.fan_out)) ** 0.5
        layer.W[...] = layer.ops.to_device(rng.uniform(-a, a, layer.W.shape), layer.W.dtype)
        if layer.b is not None:
            layer.b.fill(0.0)
