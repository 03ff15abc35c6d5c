"""Exercises of notebook 1: NMF from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.evaluation.interpret import hoyer_sparsity
from ddnmf_np.teaching.exercise import Exercise, Mistake
from ddnmf_np.teaching.nmf import multiplicative_step

Floats = npt.NDArray[np.float64]

_SIZES = ((7, 5, 3), (4, 9, 2), (11, 6, 5))
"""(n, D, rank) of each problem."""


def _problem(seed: int) -> tuple[Floats, Floats, Floats]:
    n, width, rank = _SIZES[seed]
    rng = np.random.default_rng([seed, 1])
    x, H, W = (rng.uniform(0.1, 1.0, shape) for shape in ((n, width), (n, rank), (width, rank)))
    return x, H, W


def _gradient(x: Floats, H: Floats, W: Floats) -> Floats:
    return (H @ W.T - x) @ W  # (n, D) @ (D, rank) -> (n, rank)


def _parts_problem(seed: int) -> tuple[Floats]:
    shape = _SIZES[seed][:2]
    rng = np.random.default_rng([seed, 3])
    sizes = rng.uniform(size=shape) * (rng.uniform(size=shape) < 0.7) + 0.01
    return (sizes * rng.choice((-1.0, 1.0), shape),)  # components of PCA have both signs


def _old_H(x: Any, H: Any, W: Any) -> tuple[Floats, Floats]:
    new = H * (x @ W) / (H @ (W.T @ W))
    return new, W * (x.T @ H) / (W @ (H.T @ H))


def _upside_down(x: Any, H: Any, W: Any) -> tuple[Floats, Floats]:
    new = H * (H @ (W.T @ W)) / (x @ W)
    return new, W * (W @ (new.T @ new)) / (x.T @ new)


def _signed_sparsity(parts: Floats) -> Floats:
    root = np.sqrt(parts.shape[1])
    ratio = parts.sum(axis=1) / np.sqrt((parts**2).sum(axis=1))
    return np.asarray((root - ratio) / (root - 1.0))


EXERCISES = (
    Exercise(
        name="nmf-gradient",
        task="a function that returns the gradient of 1/2 ||x - H W^T||^2 by H, shape (n, rank).",
        hint=(
            "write R = H W^T - x. H_ik enters the entries R_ij of row i, each with the factor "
            "W_jk; add them up over j, and see which matrix product that is."
        ),
        blocks=("dH",),
        problem=_problem,
        reference=_gradient,
        mistakes=(
            Mistake(
                "The codes are missing from the residual: it is H W^T - x, not -x.",
                lambda x, H, W: -x @ W,
            ),
        ),
    ),
    Exercise(
        name="nmf-step",
        task=(
            "a function that returns H (n, rank) after its update, and then W (D, rank) after its "
            "own, which uses the new H."
        ),
        hint=(
            "each update multiplies by the negative part of the gradient over the positive part, "
            "entry by entry. For W the parts are x.T @ H and W @ (H.T @ H)."
        ),
        blocks=("H", "W"),
        problem=_problem,
        reference=multiplicative_step,
        tolerance=1e-6,  # a small number in the divisor, against zeros, is right
        mistakes=(
            Mistake("W was updated with the old H; take the new one.", _old_H),
            Mistake("The quotient is upside down.", _upside_down),
        ),
    ),
    Exercise(
        name="hoyer-sparsity",
        task=(
            "a function that returns Hoyer's sparsity of each row w of `parts` (rank, D), shape "
            "(rank,): (sqrt(D) - ||w||_1 / ||w||_2) / (sqrt(D) - 1)."
        ),
        hint=(
            "||w||_1 is the sum of absolute values, ||w||_2 the root of the sum of squares, both "
            "along axis 1. A row with one entry has sparsity 1, a constant row 0."
        ),
        blocks=("sparsity",),
        problem=_parts_problem,
        reference=lambda parts: hoyer_sparsity(parts),
        mistakes=(
            Mistake(
                "The division by sqrt(D) - 1 is missing.",
                lambda parts: hoyer_sparsity(parts) * (np.sqrt(parts.shape[1]) - 1.0),
            ),
            Mistake(
                "The absolute values are missing: entries of both signs cancel in the sum.",
                _signed_sparsity,
            ),
            Mistake(
                "That is the sparsity of the columns.",
                lambda parts: hoyer_sparsity(parts.T),
            ),
        ),
    ),
)
