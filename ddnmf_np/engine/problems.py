"""Problems for the gradient check: a scalar function of named blocks, and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array, DirectGradient, Ops
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import DataError

DIRECTIONS, SAMPLES = 2, 3
"""Streams of the seed. Streams 0 and 1 draw the weights, which must not depend on these."""


@dataclass(frozen=True)
class Problem:
    """Scalar function of named blocks, and code that computes its gradient.

    A block is a pair of arrays: the values, which the checker moves and restores, and their
    gradient, which ``gradient()`` writes. ``loss()`` computes the scalar by a forward pass. After
    it, ``sides()`` tells as a boolean array on which side of the kink each ReLU is.
    """

    label: str
    ops: Ops
    blocks: Mapping[str, tuple[Array, Array]]
    loss: Callable[[], float]
    gradient: Callable[[], None]
    sides: Callable[[], Array]


def check_input(x: Any, name: str) -> Array | None:
    """Return ``x`` as an array, or raise `DataError` if it cannot be a batch of samples."""
    if x is None:
        return None
    found: Array = x if hasattr(x, "ndim") else np.asarray(x)
    if found.ndim != 2 or 0 in found.shape or found.dtype.kind not in "fiub":
        raise DataError(
            f"{name} has shape {found.shape} and dtype {found.dtype}; expected numbers of shape "
            "(n, features)"
        )
    if not bool((abs(found) < float("inf")).all()):
        raise DataError(f"{name} has entries that are not finite; remove or replace them")
    return found


def leave_kinks(network: Network, rng: np.random.Generator) -> None:
    """Shift every bias by at most 0.01, so that no pre-activation is exactly 0.

    In a fresh network all biases are 0. If a whole ReLU layer is 0 for a sample, then ``z = 0`` in
    the layer above, and every step crosses a kink.
    """
    for layer in network.layers:
        if layer.b is not None:
            layer.b += network.ops.to_device(rng.uniform(-0.01, 0.01, layer.fan_out), layer.b.dtype)


def relu_sides(network: Network) -> Array:
    """Return as a flat array which ReLU outputs of the last forward pass are above zero."""
    xp, sides = network.ops.xp, [network.ops.xp.zeros((0,), bool)]
    for layer, h in zip(network.layers, network.h[1:], strict=True):
        if layer.activation == "relu":
            sides.append((h > 0).ravel())
    flat: Array = xp.concatenate(sides)
    return flat


def network_problem(target: Network, x: Any, seed: int, label: str) -> Problem:
    """Return the problem of a network: squared distances from random targets at all layers."""
    rng = np.random.default_rng([seed, SAMPLES])
    x = check_input(x, "x")
    if x is None:
        x = rng.uniform(0.0, 1.0, (5, target.widths[0]))
    network = target.copy(rows=x.shape[0], dtype="float64")
    leave_kinks(network, rng)
    ops = network.ops
    x = ops.to_device(x, "float64").copy()
    dx = ops.zeros(x.shape, "float64")
    goals = [ops.to_device(rng.normal(size=(len(x), m)), "float64") for m in network.widths[1:]]
    direct = {number: [DirectGradient(goal, 2.0)] for number, goal in enumerate(goals, start=1)}

    def loss() -> float:
        network.forward(x)
        return sum(float(((h - g) ** 2).sum()) for h, g in zip(network.h[1:], goals, strict=True))

    def gradient() -> None:
        network.forward(x)
        network.backward(direct, dx)

    arena = network.arena
    blocks = {name: (arena.param(name), arena.grad(name)) for name in arena.shapes} | {"x": (x, dx)}
    return Problem(label, ops, blocks, loss, gradient, lambda: relu_sides(network))
