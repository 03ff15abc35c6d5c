"""What a contestant must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.problem import Problem


@dataclass(frozen=True)
class Settings:
    """How a contestant is to compute.

    Parameters
    ----------
    threads : int
        Threads it may use.
    device : {"cpu", "cuda"}
        Where.
    matmul_precision : {"highest", "high"}
        ``high`` lets a device multiply float32 matrices with shorter mantissas (TF32).
    mode : str
        Which of its own ways of working; each contestant has its own.
    """

    threads: int = 1
    device: str = "cpu"
    matmul_precision: str = "highest"
    mode: str = ""


class Timed(ABC):
    """Something whose steps can be timed, made for a problem.

    Parameters
    ----------
    problem : Problem
        Weights and batches to start from.
    settings : Settings
        How to compute.
    """

    @abstractmethod
    def __init__(self, problem: Problem, settings: Settings) -> None: ...

    @classmethod  # noqa: B027
    def load(cls, mode: str) -> None:
        """Import what this way of working needs besides its own file."""

    @abstractmethod
    def step(self, batch: int) -> None:
        """Do one whole step on a batch of the problem; it need not wait for the result."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all steps are done."""

    def device_name(self) -> str:
        """Return what does the arithmetic, in words."""
        return "CPU"

    def device_memory_bytes(self) -> int | None:
        """Return the most memory taken on the device, or None where it has none of its own."""
        return None

    def note(self) -> str | None:
        """Return what the reader must know about the steps done, or None."""
        return None

    def close(self) -> None:  # noqa: B027
        """Give back what is not given back by itself."""


class Peer(Timed):
    """One implementation of the two networks, their losses and Adam.

    Its step also adds the losses of the batch to sums.
    """

    @abstractmethod
    def reset(self) -> None:
        """Start new sums of the losses."""

    @abstractmethod
    def losses(self) -> dict[str, float]:
        """Return the mean over the steps since `reset` of each loss that the engine reports."""

    @abstractmethod
    def start_epochs(self, x: Array) -> None:
        """Take a data set of shape (n, n_features), n at least one batch, to train on."""

    @abstractmethod
    def epoch(self) -> None:
        """Train for an epoch in an order of its own, with noise, and wait until it is done."""
