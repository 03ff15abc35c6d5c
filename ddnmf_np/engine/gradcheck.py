"""A gradient check: finite differences for any layer, network or model.

A checker should neither pass a wrong gradient nor reject a right one. What this one does, and
why, is derived and tried in ``derivations/13-gradient-check.md``: float64; one verdict a
parameter block; random directions of +1 and -1 (an all-ones direction lets sums of errors cancel);
central differences; an error relative to the norm of the block's own gradient, with no absolute
escape; a block whose gradient is exactly zero is rejected; biases are moved off zero, where a
sample that switches a whole layer off would leave the next one exactly at its kink; a step that
would carry a ReLU over its kink is made smaller until it does not, and if no step is small enough,
half of the entries are left out of the direction at random.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.problems import DIRECTIONS, Checkable, Problem, check_input, network_problem
from ddnmf_np.errors import UsageError

TOLERANCE = 1e-6
"""Largest accepted error, relative to the norm of the block's gradient.

Central differences in float64 at these steps are good to about 1e-8 of it; a forgotten or halved
term is wrong by 1e-3 of it and more.
"""

STEPS = (1e-5, 1e-6, 1e-7)
"""Steps, tried in this order until no ReLU changes sides between both ends."""

_REDRAWS = 20
"""Directions tried before a block is given up as sitting on a kink."""


@dataclass(frozen=True)
class BlockResult:
    """Verdict on one block: ``"ok"``, ``"wrong"``, ``"zero gradient"`` or ``"at a kink"``."""

    problem: str
    block: str
    shape: tuple[int, ...]
    norm: float
    error: float
    verdict: str


@dataclass(frozen=True)
class GradcheckReport:
    """All verdicts; prints as a table.

    Attributes
    ----------
    results : tuple of BlockResult
        One for each block.
    tolerance : float
        Largest accepted relative error.
    """

    results: tuple[BlockResult, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every block passed."""
        return all(result.verdict == "ok" for result in self.results)

    @property
    def worst(self) -> float:
        """Largest relative error of any block; NaN or infinity counts as the worst."""
        errors = [result.error for result in self.results]
        return float("inf") if not np.isfinite(errors).all() else max(errors)

    def __str__(self) -> str:
        rows = [("network", "block", "shape", "gradient norm", "relative error", "verdict")]
        rows += [
            (r.problem, r.block, "x".join(map(str, r.shape)), f"{r.norm:.3e}", f"{r.error:.1e}",
             r.verdict)
            for r in self.results
        ]  # fmt: skip
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
                 for row in rows]  # fmt: skip
        lines.insert(1, "  ".join("-" * w for w in widths))
        failed = sum(r.verdict != "ok" for r in self.results)
        lines.append(
            f"{len(self.results) - failed} of {len(self.results)} blocks pass "
            f"(relative error <= {self.tolerance:g})"
        )
        return "\n".join(lines)


def gradcheck(
    target: Any,
    x: Any = None,
    x_noisy: Any = None,
    *,
    observed: Any = None,
    directions: int = 3,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    verbose: bool = True,
) -> GradcheckReport:
    """Compare the hand-written gradients of a target with finite differences.

    Parameters
    ----------
    target : Dense, Network, Model or fitted DDNMF
        Object to check. It keeps its values: we work on a float64 copy.
    x : array_like of shape (n, features), optional
        Input; by default 5 random samples.
    x_noisy : array_like of shape (n, features), optional
        Input of a model's student; by default ``x`` with a tenth of its entries set to 0.
    observed : array_like of shape (n, features), bool, optional
        Entries of ``x`` that the losses of a model may compare with; by default all.
    directions : int
        Random directions for each block, at least 1.
    tolerance : float
        Largest accepted error relative to the norm of the block's gradient.
    seed : int
        Of the samples and directions.
    verbose : bool
        Whether to print the table.

    Returns
    -------
    GradcheckReport
        Truth in ``ok``, the table in ``str()``.

    Raises
    ------
    UsageError
        If the target is none of these, or ``directions`` is below 1.
    DataError
        If the input does not fit the target or is not finite.

    Notes
    -----
    A layer or network is checked with a random target at every one of its outputs, so that each
    layer gets a direct gradient as well as the one from above. A model is checked as the
    objective trains it: the supervisor's gradients are those of the loss terms that move the
    supervisor, the student's those of the terms that move the student, with the other network's
    activations held constant. With the paper's objective the finite difference of ``L_in`` itself
    would disagree for the supervisor, and rightly so (equation 9 leaves the apposition loss out).

    The check is made at the target's own parameters, but for a random shift of every bias by at
    most 0.01.

    Examples
    --------
    >>> from ddnmf_np import gradcheck
    >>> from ddnmf_np.engine.layers import Dense
    >>> gradcheck(Dense(5, 3, "sigmoid"), verbose=False).ok
    True
    """
    if directions < 1:
        raise UsageError(f"directions is {directions}; expected at least 1")
    target = getattr(target, "model_", target)
    if observed is not None and isinstance(target, (Dense, Network)):
        raise UsageError("observed is for a model, whose losses compare with data; leave it out")
    if isinstance(target, Dense):
        lone = target.unbound()
        network = Network([lone], rows=1, dtype="float64", ops=getattr(target, "ops", None))
        if not hasattr(target, "W"):
            glorot(network.layers, seed, 0)
        else:
            lone.W[...] = target.W.astype("float64")
            if lone.b is not None and target.b is not None:
                lone.b[...] = target.b.astype("float64")
        problems = [network_problem(network, x, seed, repr(target))]
    elif isinstance(target, Network):
        problems = [network_problem(target, x, seed, "network")]
    elif isinstance(target, Checkable):
        problems = target.gradient_problems(
            check_input(x, "x"),
            check_input(x_noisy, "x_noisy"),
            seed,
            None if observed is None else np.asarray(observed),
        )
    else:
        raise UsageError(
            f"target is a {type(target).__name__}; expected a Dense, a Network, a Model or a "
            "fitted DDNMF"
        )
    results = tuple(
        result
        for problem in problems
        for result in check_problem(problem, directions, tolerance, seed)
    )
    report = GradcheckReport(results, tolerance)
    if verbose:
        print(report, file=sys.stdout)
    return report


def check_problem(
    problem: Problem, directions: int = 3, tolerance: float = TOLERANCE, seed: int = 0
) -> list[BlockResult]:
    """Check every block of a problem; see `gradcheck`."""
    rng = np.random.default_rng([seed, DIRECTIONS])
    for _, grad in problem.blocks.values():
        grad.fill(np.nan)  # what is added to it, rather than written, shows
    problem.gradient()
    gradients = {
        name: problem.ops.to_host(grad).copy() for name, (_, grad) in problem.blocks.items()
    }
    problem.loss()
    sides = problem.sides()
    results = []
    for name, (value, _) in problem.blocks.items():
        gradient = gradients[name]
        norm = float(np.linalg.norm(gradient))
        errors: list[float] = []
        for _ in range(0 if norm == 0.0 else directions):
            error = _direction_error(problem, value, gradient, norm, sides, rng)
            if error is None:
                break
            errors.append(error)
        if norm == 0.0:
            error, verdict = float("inf"), "zero gradient"
        elif len(errors) < directions:
            error, verdict = float("inf"), "at a kink"
        else:
            # max() would drop a NaN that is not first.
            error = float(np.max(errors))
            verdict = "ok" if error <= tolerance else "wrong"
        results.append(BlockResult(problem.label, name, gradient.shape, norm, error, verdict))
    return results


def _direction_error(
    problem: Problem,
    value: Array,
    gradient: Array,
    norm: float,
    sides: Array,
    rng: np.random.Generator,
) -> float | None:
    """Return the relative error along one random direction, or None if all cross a kink."""
    saved = value.copy()
    try:
        for attempt in range(_REDRAWS):
            u = rng.choice((-1.0, 1.0), gradient.shape)
            if attempt > 0:  # leave half of the entries out, in the hope of those at a kink
                u *= rng.uniform(size=u.shape) < 0.5
                if np.linalg.norm(gradient[u != 0.0]) < 0.5 * norm:
                    continue  # too little is left to prove anything
            step_u = problem.ops.to_device(u, value.dtype)
            for step in STEPS:
                ends = []
                for sign in (1.0, -1.0):
                    value[...] = saved + (sign * step) * step_u
                    ends.append(problem.loss())
                    if not bool((problem.sides() == sides).all()):
                        break
                else:
                    slope = (ends[0] - ends[1]) / (2.0 * step)
                    return abs(float(np.vdot(gradient, u)) - slope) / norm
        return None
    finally:
        value[...] = saved
