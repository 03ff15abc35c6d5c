"""Lower bounds for any implementation: the matrix products of a step, and a copy of its bytes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from ddnmf_np.backends.ops import Array, Ops
from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.peer import Settings, Timed

if TYPE_CHECKING:
    from ddnmf_np.bench.problem import Problem

ADAM_FLOATS = 7
"""Numbers that Adam moves for each parameter: it reads p, g, m, v and writes p, m, v."""

WORTH_A_THREAD = 1 << 20
"""Numbers from which on all threads copy."""


class Floor(Timed):
    """Base of the floors: a backend, and threads that work side by side."""

    def _start(self, settings: Settings, workers: int) -> None:
        self.ops: Ops = get_ops(
            "cupy" if settings.device == "cuda" else "numpy",
            fast="off",
            matmul_precision=settings.matmul_precision,
        )
        self.limit = threadpool_limits(max(1, settings.threads // workers))
        self.pool = ThreadPoolExecutor(workers) if workers > 1 else None

    def _run(self, tasks: list[Callable[[], None]]) -> None:
        run = map if self.pool is None else self.pool.map
        for _ in run(operator.call, tasks):
            pass

    def synchronize(self) -> None:
        """Wait for the steps."""
        self.ops.synchronize()

    def device(self) -> tuple[str, int | None]:
        """Return the device's name."""
        return self.ops.device_name(), None

    def close(self) -> None:
        """End the threads."""
        if self.pool is not None:
            self.pool.shutdown()
        self.limit.restore_original_limits()


class ProductsFloor(Floor):
    """Matrix products of a step, in the shapes, layouts and order of the engine.

    ``Settings.mode`` is ``serial`` (one network after the other, each with all threads of BLAS) or
    ``two-threads`` (both networks at the same time, each with half of the threads). Unlike in a
    step, no network waits for the other between its forward and its backward pass.
    """

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self._start(settings, workers=2 if settings.mode == "two-threads" else 1)
        self.chains = [
            _Chain(self.ops, [problem.weights[layer.W] for layer in layers], problem.clean[0])
            for layers in problem.layers.values()
        ]
        self.repeat = self.ops.recorder()

    def step(self, batch: int) -> None:
        """Do a step; on a device, on the engine's streams and as a CUDA graph."""
        if self.ops.on_host:
            self._run([chain.run for chain in self.chains])
        else:
            self.repeat(self._side_by_side, self.chains[0].h[0])

    def _side_by_side(self, x: Array) -> None:
        self.ops.both(self.chains[0].run, self.chains[1].run)


class _Chain:
    """Matrix products of one network."""

    def __init__(self, ops: Ops, weights: list[Array], x: Array) -> None:
        self.ops = ops
        self.W = [ops.to_device(W) for W in weights]
        self.dW = [ops.empty(W.shape, W.dtype) for W in weights]
        self.h = [ops.to_device(x)]
        self.h += [ops.empty((len(x), len(W)), W.dtype) for W in weights]
        self.delta = [ops.to_device(np.full(h.shape, 0.01, x.dtype)) for h in self.h]
        self.dx = [ops.empty(h.shape, h.dtype) for h in self.h]

    def run(self) -> None:
        """Compute h = x W^T for each layer, then dW = delta^T x and dx = delta W."""
        matmul = self.ops.matmul
        for k, W in enumerate(self.W):
            matmul(self.h[k], W.T, out=self.h[k + 1])  # (n, in) @ (in, out) -> (n, out)
        for k in reversed(range(len(self.W))):
            delta = self.delta[k + 1]
            self.ops.sum_outer(delta, self.h[k], out=self.dW[k])  # on a device: in parallel
            if k > 0:  # nobody needs the gradient with respect to the data
                matmul(delta, self.W[k], out=self.dx[k])  # (n, out) @ (out, in) -> (n, in)


class CopyFloor(Floor):
    """Copy of as much memory as Adam works on, to measure the bandwidth.

    Adam holds four numbers for each parameter. We copy an array of two numbers for each parameter
    to another one, so that caches hold the same share of the memory as for Adam. A step moves four
    numbers for each parameter (it reads two and writes two).
    """

    def __init__(self, problem: Problem, settings: Settings) -> None:
        size = 2 * problem.n_parameters()
        # A copy of few bytes is done before a second thread has begun.
        alone = settings.device == "cuda" or size < WORTH_A_THREAD
        workers = 1 if alone else settings.threads
        self._start(settings, workers)
        self.source, self.target = (self.ops.zeros((size,), "float32") for _ in range(2))
        self.source.fill(1.0)
        cuts = np.linspace(0, size, workers + 1).astype(int)
        copyto, source, target = self.ops.xp.copyto, self.source, self.target
        self.tasks: list[Callable[[], None]] = [
            partial(copyto, target[a:b], source[a:b]) for a, b in itertools.pairwise(cuts)
        ]

    def step(self, batch: int) -> None:
        """Do a step."""
        self._run(self.tasks)


def adam_seconds(copy_seconds: float) -> float:
    """Return the least time of Adam's step, from the time of a step of `CopyFloor`."""
    return copy_seconds * ADAM_FLOATS / 4
