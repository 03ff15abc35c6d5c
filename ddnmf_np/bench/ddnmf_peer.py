"""The engine of this package as a contestant."""

from __future__ import annotations

from ddnmf_np.backends.ops import Array
from ddnmf_np.backends.select import get_ops
from ddnmf_np.bench.peer import Peer, Settings
from ddnmf_np.bench.problem import Problem
from ddnmf_np.config import configure

MODES = {"plain": ("numpy", "off"), "fast": ("numpy", "on"), "cupy": ("cupy", "off")}
"""Backend and ``fast`` of each mode."""


class EnginePeer(Peer):
    """Steps of `ddnmf_np.model.Model` and epochs of `ddnmf_np.training.Trainer`."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        backend, fast = MODES[settings.mode]
        self.config = configure(
            problem.config,
            backend=backend,
            fast=fast,
            threads=settings.threads,
            matmul_precision=settings.matmul_precision,
        )
        self.ops = self.config.execution.get_ops()
        self.model = self.config.make_model(problem.case.n_features, self.ops)
        self.model.load_state(problem.weights)
        self.clean = [self.ops.to_device(x) for x in problem.clean]
        self.noisy = [self.ops.to_device(x) for x in problem.noisy]
        self.batch, self.steps = problem.case.batch, 0
        self.network_threads = self.model.network_threads.__enter__()

    @classmethod
    def load(cls, mode: str) -> None:
        """Import Numba or CuPy if the mode needs it."""
        backend, fast = MODES[mode]
        get_ops(backend, fast=fast)

    def reset(self) -> None:
        self.steps = 0
        self.model.loss.reset()

    def step(self, batch: int) -> None:
        self.steps += 1
        self.model.step(self.clean[batch], self.noisy[batch])

    def synchronize(self) -> None:
        self.ops.synchronize()

    def losses(self) -> dict[str, float]:
        return self.model.loss.values(self.steps * self.batch)

    def start_epochs(self, x: Array) -> None:
        self.trainer = self.config.make_trainer(self.model, x)

    def epoch(self) -> None:
        self.trainer.train(self.trainer.position.epoch + 1)

    def device(self) -> tuple[str, int | None]:
        name = self.ops.device_name()
        if self.ops.on_host:
            return name, None
        return name, int(self.ops.xp.get_default_memory_pool().total_bytes())

    def close(self) -> None:
        self.network_threads.__exit__(None, None, None)
