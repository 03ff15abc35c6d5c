"""Exercises of notebook 1: NMF from scratch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddnmf_np.evaluation.interpret import hoyer_sparsity
from ddnmf_np.teaching.exercise import Exercise, Floats, pencil
from ddnmf_np.teaching.nmf import multiplicative_step

_SIZES = ((7, 5, 3), (4, 9, 2), (11, 6, 5))
"""(n, D, rank) of each problem."""


def _problem(seed: int) -> tuple[Floats, Floats, Floats]:
    n, width, rank = _SIZES[seed]
    rng = np.random.default_rng([seed, 1])
    x, H, W = (rng.uniform(0.1, 1.0, shape) for shape in ((n, width), (n, rank), (width, rank)))
    return x, H, W


def _parts_problem(seed: int) -> tuple[Floats]:
    shape = _SIZES[seed][:2]
    rng = np.random.default_rng([seed, 3])
    sizes = rng.uniform(size=shape) * (rng.uniform(size=shape) < 0.7) + 0.01
    return (sizes * rng.choice((-1.0, 1.0), shape),)  # components of PCA have both signs


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
        nudge=(
            "write F as a sum over i and j, and take the derivative with respect to one H_ik. "
            "Which entries of x - H W^T contain it?"
        ),
        task=(
            "a function that returns the gradient of 1/2 ||x - H W^T||^2 with respect to H, "
            "shape (n, rank)."
        ),
        hint=(
            "write R = H W^T - x. H_ik enters the entries R_ij of row i, each with the factor "
            "W_jk. Add them up over j: which matrix product is that?"
        ),
        blocks=("dH",),
        problem=_problem,
        reference=lambda x, H, W: (H @ W.T - x) @ W,  # (n, D) @ (D, rank) -> (n, rank)
        mistakes={
            "You forgot H in the residual, which is H W^T - x.": lambda x, H, W: -x @ W,
        },
    ),
    Exercise(
        name="nmf-step",
        nudge="which of the two updates uses a matrix that the other has just changed?",
        task=(
            "a function that updates H first and then W, with the new H, and returns both: H "
            "(n, rank) and W (D, rank)."
        ),
        hint=(
            "each update multiplies, entry by entry, by the negative part of the gradient divided "
            "by the positive part. For W the parts are x.T @ H and W @ (H.T @ H)."
        ),
        blocks=("H", "W"),
        problem=_problem,
        reference=multiplicative_step,
        tolerance=1e-6,  # a small number in the divisor, against zeros, is right
        mistakes={
            "You updated W with the old H; use the new one.": lambda x, H, W: (
                multiplicative_step(x, H, W)[0],
                multiplicative_step(x.T, W, H)[0],
            ),
            "Your quotient is upside down.": _upside_down,
        },
    ),
    Exercise(
        name="hoyer-sparsity",
        nudge=(
            "compute it on paper for the rows (1, 0, 0, 0) and (1, 1, 1, 1): you should get 1 "
            "and 0."
        ),
        task=(
            "a function that returns Hoyer's sparsity of each row w of `parts` (rank, D), shape "
            "(rank,): (sqrt(D) - ||w||_1 / ||w||_2) / (sqrt(D) - 1)."
        ),
        hint=(
            "||w||_1 is the sum of the absolute values and ||w||_2 the root of the sum of squares, "
            "both along axis 1. A row with one entry has sparsity 1, a constant row 0."
        ),
        blocks=("sparsity",),
        problem=_parts_problem,
        reference=hoyer_sparsity,
        mistakes={
            "You forgot to divide by sqrt(D) - 1.": lambda parts: (
                hoyer_sparsity(parts) * (np.sqrt(parts.shape[1]) - 1.0)
            ),
            "You forgot the absolute values: entries of opposite sign cancel.": _signed_sparsity,
            "You computed the sparsity of the columns.": lambda parts: hoyer_sparsity(parts.T),
        },
    ),
    pencil(
        "pencil-update",
        {"H": 3.0, "F": 1.0},
        {"You forgot the half in F.": (3.0, 2.0)},
        task="a function without arguments that returns the new H and F after the update, by hand.",
        nudge="both x W and H W^T W are single numbers here. What is their quotient?",
        hint="x W = 2 + 4, H W^T W = 1 (1 + 1), and F is half of (2 - H)^2 + (4 - H)^2.",
    ),
)
