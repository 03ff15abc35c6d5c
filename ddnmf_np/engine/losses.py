"""Interpretability loss (equations 4 to 7) as a table of terms, and its direct gradients.

Every loss of the paper is a sum of squared distances between two signals. A term names these two,
and those of them that it trains. From the terms we compute the loss and each ``Grad[h]`` of
equations 9 and 10. The paper and its authors' demo differ in the table, not in the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ddnmf_np.backends.ops import Array, DirectGradient
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import UsageError
from ddnmf_np.system.options import WEIGHT, check_options, documented, option

Reduction = Literal["sum", "mean"]


def appositive(layer: int, depth: int) -> int:
    """Return ``s(l)``, the student layer that equation 5 pairs with supervisor layer l.

    ``depth`` is the number of supervisor layers, L in the paper. The apposition loss does not
    compare the two layers of the student's NMF module, ``depth / 2 + 1`` and ``depth / 2 + 2``.
    """
    return layer if layer <= depth // 2 else layer + 2


class Signal(NamedTuple):
    """Output of a layer; ``data`` has only layer 0, the clean input."""

    net: Literal["data", "supervisor", "student"]
    layer: int


class Term(NamedTuple):
    """Loss ``weight ||a - b||^2``; its gradient reaches only ``moves``, which include ``a``."""

    loss: Literal["sym", "ap", "nc", "rec"]
    weight: float
    a: Signal
    b: Signal
    moves: tuple[Signal, ...]


PresetName = Literal["paper", "demo", "stable", "auto", "parts"]

_PAPER = {
    "alpha_sym": 1.0,
    "beta_ap": 1.0,
    "gamma_nc": 1.0,
    "reduction": "sum",
    "student_reconstruction": 0.0,
    "apposition_to_supervisor": False,
    "base_bias": False,
}
_MEANS = {"reduction": "mean", "student_reconstruction": 1.0}
_DEMO = {**_PAPER, **_MEANS, "beta_ap": 0.01, "apposition_to_supervisor": True, "base_bias": True}
_AUTO = {**_PAPER, **_MEANS, "beta_ap": 0.01, "gamma_nc": 0.01}
_VALUES = {
    "paper": _PAPER,  # which leaves the weights open
    "demo": _DEMO,  # its authors' public demo
    "stable": {**_DEMO, "gamma_nc": 0.1},
    "auto": _AUTO,
    "parts": {**_AUTO, "base_bias": True},
}


@documented
@dataclass(frozen=True)
class Objective:
    """The weights of equation 7 and the four places where paper and demo differ.

    The preset supplies every value that is not given. "paper" has weights 1, 1, 1, because the
    paper leaves them open; "demo" is its authors' public code; the others are ours. Losses are
    always the mean over samples. At least one loss has to train the student.
    """

    preset: PresetName = option(
        "paper",
        "preset: auto (fitted to the data), parts (as auto, parts add up), paper, demo, or stable",
    )
    alpha_sym: float = option(None, "weight of the symmetric loss (equation 4)", WEIGHT)
    beta_ap: float = option(None, "weight of the apposition loss (equation 5)", WEIGHT)
    gamma_nc: float = option(
        None, "weight of the non-negative constraint loss (equation 6)", WEIGHT
    )
    reduction: Reduction = option(None, "losses as sum (paper) or mean (demo) over features")
    student_reconstruction: float = option(
        None, "weight of the student's distance from the clean input (paper 0, demo 1)", WEIGHT
    )
    apposition_to_supervisor: bool = option(
        None, "whether the apposition loss moves the supervisor too (paper no, demo yes)"
    )
    base_bias: bool = option(None, "whether the base layer has a bias (paper no, demo yes)")

    def __post_init__(self) -> None:
        for name, value in _VALUES.get(str(self.preset), {}).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        check_options(self)
        if self.beta_ap == self.gamma_nc == self.student_reconstruction == 0.0:
            raise UsageError(
                "beta_ap, gamma_nc and student_reconstruction are all 0, so that nothing trains "
                "the student; set one of them above 0"
            )

    def terms(self, depth: int) -> tuple[Term, ...]:
        """Return the table of equation 7 for a supervisor of ``depth`` layers.

        Its rows are equation 4, equation 5, equation 6 and the demo's reconstruction, without those
        of weight 0. See ``derivations/07-interpretability-loss.md``.
        """
        if depth < 2 or depth % 2:
            raise UsageError(
                f"depth is {depth}; expected an even number >= 2, since the decoder mirrors "
                "the encoder"
            )
        x = Signal("data", 0)
        y, y_student = Signal("supervisor", depth), Signal("student", depth + 2)
        code, code_hat = Signal("student", depth // 2), Signal("student", depth // 2 + 2)
        table = [Term("sym", self.alpha_sym, y, x, moves=(y,))]  # equation 4
        for layer in range(1, depth + 1):  # equation 5
            h = Signal("supervisor", layer)
            h_student = Signal("student", appositive(layer, depth))
            moves = (h_student, h) if self.apposition_to_supervisor else (h_student,)
            table.append(Term("ap", self.beta_ap, h_student, h, moves))
        nc = Term("nc", self.gamma_nc, code, code_hat, moves=(code, code_hat))  # equation 6
        rec = Term("rec", self.student_reconstruction, y_student, x, moves=(y_student,))
        return tuple(term for term in [*table, nc, rec] if term.weight > 0.0)


PRESETS = {name: Objective(name) for name in get_args(PresetName)}
"""The objective of each preset."""


class InterpretabilityLoss:
    """Equation 7 on a supervisor and its student: values, and gradients of equations 9 and 10.

    ``terms`` is the table, and ``sums`` has the sum of each term's squared distances since `reset`,
    in float64 on the device.
    """

    def __init__(self, objective: Objective, supervisor: Network, student: Network) -> None:
        if student.depth != supervisor.depth + 2:
            raise UsageError(
                f"the student has {student.depth} layers and the supervisor {supervisor.depth}; "
                "expected two more, the NMF module"
            )
        self.objective = objective
        self.nets = {"supervisor": supervisor, "student": student}
        self.ops = supervisor.ops
        self.terms = objective.terms(supervisor.depth)
        self.sums = self.ops.zeros((len(self.terms),), "float64")
        self._targets: dict[Signal, Array] = {}

    def reset(self) -> None:
        """Set the sums to zero."""
        self.sums.fill(0.0)

    def allow_missing(self) -> None:
        """Take memory for batches with missing entries: a target for each term with the data."""
        for term in self.terms:
            if term.b.net == "data" and term.a not in self._targets:
                network = self.nets[term.a.net]
                shape = (network.rows, network.widths[term.a.layer])
                self._targets[term.a] = self.ops.empty(shape, network.arena.params.dtype)

    def measure(self, x: Array, net: str | None = None, observed: Array | None = None) -> None:
        """Add the squared distances of this batch to ``sums`` (equations 4, 5 and 6).

        We skip the terms that do not train the network ``net``, if it is given. See
        `direct_gradients` for ``x`` and ``observed``.
        """
        for number, term in enumerate(self.terms):
            if net is None or any(signal.net == net for signal in term.moves):
                work = self.nets[term.a.net].layers[term.a.layer - 1].work[: x.shape[0]]
                a, b = (self._reference(term, end, x, observed) for end in (term.a, term.b))
                self.ops.squared_distance(a, b, work, out=self.sums[number : number + 1])

    def values(self, n: int) -> dict[str, float]:
        """Return each loss of the ``n`` samples since `reset` by name (equations 4 to 7).

        ``loss_in`` is the weighted sum of equation 7. ``loss_sym``, ``loss_ap``, ``loss_nc`` and
        ``loss_rec`` are unweighted, and present if the objective has them.
        """
        values: dict[str, float] = {"loss_in": 0.0}
        for term, total in zip(self.terms, self.ops.to_host(self.sums).tolist(), strict=True):
            value = total * self._scale(term, n)
            values[f"loss_{term.loss}"] = values.get(f"loss_{term.loss}", 0.0) + value
            values["loss_in"] += term.weight * value  # equation 7
        return values

    def direct_gradients(
        self,
        net: str,
        x: Array,
        *,
        measure: bool = False,
        observed: Array | None = None,
        n: int | None = None,
    ) -> dict[int, list[DirectGradient]]:
        """Return the direct gradients of a network by layer (``Grad`` of equation 10, g(L) of 9).

        A term ``weight ||a - b||^2 / N`` adds ``(2 weight / N)(a - b)`` to the gradient for ``a``
        and subtracts it for ``b``, if it trains them. See ``derivations/10-student-gradient.md``.

        Parameters
        ----------
        net : {"supervisor", "student"}
            Network.
        x : ndarray of shape (n, D)
            The clean batch. Run both networks forward first.
        measure : bool
            Whether the backward pass adds the distances to ``sums``, as `measure` does. A term is
            added by the network that computes its signal ``a``.
        observed : ndarray of shape (n, D), bool, optional
            Entries of ``x`` that count (``derivations/15-missing-values.md``); all by default. Call
            `allow_missing` first.
        n : int, optional
            N, if ``x`` is only a part of the batch (``derivations/16-scaling.md``).
        """
        direct: dict[int, list[DirectGradient]] = {}
        for number, term in enumerate(self.terms):
            c = 2.0 * term.weight * self._scale(term, n or x.shape[0])
            total = self.sums[number : number + 1] if measure else None
            for end, ref, adds_to in ((term.a, term.b, total), (term.b, term.a, None)):
                if end.net == net and end in term.moves:
                    target = self._reference(term, ref, x, observed)
                    direct.setdefault(end.layer, []).append(DirectGradient(target, c, adds_to))
        return direct

    def _reference(self, term: Term, signal: Signal, x: Array, observed: Array | None) -> Array:
        """Return a signal; for missing entries of x, return those of ``term.a``, so they cancel."""
        if signal.net != "data":
            return self.nets[signal.net].h[signal.layer]
        if observed is None:
            return x
        target = self._targets[term.a][: x.shape[0]]
        self.ops.observed_or(x, observed, self._reference(term, term.a, x, None), target)
        return target

    def _scale(self, term: Term, n: int) -> float:
        """Return 1/N, or 1/(N width) if the loss is a mean over the features."""
        width = self.nets[term.a.net].layers[term.a.layer - 1].fan_out
        return 1.0 / (n * width) if self.objective.reduction == "mean" else 1.0 / n
