"""One contiguous block of memory for all parameters of a network, with named views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array, Ops

ALIGNMENT = 64
"""Each block starts at a multiple of this many numbers: 256 bytes of float32, 512 of float64.

cuBLAS loads 16 bytes at a time where an array starts on 16 bytes. Behind a bias of 10 numbers the
next weights would not, and neither would any block behind them.
"""


class Arena:
    """Parameters, gradients and optimizer slots of one network, each one flat block.

    An optimizer walks a flat block once; a layer sees its own part of it as ``W`` or ``b``; a
    checkpoint or an all-reduce handles one array instead of a dozen. Zeros fill the gaps between
    the blocks. They stay zeros: their gradient is zero, so no optimizer moves them.

    Parameters
    ----------
    ops : Ops
        Who owns the memory.
    shapes : mapping of str to tuple of int
        Shape of each named block, in the order in which they are laid out.
    dtype : dtype
        ``float32`` for training, ``float64`` for checking.

    Attributes
    ----------
    size : int
        Length of the flat arrays, gaps included.
    params, grads : ndarray of shape (size,)
        Flat parameters and their gradients.
    slots : dict of str to ndarray of shape (size,)
        What the optimizer remembers (velocity, moments).
    """

    def __init__(self, ops: Ops, shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> None:
        self.ops = ops
        self.shapes = dict(shapes)
        self.spans: dict[str, slice] = {}
        size = 0
        for name, shape in self.shapes.items():
            start = -(-size // ALIGNMENT) * ALIGNMENT
            size = start + prod(shape)
            self.spans[name] = slice(start, size)
        self.size = size
        self.params = ops.zeros((size,), dtype)
        self.grads = ops.zeros((size,), dtype)
        self.slots: dict[str, Array] = {}

    @property
    def n_parameters(self) -> int:
        """Number of parameters: the sizes of all blocks, without the gaps."""
        return sum(map(prod, self.shapes.values()))

    def add_slot(self, name: str) -> Array:
        """Return the slot of that name, made of zeros if it was not there."""
        if name not in self.slots:
            self.slots[name] = self.ops.zeros((self.size,), self.params.dtype)
        return self.slots[name]

    def span(self, names: Iterable[str]) -> slice:
        """Return the part of the flat arrays from the first named block to the end of the last."""
        spans = [self.spans[name] for name in names]
        return slice(spans[0].start, spans[-1].stop)

    def view(self, flat: Array, name: str) -> Array:
        """Return the named block of a flat array, as a view in its shape."""
        return flat[self.spans[name]].reshape(self.shapes[name])

    def packed(self, flat: Array) -> Array:
        """Return a copy of a flat array without the gaps, on the host."""
        host = self.ops.to_host(flat)
        return np.concatenate([host[span] for span in self.spans.values()])

    def unpack(self, packed: Array, flat: Array) -> None:
        """Write what `packed` returned into the blocks of a flat array."""
        at = 0
        for span in self.spans.values():
            size = span.stop - span.start
            flat[span] = self.ops.to_device(packed[at : at + size], flat.dtype)
            at += size

    def param(self, name: str) -> Array:
        """Return the parameters of a block, as a view in its shape."""
        return self.view(self.params, name)

    def grad(self, name: str) -> Array:
        """Return the gradient of a block, as a view in its shape."""
        return self.view(self.grads, name)
