"""Wrong backward passes, and checks that let them pass: for notebook 3.

The layers are right but for one line each. The checks are those one meets in courses and blogs;
`ddnmf_np.gradcheck` is what they are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Array, DirectGradient
from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network

Floats = npt.NDArray[np.float64]


class ForgetsSlope(Dense):
    """Takes ``g`` for ``delta``: f' is missing."""

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward as if the activation were the identity."""
        activation, self.activation = self.activation, "identity"
        dx = super().backward(g, direct)
        self.activation = activation
        return dx


class ForgetsSignal(Dense):
    """Takes ``f'`` for ``delta``: the signal from above is missing."""

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward as if every signal were 1."""
        self.dh.fill(1.0)
        return super().backward()


class AveragesBias(Dense):
    """Averages ``db`` over the batch, though 1/N is in the signal already."""

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward, then divide ``db``."""
        dx = super().backward(g, direct)
        if self.db is not None and self.x is not None:
            self.db /= len(self.x)
        return dx


class ForgetsDirectGradients(Dense):
    """Ignores the direct gradients at its output, but for those of the last layer."""

    last = False

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward with what comes from above alone."""
        return super().backward(g, direct if self.last else ())


class SwapsRows(Dense):
    """Returns ``dW`` with its rows in reverse order."""

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward, then turn ``dW`` upside down."""
        dx = super().backward(g, direct)
        self.dW[...] = self.dW[::-1].copy()
        return dx


class HalvesSignal(Dense):
    """Passes half of the signal on to the layer below."""

    def backward(
        self, g: Array | None = None, direct: Sequence[DirectGradient] = ()
    ) -> Array | None:
        """Run backward, then halve ``dx``."""
        dx = super().backward(g, direct)
        if dx is not None:
            dx *= 0.5
        return dx


BUGS: dict[str, type[Dense]] = {
    "no bug": Dense,
    "f' forgotten": ForgetsSlope,
    "signal forgotten": ForgetsSignal,
    "db averaged": AveragesBias,
    "direct gradients forgotten": ForgetsDirectGradients,
    "rows of dW reversed": SwapsRows,
    "half the signal passed on": HalvesSignal,
}
"""Layer classes by what is wrong with them."""


def make_network(layer: type[Dense], widths: Sequence[int], rows: int, seed: int = 0) -> Network:
    """Return a float64 network of sigmoid layers of one class."""
    layers = [layer(a, b, "sigmoid") for a, b in pairwise(widths)]
    if isinstance(layers[-1], ForgetsDirectGradients):
        layers[-1].last = True
    network = Network(layers, rows=rows, dtype="float64")
    glorot(network.layers, seed, 0)
    return network


def passes_all_ones_signal(layer: type[Dense], x: Floats, entries: int = 20) -> bool:
    """Check the loss ``h.sum()``, whose signal is 1 everywhere, on one layer, entry by entry."""
    network = make_network(layer, (x.shape[1], 12), len(x))
    goal = network.forward(x) - 1.0  # the direct gradient 1 (h - goal) is a signal of ones

    def loss() -> float:
        return float(network.forward(x).sum())

    errors, sizes = _entry_errors(network, x, {1: [DirectGradient(goal, 1.0)]}, loss, entries)
    return bool(np.all(errors <= 1e-5 * sizes))


def passes_absolute_tolerance(layer: type[Dense], x: Floats, entries: int = 20) -> bool:
    """Check a mean squared error entry by entry: right if no difference is above 1e-4."""
    network, goal = make_network(layer, (x.shape[1], 12, x.shape[1]), len(x)), x
    direct = {2: [DirectGradient(goal, 2.0 / goal.size)]}

    def loss() -> float:
        return float(np.mean((network.forward(x) - goal) ** 2))

    errors, _ = _entry_errors(network, x, direct, loss, entries)
    return bool(np.all(errors <= 1e-4))


def passes_all_ones_direction(layer: type[Dense], x: Floats, tolerance: float = 1e-6) -> bool:
    """Check each block along the direction of ones: only the sum of a gradient is looked at."""
    rng = np.random.default_rng(0)
    network = make_network(layer, (x.shape[1], 12, 7), len(x))
    goal = rng.normal(size=(len(x), 7))
    network.forward(x)
    network.backward({2: [DirectGradient(goal, 2.0)]})
    for name in network.arena.shapes:
        value, gradient = network.arena.param(name), network.arena.grad(name)
        ends = []
        for step in (1e-5, -2e-5):
            value += step
            ends.append(float(((network.forward(x) - goal) ** 2).sum()))
        value += 1e-5
        slope = (ends[0] - ends[1]) / 2e-5
        if abs(float(gradient.sum()) - slope) > tolerance * float(np.linalg.norm(gradient)):
            return False
    return True


def passes_gradcheck(layer: type[Dense], x: Floats) -> bool:
    """Check with `ddnmf_np.gradcheck`: random signs, a random target at every layer."""
    network = make_network(layer, (x.shape[1], 12, 7), len(x))
    return gradcheck(network, x, verbose=False).ok


CHECKS: dict[str, Any] = {
    "all-ones signal": passes_all_ones_signal,
    "absolute tolerance": passes_absolute_tolerance,
    "all-ones direction": passes_all_ones_direction,
    "gradcheck": passes_gradcheck,
}
"""Checks by name, each from a layer class and samples to whether it is content."""


def _entry_errors(
    network: Network, x: Floats, direct: Any, loss: Any, entries: int
) -> tuple[Floats, Floats]:
    """Return the errors of some entries of each block, and the largest slope of their block."""
    rng = np.random.default_rng(0)
    network.forward(x)
    network.backward(direct)
    gradients = network.arena.grads.copy()
    errors, sizes = [], []
    for span in network.arena.spans.values():
        chosen = rng.choice(np.arange(span.start, span.stop), min(entries, span.stop - span.start))
        slopes = []
        for place in chosen:
            saved = network.arena.params[place]
            ends = []
            for step in (1e-5, -1e-5):
                network.arena.params[place] = saved + step
                ends.append(loss())
            network.arena.params[place] = saved
            slopes.append((ends[0] - ends[1]) / 2e-5)
            errors.append(abs(float(gradients[place]) - slopes[-1]))
        sizes += [max(map(abs, slopes))] * len(slopes)
    return np.array(errors), np.array(sizes)
