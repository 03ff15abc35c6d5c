"""Wrong backward passes, and gradient checks that accept some of them, for notebook 3.

Each layer has one wrong line, and so has one loss. The playground has the same bugs in JavaScript.
The first three checks are common in courses and blogs; we compare them with `ddnmf_np.gradcheck`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array, DirectGradient
from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.losses import InterpretabilityLoss
from ddnmf_np.engine.network import Network
from ddnmf_np.teaching.exercise import Floats

Gradient = Array | None
Direct = Sequence[DirectGradient]


class ForgetsSlope(Dense):
    """A layer that takes ``g`` for ``delta``: f' is missing."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        activation, self.activation = self.activation, "identity"
        dx = super().backward(g, direct)
        self.activation = activation
        return dx


class ForgetsSignal(Dense):
    """A layer that takes ``f'`` for ``delta``: the gradient from above is missing."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        self.dh.fill(1.0)
        return super().backward()


class AveragesBias(Dense):
    """A layer that averages ``db`` over the batch, though the gradient contains 1/N already."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        dx = super().backward(g, direct)
        if self.db is not None and self.x is not None:
            self.db /= len(self.x)
        return dx


class ForgetsBias(Dense):
    """A layer that leaves ``db`` at 0, so that its bias never moves."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        dx = super().backward(g, direct)
        if self.db is not None:
            self.db.fill(0.0)
        return dx


class AddsBias(ForgetsBias):
    """Half of an NMF module with a bias, which equation 3 lacks and which backward ignores."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **(options | {"bias": True}))


class ForgetsDirectGradients(Dense):
    """A layer that ignores the direct gradients at its output unless it is the last one."""

    last = False

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        return super().backward(g, direct if self.last else ())


class SwapsRows(Dense):
    """A layer that returns ``dW`` with its rows in reverse order."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        dx = super().backward(g, direct)
        self.dW[...] = self.dW[::-1].copy()
        return dx


class HalvesSignal(Dense):
    """A layer that passes only half of the gradient on to the layer below."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        dx = super().backward(g, direct)
        if dx is not None:
            dx *= 0.5
        return dx


class TransposesWeights(Dense):
    """A layer that reads the numbers of ``W`` in the wrong order when it passes the gradient on."""

    def backward(self, g: Gradient = None, direct: Direct = ()) -> Gradient:
        dx = super().backward(g, direct)
        if dx is not None:
            dx[...] = self.dh[: len(dx)] @ self.W.reshape(self.fan_in, self.fan_out).T
        return dx


class LeakyLoss(InterpretabilityLoss):
    """A loss whose apposition terms move the supervisor, too, though equation 9 leaves them out."""

    def direct_gradients(
        self, net: str, x: Array, **options: Any
    ) -> dict[int, list[DirectGradient]]:
        right = self.terms
        self.terms = tuple(t._replace(moves=(t.a, t.b)) if t.loss == "ap" else t for t in right)
        try:
            return super().direct_gradients(net, x, **options)
        finally:
            self.terms = right


BUGS: dict[str, type[Dense]] = {
    "no bug": Dense,
    "f' forgotten": ForgetsSlope,
    "signal forgotten": ForgetsSignal,
    "db averaged": AveragesBias,
    "db forgotten": ForgetsBias,
    "bias in the NMF module": AddsBias,
    "direct gradients forgotten": ForgetsDirectGradients,
    "rows of dW reversed": SwapsRows,
    "half the signal passed on": HalvesSignal,
    "W transposed": TransposesWeights,
}
"""Layer classes by their bugs."""


def make_network(layer: type[Dense], widths: Sequence[int], rows: int, seed: int = 0) -> Network:
    """Return a float64 network of sigmoid layers of the given class."""
    layers = [layer(a, b, "sigmoid") for a, b in pairwise(widths)]
    if isinstance(layers[-1], ForgetsDirectGradients):
        layers[-1].last = True
    network = Network(layers, rows=rows, dtype="float64")
    glorot(network.layers, seed, 0)
    return network


def passes_all_ones_signal(layer: type[Dense], x: Floats, entries: int = 20) -> bool:
    """Check the loss ``h.sum()``, whose gradient is 1 everywhere, on one layer, entry by entry."""
    network = make_network(layer, (x.shape[1], 12), len(x))
    goal = network.forward(x) - 1.0  # the direct gradient 1 (h - goal) is all ones

    def loss() -> float:
        return float(network.forward(x).sum())

    errors, sizes = _entry_errors(network, x, {1: [DirectGradient(goal, 1.0)]}, loss, entries)
    return bool(np.all(errors <= 1e-5 * sizes))


def passes_absolute_tolerance(layer: type[Dense], x: Floats, entries: int = 20) -> bool:
    """Check a mean squared error entry by entry; accept differences up to 1e-4."""
    network, goal = make_network(layer, (x.shape[1], 12, x.shape[1]), len(x)), x
    direct = {2: [DirectGradient(goal, 2.0 / goal.size)]}

    def loss() -> float:
        return float(np.mean((network.forward(x) - goal) ** 2))

    errors, _ = _entry_errors(network, x, direct, loss, entries)
    return bool(np.all(errors <= 1e-4))


def passes_all_ones_direction(layer: type[Dense], x: Floats, tolerance: float = 1e-6) -> bool:
    """Check each block along the all-ones direction, which sees only the sum of a gradient."""
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
    """Check with `ddnmf_np.gradcheck`: random signs, and a random target at each layer."""
    network = make_network(layer, (x.shape[1], 12, 7), len(x))
    return gradcheck(network, x, verbose=False).ok


CHECKS: dict[str, Callable[[type[Dense], Floats], bool]] = {
    "all-ones signal": passes_all_ones_signal,
    "absolute tolerance": passes_absolute_tolerance,
    "all-ones direction": passes_all_ones_direction,
    "gradcheck": passes_gradcheck,
}
"""Checks by name. Each takes a layer class and samples and returns whether it accepts the class."""


def _entry_errors(
    network: Network, x: Floats, direct: Any, loss: Any, entries: int
) -> tuple[Floats, Floats]:
    """Return the errors of some entries of each block, and the largest slope in their block."""
    rng = np.random.default_rng(0)
    network.forward(x)
    network.backward(direct)
    gradients = network.arena.grads.copy()
    params, errors, sizes = network.arena.params, [], []
    for span in network.arena.spans.values():
        chosen = rng.choice(np.arange(span.start, span.stop), min(entries, span.stop - span.start))
        slopes = []
        for place in chosen:
            saved = params[place]
            params[place] = saved + 1e-5
            above = loss()
            params[place] = saved - 1e-5
            slopes.append((above - loss()) / 2e-5)
            params[place] = saved
            errors.append(abs(float(gradients[place]) - slopes[-1]))
        sizes += [max(map(abs, slopes))] * len(slopes)
    return np.array(errors), np.array(sizes)
