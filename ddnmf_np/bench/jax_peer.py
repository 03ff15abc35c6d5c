"""JAX as a contestant: the whole step in one ``jit``, with donated buffers."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.peer import Peer, Settings, joint_loss, mean_losses
from ddnmf_np.bench.problem import LayerSpec, Problem
from ddnmf_np.errors import BackendError

ACTIVATIONS = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}


class JaxPeer(Peer):
    """Value and gradient, and Adam written out, as one function."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        platform = {"cuda": "gpu"}.get(settings.device, settings.device)
        try:
            self.place = jax.devices(platform)[0]
        except RuntimeError as error:
            raise BackendError(f"JAX finds no such device: {error}") from error
        jax.config.update("jax_default_device", self.place)
        jax.config.update("jax_default_matmul_precision", settings.matmul_precision)
        self.problem, self.config = problem, problem.config
        self.objective = problem.config.objective
        # Weights (in, out): XLA's products are a few per cent faster than with (out, in).
        weights = {name: jnp.array(block.T) for name, block in problem.weights.items()}
        zeros = jax.tree.map(jnp.zeros_like, weights)
        terms = 5 if self.objective.student_reconstruction else 4
        t, sums = jnp.zeros((), "int32"), jnp.zeros(terms)
        self.state = (weights, zeros, jax.tree.map(jnp.copy, zeros), t, sums)
        self.steps = 0
        self.clean = [jnp.asarray(x) for x in problem.clean]
        self.noisy = [jnp.asarray(x) for x in problem.noisy]
        self.train = jax.jit(self._train, donate_argnums=0)
        self.train_on = jax.jit(self._train_on, donate_argnums=0, static_argnums=4)

    def _train(self, state: Any, x: Any, x_noisy: Any) -> Any:
        """Return the state after a step."""
        weights, m, v, t, sums = state
        grads, terms = jax.grad(self._loss, has_aux=True)(weights, x, x_noisy)
        c, t = self.config.optimizer, t + 1
        b1, b2 = c.adam_b1, c.adam_b2
        c1, c2 = 1.0 - b1 ** t.astype("float32"), 1.0 - b2 ** t.astype("float32")
        m = jax.tree.map(lambda m, g: b1 * m + (1.0 - b1) * g, m, grads)
        v = jax.tree.map(lambda v, g: b2 * v + (1.0 - b2) * g * g, v, grads)
        weights = jax.tree.map(
            lambda p, m, v: p - c.lr * (m / c1) / (jnp.sqrt(v / c2) + c.adam_eps), weights, m, v
        )
        return weights, m, v, t, sums + terms

    def _train_on(self, state: Any, x: Any, order: Any, key: Any, rows: int, start: Any) -> Any:
        """Return the state after a step on the samples at ``start`` of the order, with noise."""
        clean = x[jax.lax.dynamic_slice(order, (start,), (rows,))]
        keep = 1.0 - self.config.noise.rate
        mask = jax.random.bernoulli(jax.random.fold_in(key, start), keep, clean.shape)
        return self._train(state, clean, jnp.where(mask, clean / keep, 0.0))

    def _loss(self, weights: Any, x: Any, x_noisy: Any) -> tuple[Any, Any]:
        """Return the loss to descend, and all losses."""
        h = forward(self.problem.layers["supervisor"], weights, x)
        s = forward(self.problem.layers["student"], weights, x_noisy)
        distance = partial(squared_distance, reduction=self.objective.reduction)
        losses = joint_loss(self.objective, h, s, x, distance, jax.lax.stop_gradient)
        return losses[0], jnp.stack(losses)

    def reset(self) -> None:
        self.steps = 0
        *rest, sums = self.state
        self.state = (*rest, jnp.zeros_like(sums))

    def step(self, batch: int) -> None:
        self.state = self.train(self.state, self.clean[batch], self.noisy[batch])
        self.steps += 1

    def synchronize(self) -> None:
        jax.block_until_ready(self.state)

    def losses(self) -> dict[str, float]:
        return mean_losses(self.state[-1], self.steps)

    def start_epochs(self, x: Array) -> None:
        self.x, self.key = jnp.asarray(x), jax.random.key(self.config.training.seed)

    def epoch(self) -> None:
        self.key, order_key, noise_key = jax.random.split(self.key, 3)
        n, rows = len(self.x), self.config.training.batch_size
        order = jax.random.permutation(order_key, n)
        for start in range(0, n, rows):
            count = min(rows, n - start)
            self.state = self.train_on(self.state, self.x, order, noise_key, count, start)
        self.synchronize()

    def device(self) -> tuple[str, int | None]:
        if self.place.platform == "cpu":
            return super().device()
        peak = (self.place.memory_stats() or {}).get("peak_bytes_in_use")
        return str(self.place.device_kind), None if peak is None else int(peak)


def forward(specs: list[LayerSpec], weights: Any, h: Any) -> list[Any]:
    """Return the output of every layer."""
    outputs = []
    for spec in specs:
        z = h @ weights[spec.W]
        h = ACTIVATIONS[spec.activation](z if spec.b is None else z + weights[spec.b])
        outputs.append(h)
    return outputs


def squared_distance(a: Any, b: Any, reduction: str) -> Any:
    """Return the squared distance over samples, or over samples and features."""
    total = jnp.sum((a - b) ** 2)
    return total / (a.size if reduction == "mean" else a.shape[0])
