"""Network of layers in a row: equation 1 upwards, equations 9 and 10 downwards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from ddnmf_np.backends.ops import Array, DirectGradients, Ops
from ddnmf_np.engine.arena import Arena
from ddnmf_np.engine.layers import Dense
from ddnmf_np.errors import UsageError


class Network:
    """Layers 1 to depth, with their parameters in one arena.

    Parameters
    ----------
    layers : sequence of Dense
        A layer's input is as wide as the output of the layer before. Layers without a label get
        their number, so that the blocks are named ``W1``, ``b1``, ``W2``, ...
    rows : int
        Largest batch.
    dtype : dtype
        ``float32`` for training, ``float64`` for checking.
    ops : Ops, optional
        Backend; NumPy by default.

    Attributes
    ----------
    h : list of ndarray
        After `forward`: the input ``h[0]``, and the output ``h[l]`` of layer l, a view.
    """

    def __init__(
        self,
        layers: Sequence[Dense],
        *,
        rows: int = 128,
        dtype: Any = "float32",
        ops: Ops | None = None,
    ) -> None:
        if not layers:
            raise UsageError("Network: layers is empty; expected at least one Dense")
        for number, (below, above) in enumerate(itertools.pairwise(layers), start=1):
            if below.fan_out != above.fan_in:
                raise UsageError(
                    f"Network: layer {number} gives {below.fan_out} features but layer "
                    f"{number + 1} takes {above.fan_in}; make the two equal"
                )
        for layer in layers:
            if hasattr(layer, "ops"):
                raise UsageError(
                    f"Network: {layer!r} has memory already, its own or another network's; "
                    "take its unbound()"
                )
        if rows < 1:
            raise UsageError(f"Network: rows is {rows}; expected at least 1")
        self.layers = list(layers)
        self._bind(ops or Ops(), rows, dtype)

    def _bind(self, ops: Ops, rows: int, dtype: Any) -> None:
        """Take memory for parameters and for batches of ``rows`` rows."""
        self.ops, self.rows = ops, rows
        shapes: dict[str, tuple[int, ...]] = {}
        for number, layer in enumerate(self.layers, start=1):
            layer.label = layer.label or str(number)
            if shapes.keys() & layer.shapes().keys():
                raise UsageError(f"Network: two layers are labelled {layer.label!r}; rename one")
            shapes |= layer.shapes()
        self.arena = Arena(ops, shapes, dtype)
        for layer in self.layers:
            layer.bind(self.arena, rows)
        for below, above in itertools.pairwise(self.layers):
            above.dx = below.dh
        self.h: list[Array] = []

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    @property
    def widths(self) -> list[int]:
        """Width of the input and of every layer's output: ``depth + 1`` numbers."""
        return [self.layers[0].fan_in, *(layer.fan_out for layer in self.layers)]

    def forward(self, x: Array) -> Array:
        """Apply all layers to ``x``, shape (n, widths[0]) (equation 1, layer after layer).

        Keep ``x`` unchanged until `backward` is done. We return a view of the last layer's output,
        shape (n, widths[-1]), which is valid until the next call.
        """
        self.h = [x]
        for layer in self.layers:
            self.h.append(layer.forward(self.h[-1]))
        return self.h[-1]

    def apply(self, x: Array, start: int = 0, stop: int | None = None) -> Array:
        """Apply layers ``start + 1`` to ``stop``, by default all, as `Dense.apply` does.

        ``x`` has shape (n, widths[start]) and the result (n, widths[stop]), with any n >= 1.
        """
        for layer in self.layers[start:stop]:
            x = layer.apply(x)
        return x

    def backward(
        self,
        direct: Mapping[int, DirectGradients],
        dx: Array | None = None,
        after: Callable[[slice], None] | None = None,
    ) -> None:
        """Compute all gradients from the direct ones (equation 9 and equation 10).

        We go from the last layer to the first, and overwrite the gradients, so that a second call
        gives the same bits. See ``derivations/10-student-gradient.md``.

        Parameters
        ----------
        direct : mapping of int to sequence of DirectGradient
            ``Grad[h(l)]`` by layer number l: the sum of ``c (h - ref)`` over its terms.
        dx : ndarray of shape (n, widths[0]), optional
            Overwritten with the gradient with respect to the input.
        after : callable, optional
            We call it with the span of each layer whose gradients are done, because they and its
            weights, which nobody else needs, are then still in the cache.
        """
        if unknown := direct.keys() - range(1, self.depth + 1):
            raise UsageError(
                f"Network: direct gradients name layers {sorted(unknown)} of 1 to {self.depth}"
            )
        n = self.h[0].shape[0]
        self.layers[0].dx = dx
        self.layers[-1].dh[:n].fill(0.0)  # nothing comes from above the last layer
        for number in range(self.depth, 0, -1):
            layer = self.layers[number - 1]
            # g(l) = Grad[h(l)] + W(l+1)^T delta(l+1); the second term is in dh, by the layer above
            layer.backward(direct=direct.get(number, ()))  # equation 10
            if after is not None:
                after(layer.span)

    def batches(self, x: Array) -> Iterator[tuple[slice, Array]]:
        """Yield ``(rows, x[rows])`` in pieces of at most the largest batch."""
        for at in range(0, x.shape[0], self.rows):
            piece = slice(at, min(at + self.rows, x.shape[0]))
            yield piece, x[piece]

    def copy(self, *, rows: int, dtype: Any) -> Network:
        """Return a network with the same layers, classes and parameters, in its own memory."""
        twin = copy(self)
        twin.layers = [layer.unbound() for layer in self.layers]
        twin._bind(self.ops, rows, dtype)
        twin.arena.params[...] = self.arena.params.astype(dtype)
        return twin
