"""The problem that every contestant solves: shapes, options, first weights and batches, in a file.

The process that measures a contestant reads the file and builds no model of the engine, because
we measure its memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.config import Config, configure
from ddnmf_np.system.files import atomic_write

BATCHES = 4
"""Batches that a measurement repeats. With a single one, units that are dead for it stay dead."""


class Case(NamedTuple):
    """A network and a batch size to measure at."""

    name: str
    n_features: int
    widths: tuple[int, ...]
    rank: int
    batch: int


CASES = {
    case.name: case
    for case in (
        Case("paper-128", 784, (500, 500, 2000), 10, 128),
        Case("paper-32", 784, (500, 500, 2000), 10, 32),
        Case("paper-512", 784, (500, 500, 2000), 10, 512),
        Case("small", 64, (32, 16), 4, 32),
    )
}
"""The paper's network at three batch sizes, and a small one whose time is the calls' overhead."""


class LayerSpec(NamedTuple):
    """A dense layer: the names of its blocks in ``weights`` (``b`` None: no bias)."""

    W: str
    b: str | None
    activation: str


@dataclass(frozen=True, eq=False)
class Problem:
    """One case with everything that must be the same for every contestant.

    ``layers`` are those of each network by its name, from input to output; ``weights`` the first
    weights by block: W (out, in), b (out,); ``clean`` and ``noisy`` the batches, in float32 and of
    shape (BATCHES, batch, n_features).
    """

    case: Case
    config: Config
    layers: dict[str, list[LayerSpec]]
    weights: dict[str, Array]
    clean: Array
    noisy: Array

    def n_parameters(self) -> int:
        """Return the number of weights and biases of both networks."""
        return sum(block.size for block in self.weights.values())

    def flop(self) -> int:
        """Return the operations of a step's matrix products: three a layer, two in the first."""
        return sum(
            2 * self.case.batch * self.weights[spec.W].size * (2 if number == 0 else 3)
            for specs in self.layers.values()
            for number, spec in enumerate(specs)
        )

    def save(self, path: Path) -> None:
        """Write everything to one .npz file."""
        meta = {"case": self.case, "config": self.config.to_dict(), "layers": self.layers}
        with atomic_write(path) as stream:
            arrays: dict[str, Any] = {"clean": self.clean, "noisy": self.noisy, **self.weights}
            np.savez(stream, meta=np.array(json.dumps(meta)), **arrays)

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what `save` wrote."""
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(str(arrays.pop("meta")))
        name, n_features, widths, rank, batch = meta["case"]
        return cls(
            Case(name, n_features, tuple(widths), rank, batch),
            configure(**meta["config"]),
            {net: [LayerSpec(*spec) for spec in specs] for net, specs in meta["layers"].items()},
            clean=arrays.pop("clean"),
            noisy=arrays.pop("noisy"),
            weights=arrays,
        )
