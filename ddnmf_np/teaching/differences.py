"""Errors of difference quotients at different steps, for notebook 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ddnmf_np.backends.ops import Array, DirectGradient
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.problems import relu_sides
from ddnmf_np.teaching.exercise import Floats


class Slope:
    """The loss ``||h(L) - goal||^2`` of a network along one direction of its parameters.

    We copy the network; ``x`` has shape (n, D). ``seed`` is that of the goal and of the direction
    ``u``, whose entries are +1 and -1. ``exact`` is ``<g, u>``, the slope from the gradient ``g``
    that backward computes in float64, and ``norm`` is the length of ``g``.
    """

    def __init__(self, network: Network, x: Array, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.network = network
        self.x = x.astype("float64")
        self.goal = rng.uniform(size=(len(x), network.widths[-1]))
        self.u = np.zeros(network.arena.size)
        for name, shape in network.arena.shapes.items():
            network.arena.view(self.u, name)[...] = rng.choice((-1.0, 1.0), shape)
        twin = network.copy(rows=len(x), dtype="float64")
        twin.forward(self.x)
        twin.backward({twin.depth: [DirectGradient(self.goal, 2.0)]})
        self.exact = float(twin.arena.grads @ self.u)
        self.norm = float(np.linalg.norm(twin.arena.grads))

    def loss(self, step: float, dtype: str = "float64") -> float:
        """Return the loss at ``step`` along the direction, computed in the given dtype."""
        return self._at(step, dtype)[0]

    def crossings(self, step: float) -> int:
        """Count the ReLU outputs that switch on or off between ``-step`` and ``+step``."""
        low, high = self._at(-step, "float64")[1], self._at(step, "float64")[1]
        return int((low != high).sum())

    def errors(
        self,
        steps: Sequence[float],
        dtype: str = "float64",
        kind: Literal["central", "forward"] = "central",
    ) -> Floats:
        """Return the error of the difference quotient at each step, relative to ``norm``."""
        found = []
        for step in steps:
            back = -step if kind == "central" else 0.0
            slope = (self.loss(step, dtype) - self.loss(back, dtype)) / (step - back)
            found.append(abs(slope - self.exact) / self.norm)
        return np.array(found)

    def _at(self, step: float, dtype: str) -> tuple[float, Array]:
        twin = self.network.copy(rows=len(self.x), dtype="float64")
        twin.arena.params += step * self.u
        if dtype != "float64":
            twin = twin.copy(rows=len(self.x), dtype=dtype)
        difference = twin.forward(self.x.astype(dtype)) - self.goal.astype(dtype)
        return float((difference * difference).sum()), relu_sides(twin)
