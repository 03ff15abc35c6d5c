"""The interpretability loss (equations 4 to 7) as a table, and the gradients it asks for.

Every loss of the paper is a sum of squared distances between two signals. A term that says which
two, and which of them it moves, is enough to compute the loss and to derive each ``Grad[h]`` of
equations 9 and 10; the paper and its authors' demo differ in the table, not in the code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from ddnmf_np.backends.ops import Array, DirectGradient
from ddnmf_np.engine.network import Network
from ddnmf_np.errors import UsageError
from ddnmf_np.system.options import WEIGHT, check_options, option

Reduction = Literal["sum", "mean"]


def appositive(layer: int, depth: int) -> int:
    """Return ``s(l)``, the student layer that supervisor layer l is paired with (equation 5).

    The two NMF layers ``depth / 2 + 1`` and ``depth / 2 + 2`` of the student pair with none.

    Parameters
    ----------
    layer : int
        Supervisor layer, 1 to ``depth``.
    depth : int
        Number of supervisor layers, L in the paper; even.
    """
    return layer if layer <= depth // 2 else layer + 2


class Signal(NamedTuple):
    """Output of layer ``layer`` of a network; ``data`` has only layer 0, the clean input."""

    net: Literal["data", "supervisor", "student"]
    layer: int


class Term(NamedTuple):
    """``weight`` times the distance of ``a`` and ``b``; the gradient reaches ``moves`` only.

    ``a`` is always among them.
    """

    loss: Literal["sym", "ap", "nc", "rec"]
    weight: float
    a: Signal
    b: Signal
    moves: tuple[Signal, ...]


PresetName = Literal["paper", "demo", "stable"]

_PAPER = {
    "alpha_sym": 1.0,
    "beta_ap": 1.0,
    "gamma_nc": 1.0,
    "reduction": "sum",
    "student_reconstruction": 0.0,
    "apposition_to_supervisor": False,
    "base_bias": False,
}
_DEMO = {
    **_PAPER,
    "beta_ap": 0.01,
    "reduction": "mean",
    "student_reconstruction": 1.0,
    "apposition_to_supervisor": True,
    "base_bias": True,
}
_VALUES = {"paper": _PAPER, "demo": _DEMO, "stable": {**_DEMO, "gamma_nc": 0.1}}


@dataclass(frozen=True)
class Objective:
    """The weights of equation 7 and the four places where paper and demo differ.

    Parameters
    ----------
    preset : {"paper", "demo", "stable"}
        Supplies every value that is not given: the paper's objective, its authors' public demo's,
        or the demo's with ``gamma_nc = 0.1``.
    alpha_sym, beta_ap, gamma_nc : float
        Weights of equation 7, at least 0. The paper leaves them open; the preset ``"paper"``
        takes 1, 1, 1.
    reduction : {"sum", "mean"}
        Sum over features (paper) or mean over features (demo); always the mean over samples.
    student_reconstruction : float
        Weight of ``loss_rec``, the distance of the student's output from the clean input: 0 in
        the paper, 1 in the demo.
    apposition_to_supervisor : bool
        Whether the gradient of the apposition loss reaches the supervisor too: no in the paper
        (equation 9), yes in the demo.
    base_bias : bool
        Whether the base layer of the NMF module has a bias: no in the paper (equation 3), yes
        in the demo.

    Raises
    ------
    UsageError
        If a value cannot be used, or if no loss trains the student.
    """

    preset: PresetName = option("paper", "preset: paper, demo (its authors' code) or stable")
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

        Its rows are equation 4, equation 5, equation 6 and the demo's reconstruction; see
        ``derivations/07-interpretability-loss.md``.

        Terms of weight 0 are left out: they are neither computed nor reported.
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
        table.append(
            Term("nc", self.gamma_nc, code, code_hat, moves=(code, code_hat))
        )  # equation 6
        table.append(Term("rec", self.student_reconstruction, y_student, x, moves=(y_student,)))
        return tuple(term for term in table if term.weight > 0.0)


PRESETS = {name: Objective(name) for name in get_args(PresetName)}
"""The objective of each preset."""


class InterpretabilityLoss:
    """Equation 7 on two networks: its value, and the direct gradients of equations 9 and 10.

    Parameters
    ----------
    objective : Objective
        Weights and options.
    supervisor, student : Network
        The two networks; the student has two layers more.

    Attributes
    ----------
    terms : tuple of Term
        The table.
    sums : ndarray of shape (len(terms),), float64
        Squared distances added up since `reset`, on the device.
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
        """Start a new sum."""
        self.sums.fill(0.0)

    def allow_missing(self) -> None:
        """Take the memory that batches with missing entries need: one target for each data term."""
        for term in self.terms:
            if term.b.net == "data" and term.a not in self._targets:
                network = self.nets[term.a.net]
                shape = (network.rows, network.widths[term.a.layer])
                self._targets[term.a] = self.ops.empty(shape, network.arena.params.dtype)

    def measure(self, x: Array, net: str | None = None, observed: Array | None = None) -> None:
        """Add the squared distances of this batch to ``sums`` (equations 4, 5 and 6).

        Parameters
        ----------
        x : ndarray of shape (n, D)
            The clean batch; both networks have run forward.
        net : {"supervisor", "student"}, optional
            Only the terms that move this network; all of them by default.
        observed : ndarray of shape (n, D), bool, optional
            Entries of ``x`` that count; all by default. Needs `allow_missing`.
        """
        for number, term in enumerate(self.terms):
            if net is None or any(signal.net == net for signal in term.moves):
                work = self.nets[term.a.net].layers[term.a.layer - 1].work[: x.shape[0]]
                self.ops.squared_distance(
                    self._read(term.a, x),
                    self._reference(term, term.b, x, observed),
                    work,
                    out=self.sums[number : number + 1],
                )

    def values(self, n: int) -> dict[str, float]:
        """Return each loss over the ``n`` samples measured since `reset` (equations 4 to 7).

        Returns
        -------
        dict
            ``loss_in`` (weighted, equation 7) and, unweighted, ``loss_sym``, ``loss_ap``,
            ``loss_nc`` and ``loss_rec`` as far as the objective has them.
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
        """Return the direct gradients of a network (``Grad`` of equation 10, g(L) of 9).

        A term ``weight ||a - b||^2 / N`` adds ``(2 weight / N)(a - b)`` at ``a`` and the opposite
        at ``b``, if it moves them. See ``derivations/10-student-gradient.md``.

        Parameters
        ----------
        net : {"supervisor", "student"}
            Which network.
        x : ndarray of shape (n, D)
            The clean batch; both networks have run forward.
        measure : bool
            Whether the backward pass adds the distances to ``sums``, as `measure` does. The
            network that has a term's end ``a`` adds it.
        observed : ndarray of shape (n, D), bool, optional
            Entries of ``x`` that count (``derivations/15-missing-values.md``); all by default.
        n : int, optional
            N, where ``x`` is a part of a batch (``derivations/16-scaling.md``).
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
        """Return what a term compares an output with: that output itself where data are missing."""
        if signal.net != "data" or observed is None:
            return self._read(signal, x)
        target = self._targets[term.a][: x.shape[0]]
        self.ops.observed_or(x, observed, self._read(term.a, x), target)
        return target

    def _read(self, signal: Signal, x: Array) -> Array:
        return x if signal.net == "data" else self.nets[signal.net].h[signal.layer]

    def _scale(self, term: Term, n: int) -> float:
        """Return 1/N, or 1/(N width) where the features are averaged too."""
        width = self.nets[term.a.net].layers[term.a.layer - 1].fan_out
        return 1.0 / (n * width) if self.objective.reduction == "mean" else 1.0 / n
