"""Gradient descent and its two usual refinements; see ``derivations/08-descent.md``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ddnmf_np.backends.ops import Array, Ops, adam_scales, optimizer_work
from ddnmf_np.engine.arena import Arena
from ddnmf_np.errors import OptionError
from ddnmf_np.system.options import FRACTION, POSITIVE, check_options, checked, documented, option


@documented
@dataclass(frozen=True)
class Descent:
    """The rule by which parameters follow their gradients (equation 8), and its constants."""

    optimizer: Literal["adam", "momentum", "gd"] = option(
        "adam", "adam, momentum, or gd (plain gradient descent, equation 8)"
    )
    lr: float = option(1e-3, "learning rate (rho in equation 8)", POSITIVE)
    lr_schedule: Literal["constant", "cosine"] = option(
        "constant", "learning-rate schedule: constant, or cosine (from lr down to 0)"
    )
    momentum: float = option(0.9, "share of the velocity that momentum keeps", FRACTION)
    adam_b1: float = option(0.9, "decay of Adam's first moment", FRACTION)
    adam_b2: float = option(0.999, "decay of Adam's second moment", FRACTION)
    adam_eps: float = option(1e-7, "Adam's epsilon", POSITIVE)

    def __post_init__(self) -> None:
        check_options(self)

    def make_optimizer(self, arenas: Sequence[Arena]) -> Optimizer:
        """Return the optimizer that moves the parameters of these arenas."""
        match self.optimizer:
            case "gd":
                return GradientDescent(arenas, self.lr)
            case "momentum":
                return Momentum(arenas, self.lr, self.momentum)
            case _:
                return Adam(arenas, self.lr, self.adam_b1, self.adam_b2, self.adam_eps)

    def rate(self, progress: float) -> float:
        """Return the learning rate once a share ``progress`` of all steps is done.

        The cosine schedule ``lr (1 + cos(pi progress)) / 2`` (Loshchilov and Hutter, 2017, without
        restarts) stays near ``lr`` for long and ends at 0, so that the last steps average out the
        noise of the gradients.
        """
        if self.lr_schedule == "constant":
            return self.lr
        return self.lr * (0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0))))


class Optimizer(ABC):
    """Base class of the descent rules, which move the parameters of arenas, one for each network.

    ``lr`` is the learning rate rho; a schedule sets it before each step. ``t`` counts the steps.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, arenas: Sequence[Arena], lr: float) -> None:
        self.t = 0
        self.lr: float = checked("lr", lr, Descent)
        self.arenas = list(arenas)
        # Numbers that change from step to step; a recorded step reads them here.
        self.scales = self.arenas[0].ops.empty((2,), self.arenas[0].params.dtype)
        self.work = [optimizer_work(a.ops, a.size, a.params.dtype) for a in self.arenas]
        for arena in self.arenas:
            for slot in self.slots:
                arena.add_slot(slot)

    def step(self) -> None:
        """Move every parameter once."""
        self.begin()
        for number in range(len(self.arenas)):
            self.update(number)

    def begin(self) -> None:
        """Start the next step. Then call `update` once for each parameter."""
        self.t += 1
        self.arenas[0].ops.write(self.scales, *self._scales())

    def _scales(self) -> tuple[float, float]:
        """Return two numbers of step ``t``: the learning rate, and one that only Adam needs."""
        return self.lr, 0.0

    def update(self, number: int, span: slice = slice(None)) -> None:
        """Do the current step on arena ``number``, or on a ``span`` of its flat arrays.

        Two threads may update two arenas at the same time.
        """
        arena = self.arenas[number]
        slots = [arena.slots[slot][span] for slot in self.slots]
        self._update(arena.ops, arena.params[span], arena.grads[span], slots, self.work[number])

    @abstractmethod
    def _update(self, ops: Ops, p: Array, g: Array, slots: Sequence[Array], work: Array) -> None:
        """Do a step on flat parameters ``p`` with gradients ``g``; see `scales` for its numbers."""


class GradientDescent(Optimizer):
    """Gradient descent (equation 8): ``theta <- theta - rho dL/dtheta``."""

    def _update(self, ops: Ops, p: Array, g: Array, slots: Sequence[Array], work: Array) -> None:
        ops.descend(p, g, self.scales[:1], work)  # equation 8


class Momentum(Optimizer):
    """Gradient descent with a velocity (Polyak, 1964): ``v = mu v + g``, ``theta -= rho v``.

    ``momentum`` is mu, the share of the velocity that remains after a step, in [0, 1).
    """

    slots = ("velocity",)

    def __init__(self, arenas: Sequence[Arena], lr: float, momentum: float) -> None:
        super().__init__(arenas, lr)
        self.momentum: float = checked("momentum", momentum, Descent)

    def _update(self, ops: Ops, p: Array, g: Array, slots: Sequence[Array], work: Array) -> None:
        (v,) = slots
        ops.momentum(p, g, v, self.scales[:1], self.momentum, work)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015, algorithm 1).

    The first and second moment decay by ``adam_b1`` and ``adam_b2``, in [0, 1). We add ``adam_eps``
    to the root of the corrected second moment; it is at least sqrt(2 tiny / (1 - adam_b2)), where
    ``tiny`` is the smallest normal number (4.8e-18 in float32). The demo's framework also uses
    1e-7, but adds it to the uncorrected root; see ``derivations/12-paper-and-demo.md``.
    """

    slots = ("m", "v")

    def __init__(
        self,
        arenas: Sequence[Arena],
        lr: float,
        adam_b1: float = 0.9,
        adam_b2: float = 0.999,
        adam_eps: float = 1e-7,
    ) -> None:
        super().__init__(arenas, lr)
        self.adam_b1: float = checked("adam_b1", adam_b1, Descent)
        self.adam_b2: float = checked("adam_b2", adam_b2, Descent)
        self.adam_eps: float = checked("adam_eps", adam_eps, Descent)
        for arena in arenas:
            # Second moments below 2 tiny become 0. adam_eps must be larger than the gradients that
            # cause these, or their steps would be far larger than lr.
            tiny = float(np.finfo(arena.params.dtype).tiny)
            least = (2.0 * tiny / (1.0 - self.adam_b2)) ** 0.5
            if self.adam_eps < least:
                raise OptionError(
                    "adam_eps",
                    f"is {adam_eps!r}; in {arena.params.dtype} it must be at least {least:.1e}",
                )

    def _update(self, ops: Ops, p: Array, g: Array, slots: Sequence[Array], work: Array) -> None:
        m, v = slots
        ops.adam(p, g, m, v, self.scales, self.adam_b1, self.adam_b2, work)

    def _scales(self) -> tuple[float, float]:
        return adam_scales(self.t, self.lr, self.adam_b1, self.adam_b2, self.adam_eps)
