"""Memory for all parameters of a network, in one contiguous block with named views."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ddnmf_np.backends.ops import Array, Ops

ALIGNMENT = 64
"""Each block starts at a multiple of this many numbers: 256 bytes of float32, 512 of float64.

cuBLAS loads 16 bytes at once if an array starts at a multiple of 16 bytes. Without gaps, a bias of
10 numbers would misalign all blocks after it.
"""


class Arena:
    """Parameters, gradients and optimizer slots of one network, each a flat array.

    A layer sees its part of ``params`` and ``grads`` as ``W`` or ``b``. An optimizer, a checkpoint
    or an all-reduce handles one array instead of a dozen. ``shapes`` has the shape of each block by
    name, in the order of the layout, and ``slots`` the optimizer's state (velocity, moments). The
    gaps between the blocks are zero and stay zero, because their gradient is zero.
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
        """Number of parameters, without the gaps."""
        return sum(map(prod, self.shapes.values()))

    def add_slot(self, name: str) -> Array:
        """Return the slot of that name; a new one is zero."""
        if name not in self.slots:
            self.slots[name] = self.ops.zeros((self.size,), self.params.dtype)
        return self.slots[name]

    def view(self, flat: Array, name: str) -> Array:
        """Return the named block of a flat array, as a view in its shape."""
        return flat[self.spans[name]].reshape(self.shapes[name])

    def param(self, name: str) -> Array:
        """Return the parameters of a block, as a view in its shape."""
        return self.view(self.params, name)

    def grad(self, name: str) -> Array:
        """Return the gradient of a block, as a view in its shape."""
        return self.view(self.grads, name)

    def packed(self, flat: Array) -> Array:
        """Return a copy of a flat array without the gaps, on the host."""
        host = self.ops.to_host(flat)
        return np.concatenate([host[span] for span in self.spans.values()])
