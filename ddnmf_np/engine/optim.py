"""Descent (equation 8), and its two usual refinements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ddnmf_np.engine.arena import Arena
from ddnmf_np.engine.ops import optimiser_work
from ddnmf_np.errors import UsageError


class Optimiser(ABC):
    """Moves the parameters of arenas along their gradients.

    Parameters
    ----------
    arenas : sequence of Arena
        What to move; one arena a network.

    Attributes
    ----------
    t : int
        Steps done.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, arenas: Sequence[Arena]) -> None:
        self.t = 0
        self.arenas = list(arenas)
        self.work = [optimiser_work(a.ops, a.size, a.params.dtype) for a in self.arenas]
        for arena in self.arenas:
            for slot in self.slots:
                arena.add_slot(slot)

    def step(self) -> None:
        """Move every parameter once, by the gradients that are in the arenas."""
        self.t += 1
        for number in range(len(self.arenas)):
            self.update(number)

    @abstractmethod
    def update(self, number: int) -> None:
        """Do step ``t`` on the arena of that number."""


class GradientDescent(Optimiser):
    """``theta <- theta - rho dL/dtheta`` (equation 8).

    Parameters
    ----------
    arenas : sequence of Arena
        What to move.
    lr : float
        The learning rate rho, above 0.
    """

    def __init__(self, arenas: Sequence[Arena], lr: float) -> None:
        super().__init__(arenas)
        self.lr = _positive("lr", lr)

    def update(self, number: int) -> None:
        """Do equation 8 on the arena of that number."""
        arena = self.arenas[number]
        arena.ops.descend(arena.params, arena.grads, self.lr, self.work[number])


class Momentum(Optimiser):
    """Gradient descent with a velocity (Polyak, 1964): ``v = mu v + g``, ``theta -= rho v``.

    Parameters
    ----------
    arenas : sequence of Arena
        What to move.
    lr : float
        The learning rate rho, above 0.
    mu : float
        How much velocity is kept, in [0, 1).
    """

    slots = ("velocity",)

    def __init__(self, arenas: Sequence[Arena], lr: float, mu: float) -> None:
        super().__init__(arenas)
        self.lr, self.mu = _positive("lr", lr), _fraction("momentum", mu)

    def update(self, number: int) -> None:
        """Do one step on the arena of that number."""
        arena = self.arenas[number]
        velocity = arena.slots["velocity"]
        arena.ops.momentum(arena.params, arena.grads, velocity, self.lr, self.mu, self.work[number])


class Adam(Optimiser):
    """Adam (Kingma and Ba, 2015, algorithm 1).

    Parameters
    ----------
    arenas : sequence of Arena
        What to move.
    lr : float
        Step size, above 0.
    b1, b2 : float
        Decay of the first and second moment, in [0, 1).
    eps : float
        Added to the root of the corrected second moment, above 0. The demo's framework has the
        same 1e-7, but adds it to the uncorrected root; ``derivations/12-paper-and-demo.md`` says
        what that changes.
    """

    slots = ("m", "v")

    def __init__(
        self,
        arenas: Sequence[Arena],
        lr: float,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-7,
    ) -> None:
        super().__init__(arenas)
        self.lr, self.eps = _positive("lr", lr), _positive("adam_eps", eps)
        self.b1, self.b2 = _fraction("adam_b1", b1), _fraction("adam_b2", b2)

    def update(self, number: int) -> None:
        """Do step ``t`` on the arena of that number."""
        arena = self.arenas[number]
        arena.ops.adam(
            arena.params,
            arena.grads,
            arena.slots["m"],
            arena.slots["v"],
            self.t,
            self.lr,
            self.b1,
            self.b2,
            self.eps,
            self.work[number],
        )


def _positive(name: str, value: float) -> float:
    if not 0.0 < value < float("inf"):
        raise UsageError(f"{name} is {value!r}; expected a finite number > 0")
    # A Python float: a NumPy float64 scalar would turn float32 arithmetic into float64.
    return float(value)


def _fraction(name: str, value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise UsageError(f"{name} is {value!r}; expected a number in [0, 1)")
    return float(value)
