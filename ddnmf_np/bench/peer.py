"""Subjects of the worker: anything whose steps can be timed, and implementations of the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ddnmf_np.backends.ops import Array

if TYPE_CHECKING:
    from ddnmf_np.bench.problem import Problem
    from ddnmf_np.engine.losses import Objective


@dataclass(frozen=True)
class Settings:
    """Options by which a contestant computes.

    ``matmul_precision="high"`` lets a device multiply float32 matrices with shorter mantissas
    (TF32). ``mode`` is a way of working; each contestant has other names for its modes.
    """

    threads: int = 1
    device: str = "cpu"
    matmul_precision: str = "highest"
    mode: str = ""


class Timed(ABC):
    """Something whose steps can be timed; it starts from the problem's weights and batches."""

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

    def device(self) -> tuple[str, int | None]:
        """Return the device's name and the most bytes taken on it (None on the host)."""
        return "CPU", None

    def note(self) -> str | None:
        """Return a warning about the steps done, or None."""
        return None

    def close(self) -> None:  # noqa: B027
        """Free what Python does not free by itself."""


class Peer(Timed):
    """Implementation of the two networks, their losses and Adam.

    Its step also adds the losses of the batch to sums.
    """

    @abstractmethod
    def reset(self) -> None:
        """Set the sums of the losses to zero."""

    @abstractmethod
    def losses(self) -> dict[str, float]:
        """Return the mean over the steps since `reset` of each loss that the engine reports."""

    @abstractmethod
    def start_epochs(self, x: Array) -> None:
        """Take a data set of shape (n, n_features), n at least one batch, to train on."""

    @abstractmethod
    def epoch(self) -> None:
        """Train for an epoch in a new order, with noise, and wait until it is done."""


LOSSES = ("loss_in", "loss_sym", "loss_ap", "loss_nc", "loss_rec")
"""Names of what `joint_loss` returns."""


def joint_loss(
    objective: Objective,
    h: list[Any],
    s: list[Any],
    x: Any,
    distance: Callable[[Any, Any], Any],
    detach: Callable[[Any], Any],
) -> list[Any]:
    """Return the loss to descend and its unweighted terms, in the arrays of any framework.

    ``h`` and ``s`` are the outputs of all layers of the supervisor and of the student; ``detach``
    stops the gradient of an array.
    """
    o, half = objective, len(h) // 2  # the student's NMF module lies between its halves
    teacher = h if o.apposition_to_supervisor else [detach(a) for a in h]
    terms = [
        distance(h[-1], x),
        sum(map(distance, s[:half] + s[half + 2 :], teacher)),
        distance(s[half - 1], s[half + 1]),
    ]
    loss = o.alpha_sym * terms[0] + o.beta_ap * terms[1] + o.gamma_nc * terms[2]
    if o.student_reconstruction:
        terms.append(distance(s[-1], x))
        loss = loss + o.student_reconstruction * terms[3]
    return [loss, *terms]


def mean_losses(sums: Any, steps: int) -> dict[str, float]:
    """Return the losses by name from their sums, an array of any framework."""
    means: Sequence[float] = (sums / steps).tolist()
    return dict(zip(LOSSES, means, strict=False))
