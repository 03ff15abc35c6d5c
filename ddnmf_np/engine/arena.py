"""One contiguous block of memory for all parameters of a network, with named views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

from ddnmf_np.engine.ops import Array, Ops


class Arena:
    """Parameters, gradients and optimizer slots of one network, each one flat block.

    An optimizer walks a flat block once; a layer sees its own part of it as ``W`` or ``b``; a
    checkpoint or an all-reduce handles one array instead of a dozen.

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
            self.spans[name] = slice(size, size + prod(shape))
            size += prod(shape)
        self.size = size
        self.params = ops.zeros((size,), dtype)
        self.grads = ops.zeros((size,), dtype)
        self.slots: dict[str, Array] = {}

    def add_slot(self, name: str) -> Array:
        """Return the slot of that name, made of zeros if it was not there."""
        if name not in self.slots:
            self.slots[name] = self.ops.zeros((self.size,), self.params.dtype)
        return self.slots[name]

    def move(self, place: Callable[[Array], Array]) -> None:
        """Put parameters and slots elsewhere; views that were taken before are of no use then.

        Parameters
        ----------
        place : callable
            Returns the array that is to be used instead: of the same shape, dtype and values.
        """
        self.params = place(self.params)
        self.slots = {name: place(slot) for name, slot in self.slots.items()}

    def span(self, names: Iterable[str]) -> slice:
        """Return the part of the flat arrays that holds the named blocks, which lie in a row."""
        spans = [self.spans[name] for name in names]
        return slice(spans[0].start, spans[-1].stop)

    def view(self, flat: Array, name: str) -> Array:
        """Return the named block of a flat array, as a view in its shape."""
        return flat[self.spans[name]].reshape(self.shapes[name])

    def param(self, name: str) -> Array:
        """Return the parameters of a block, as a view in its shape."""
        return self.view(self.params, name)

    def grad(self, name: str) -> Array:
        """Return the gradient of a block, as a view in its shape."""
        return self.view(self.grads, name)
