"""Gradient check of any layer, network or model by central differences in float64.

A checker must not pass a wrong gradient, and must not reject a right one:

* The directions are random, +1 or -1 in each entry. Along all ones, errors could cancel.
* The error is relative to the norm of the block's gradient. There is no absolute tolerance, and a
  gradient of exactly zero is rejected.
* No step may carry a ReLU over its kink. We move biases off zero, make the step smaller, and if no
  step is small enough, leave half of the entries out of the direction.

``derivations/13-gradient-check.md`` gives the reasons and experiments.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.problems import DIRECTIONS, Problem, check_input, network_problem
from ddnmf_np.errors import UsageError

TOLERANCE = 1e-6
"""Largest accepted error, relative to the norm of the block's gradient.

At these steps, central differences in float64 have errors of about 1e-8. A forgotten or halved term
makes an error of 1e-3 or more.
"""

STEPS = (1e-5, 1e-6, 1e-7)
"""Steps, tried in this order until no ReLU changes sides."""

_REDRAWS = 20
"""Directions that we try before the verdict "at a kink"."""


@dataclass(frozen=True)
class BlockResult:
    """Verdict on a block: ``"ok"``, ``"wrong"``, ``"zero gradient"`` or ``"at a kink"``."""

    problem: str
    block: str
    shape: tuple[int, ...]
    norm: float
    error: float
    verdict: str


@dataclass(frozen=True)
class GradcheckReport:
    """Verdicts on all blocks, and the largest accepted relative error; prints as a table."""

    results: tuple[BlockResult, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every block passed."""
        return all(result.verdict == "ok" for result in self.results)

    @property
    def worst(self) -> float:
        """Largest relative error of any block; NaN counts as infinity."""
        errors = [result.error for result in self.results]
        return float("inf") if not np.isfinite(errors).all() else max(errors)

    def __str__(self) -> str:
        rows = [("network", "block", "shape", "gradient norm", "relative error", "verdict")]
        for r in self.results:
            shape, norm, error = "x".join(map(str, r.shape)), f"{r.norm:.3e}", f"{r.error:.1e}"
            rows.append((r.problem, r.block, shape, norm, error, r.verdict))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        passed = f"{sum(r.verdict == 'ok' for r in self.results)} of {len(self.results)}"
        return "\n".join([*lines, f"{passed} blocks pass (relative error <= {self.tolerance:g})"])


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
        Object to check. We check a float64 copy.
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
        Seed of the samples and directions.
    verbose : bool
        Whether to print the table.

    Returns
    -------
    GradcheckReport
        ``ok`` tells whether all blocks passed; ``str()`` gives the table.

    Raises
    ------
    UsageError
        If the target is none of these, or ``directions`` is below 1.
    DataError
        If the input does not fit the target or is not finite.

    Notes
    -----
    We check at the target's own parameters, except that we shift every bias by at most 0.01. In a
    layer or network, every layer has a random target, so that it also gets a direct gradient.

    In a model, we check each network with the loss terms that train it, and hold the outputs of
    the other network constant. Finite differences of ``L_in`` itself would disagree for the
    supervisor, because equation 9 leaves the apposition loss out.

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
        glorot(network.layers, seed, 0)
        for name in ("W", "b"):
            if getattr(target, name, None) is not None:
                getattr(lone, name)[...] = getattr(target, name).astype("float64")
        problems = [network_problem(network, x, seed, repr(target))]
    elif isinstance(target, Network):
        problems = [network_problem(target, x, seed, "network")]
    elif hasattr(target, "gradient_problems") and not isinstance(target, type):
        observed = None if observed is None else np.asarray(observed)
        x, x_noisy = check_input(x, "x"), check_input(x_noisy, "x_noisy")
        problems = target.gradient_problems(x, x_noisy, seed, observed)
    else:
        raise UsageError(
            f"target is a {type(target).__name__}; expected a Dense, a Network, a Model or a "
            "fitted DDNMF"
        )
    results = [check_problem(problem, directions, tolerance, seed) for problem in problems]
    report = GradcheckReport(tuple(chain.from_iterable(results)), tolerance)
    if verbose:
        print(report)
    return report


def check_problem(
    problem: Problem, directions: int = 3, tolerance: float = TOLERANCE, seed: int = 0
) -> list[BlockResult]:
    """Check every block of a problem; see `gradcheck`."""
    rng = np.random.default_rng([seed, DIRECTIONS])
    for _, grad in problem.blocks.values():
        grad.fill(np.nan)  # a gradient that is added instead of written stays NaN
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
        while norm != 0.0 and len(errors) < directions:
            found = _direction_error(problem, value, gradient, norm, sides, rng)
            if found is None:
                break
            errors.append(found)
        error = float("inf")
        if norm == 0.0:
            verdict = "zero gradient"
        elif len(errors) < directions:
            verdict = "at a kink"
        else:
            error = float(np.max(errors))  # max() would drop a NaN that is not first
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
    """Return the relative error along a random direction, or None if all steps cross a kink."""
    saved = value.copy()
    try:
        for attempt in range(_REDRAWS):
            u = rng.choice((-1.0, 1.0), gradient.shape)
            if attempt > 0:  # leave out half of the entries, perhaps those at a kink
                u *= rng.uniform(size=u.shape) < 0.5
                if np.linalg.norm(gradient[u != 0.0]) < 0.5 * norm:
                    continue  # the remaining entries prove too little
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
