"""Problems for the gradient check: a scalar, the blocks it depends on, and its gradient.

`ddnmf_np.engine.gradcheck` is the checker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ddnmf_np.backends.ops import Array, DirectGradient, Ops
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import DataError

DIRECTIONS, SAMPLES = 2, 3
"""Streams of the seed. Streams 0 and 1 draw the weights, to which these must owe nothing."""


@dataclass(frozen=True)
class Problem:
    """A scalar function of named blocks, and code that claims to know its gradient.

    Parameters
    ----------
    label : str
        Name in the report.
    ops : Ops
        Backend.
    blocks : mapping of str to (ndarray, ndarray)
        Values, which are moved and put back, and where `gradient` leaves their gradient.
    loss : callable
        Computes the scalar, forward only.
    gradient : callable
        Computes the gradients of all blocks.
    sides : callable
        Returns, after `loss`, on which side of its kink every ReLU is, as a boolean array.
    """

    label: str
    ops: Ops
    blocks: Mapping[str, tuple[Array, Array]]
    loss: Callable[[], float]
    gradient: Callable[[], None]
    sides: Callable[[], Array]


@runtime_checkable
class Checkable(Protocol):
    """A model that states its own problems (`ddnmf_np.model.Model` does)."""

    def gradient_problems(
        self, x: Array | None, x_noisy: Array | None, seed: int, observed: Array | None
    ) -> list[Problem]:
        """Return what there is to check, each on a float64 copy of the model."""
        ...


def check_input(x: Any, name: str) -> Array | None:
    """Return ``x`` as it is, or raise if it cannot be a batch of samples."""
    if x is None:
        return None
    if getattr(x, "ndim", None) is None:
        x = np.asarray(x)
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind not in "fiub":
        raise DataError(
            f"{name} has shape {x.shape} and dtype {x.dtype}; expected numbers of shape "
            "(n, features)"
        )
    if not bool((abs(x) < float("inf")).all()):
        raise DataError(f"{name} has entries that are not finite; remove or replace them")
    array: Array = x
    return array


def leave_kinks(network: Network, rng: np.random.Generator) -> None:
    """Shift every bias by at most 0.01, so that no pre-activation is exactly 0 by construction.

    With the zero biases of a fresh network, a sample for which a whole ReLU layer is off has
    ``z = 0`` throughout the layer above: no step is small enough to stay on one side of that.
    """
    for layer in network.layers:
        if layer.b is not None:
            layer.b += network.ops.to_device(rng.uniform(-0.01, 0.01, layer.fan_out), layer.b.dtype)


def relu_sides(network: Network) -> Array:
    """Return which ReLU outputs of the last forward pass are above zero, as one flat array."""
    xp = network.ops.xp
    sides = [
        (h > 0).ravel()
        for layer, h in zip(network.layers, network.h[1:], strict=True)
        if layer.activation == "relu"
    ]
    flat: Array = xp.concatenate(sides) if sides else xp.zeros((0,), bool)
    return flat


def network_problem(target: Network, x: Any, seed: int, label: str) -> Problem:
    """State the problem of a network: squared distance from a random target at every layer."""
    rng = np.random.default_rng([seed, SAMPLES])
    x = check_input(x, "x")
    if x is None:
        x = rng.uniform(0.0, 1.0, (5, target.widths[0]))
    network = target.copy(rows=x.shape[0], dtype="float64")
    leave_kinks(network, rng)
    ops = network.ops
    x = ops.to_device(x, "float64").copy()
    dx = ops.zeros(x.shape, "float64")
    goals = [
        ops.to_device(rng.normal(size=(x.shape[0], width)), "float64")
        for width in network.widths[1:]
    ]
    direct = {number: [DirectGradient(goal, 2.0)] for number, goal in enumerate(goals, start=1)}

    def loss() -> float:
        network.forward(x)
        return sum(float(((h - g) ** 2).sum()) for h, g in zip(network.h[1:], goals, strict=True))

    def gradient() -> None:
        network.forward(x)
        network.backward(direct, dx)

    blocks = {
        name: (network.arena.param(name), network.arena.grad(name)) for name in network.arena.shapes
    }
    return Problem(label, ops, blocks | {"x": (x, dx)}, loss, gradient, lambda: relu_sides(network))
