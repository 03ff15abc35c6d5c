"""The plain auto-encoders of section 4.2, built from the engine's layers.

An auto-encoder is one network with one loss. It uses the model's trainer, noise, batches and
optimizers, so that rows of the tables differ in the method only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from ddnmf_np.backends.ops import Array, DirectGradient, Ops
from ddnmf_np.backends.threads import NetworkThreads
from ddnmf_np.engine.descent import Descent, Optimizer
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.model import Architecture, load_state, state_of

STREAM = 4
"""Stream of the seed that draws the weights; the model and the checker use 0 to 3."""


class ReconstructionLoss:
    """``(1/N) sum_i || x_i - y_i ||^2`` as in equation 4.

    With ``mean`` it is also the mean over features. ``sums``, (1,) in float64 on the device, holds
    the squared distances since `reset`.
    """

    def __init__(self, stack: Network, *, mean: bool) -> None:
        self.stack = stack
        self.divisor: int = stack.widths[-1] if mean else 1
        self.sums = stack.ops.zeros((1,), "float64")

    def reset(self) -> None:
        """Start a new sum."""
        self.sums.fill(0.0)

    def values(self, n: int) -> dict[str, float]:
        """Return the loss over the ``n`` samples measured since `reset`."""
        total = float(self.stack.ops.to_host(self.sums)[0])
        return {"loss_rec": total / (n * self.divisor)}

    def direct_gradients(
        self, x: Array, *, measure: bool = False
    ) -> dict[int, list[DirectGradient]]:
        """Return the direct gradient at the output, ``(2/N)(y - x)``; ``measure`` adds the loss."""
        c = 2.0 / (x.shape[0] * self.divisor)
        return {self.stack.depth: [DirectGradient(x, c, self.sums if measure else None)]}


class Autoencoder:
    """An auto-encoder of section 4.2 that `ddnmf_np.training.Trainer` can train.

    Its input is the noisy batch, its target the clean one: with noise it is a denoising
    auto-encoder (Vincent et al., 2008), with ``noise_kind="none"`` a plain one. All layers of its
    network, ``stack``, have a bias.

    Parameters are those of `Model`, except for these. The ``base_activation`` of ``architecture``
    is that of the code, and its ``recovery_activation`` that of the layer after it. With ``mean``
    the loss is a mean over features too. With ``bottleneck`` there is a layer of ``rank`` units in
    the middle (AE1); without it the widest layer is the code (AE2).
    """

    def __init__(
        self,
        n_features: int,
        architecture: Architecture,
        descent: Descent | None = None,
        *,
        mean: bool = False,
        seed: int = 0,
        dtype: str = "float32",
        batch_size: int = 128,
        threads: int | None = None,
        bottleneck: bool = True,
        ops: Ops | None = None,
    ) -> None:
        self.n_features, self.architecture, self.bottleneck = n_features, architecture, bottleneck
        self.descent, self.mean = descent or Descent(), mean
        self.seed, self.batch_size, self.missing = seed, batch_size, False
        self.scaling, self.scaler, self.starts_from_data = None, None, False
        self.ops = ops or Ops()
        layers = make_layers(n_features, architecture, bottleneck=bottleneck)
        self.stack = Network(layers, rows=max(batch_size, 256), dtype=dtype, ops=self.ops)
        self.loss = ReconstructionLoss(self.stack, mean=mean)
        # A single network has no other to share the threads with.
        self.network_threads = NetworkThreads(self.ops, threads, work=0.0)
        glorot(self.stack.layers, seed, STREAM)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Precision of parameters and activations."""
        dtype: np.dtype[np.floating] = self.stack.arena.params.dtype
        return dtype

    @property
    def code_layer(self) -> int:
        """Number of the layer whose output is the code: the middle one."""
        return self.stack.depth // 2

    @cached_property
    def optimizer(self) -> Optimizer:
        """The configured optimizer."""
        return self.descent.make_optimizer([self.stack.arena])

    def start(self, x: Array) -> None:
        """Do nothing before the first step: there is no NMF module to start from the data."""

    def iterate(self, x: Array, x_noisy: Array) -> None:
        """Do one step on a mini-batch, and add its loss to ``loss.sums``."""
        self.stack.forward(x_noisy)
        self.stack.backward(self.loss.direct_gradients(x, measure=True))
        self.optimizer.update(0)

    def seen(self, x: Array) -> Array:
        """Return samples as the network sees them: as they are."""
        return x

    def encode(self, x: Array) -> Array:
        """Return the codes of samples, shape (n, width of the code)."""
        return self._apply(x, self.code_layer)

    def reconstruct(self, x: Array) -> Array:
        """Return the output for samples, shape (n, n_features)."""
        return self._apply(x, self.stack.depth)

    def _apply(self, x: Array, stop: int) -> Array:
        x = self.ops.to_device(x, self.dtype)
        out = self.ops.empty((x.shape[0], self.stack.widths[stop]), self.dtype)
        for piece, batch in self.stack.batches(x):
            out[piece] = self.stack.apply(batch, stop=stop)
        return out

    def n_parameters(self) -> int:
        """Return the number of weights and biases."""
        return self.stack.arena.n_parameters

    def state(self) -> dict[str, Array]:
        """Return parameters and moments by name, as `Model.state`."""
        return state_of({"autoencoder": self.stack}, self.ops)

    def load_state(self, state: Mapping[str, Array], steps: int | None = None) -> None:
        """Load what `state` returned, as `Model.load_state`."""
        if steps is not None:
            self.optimizer.t = steps  # allocates the moments
        load_state({"autoencoder": self.stack}, self.ops, state, moments=steps is not None)

    def all_finite(self) -> bool:
        """Return whether every parameter is finite."""
        return bool(self.ops.xp.isfinite(self.stack.arena.params).all())

    def first_nonfinite(self, x: Array, x_noisy: Array) -> str | None:
        """Return the place of the first value that is not finite, lowest layer first, or None."""
        isfinite, arena = self.ops.xp.isfinite, self.stack.arena
        # See `ddnmf_np.model.Model.first_nonfinite`.
        outputs = (layer.h[: len(x_noisy)] for layer in self.stack.layers)
        for number, h in enumerate([x_noisy, *outputs]):
            if not bool(isfinite(h).all()):
                return f"activation of layer {number}" if number else "input"
        for name in arena.shapes:
            if not bool(isfinite(arena.param(name)).all()):
                return f"parameter block {name}"
        return None


def make_layers(n_features: int, architecture: Architecture, *, bottleneck: bool) -> list[Dense]:
    """Return layers with the student's widths (AE1), or with these but no base layer (AE2)."""
    widths = [n_features, *architecture.widths]
    half = len(architecture.widths)
    names = list(architecture.activation * (half // len(architecture.activation)))
    up = [*names]
    down = [architecture.output_activation, *names[:-1]]  # by the width they lead to
    if bottleneck:
        widths.append(architecture.rank)
        up.append(architecture.base_activation)
        down.append(architecture.recovery_activation)
    steps = range(len(widths) - 1)
    shapes = [(widths[k], widths[k + 1], up[k]) for k in steps]
    shapes += [(widths[k + 1], widths[k], down[k]) for k in reversed(steps)]
    return [Dense(*shape, label=str(k)) for k, shape in enumerate(shapes, start=1)]
