"""Exercises of notebook 4: the supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ddnmf_np.teaching.exercise import Exercise, Floats, pencil
from ddnmf_np.teaching.exercises.nb02_layer import draw

_SHAPES = ((7, 11, 5, 3), (4, 6, 9, 2), (9, 8, 13, 5))
"""(n, D, hidden width, code width) of each problem."""


def run_network(
    rng: np.random.Generator, n: int, widths: Sequence[int], base: int | None = None
) -> tuple[list[Floats], list[Floats]]:
    """Draw a ReLU network and n samples; return the output h[l] of each layer, and the weights.

    ``h[0]`` is the input and ``W[l - 1]`` belongs to layer l. The layers ``base`` and ``base + 1``
    are an NMF module: a sigmoid and a ReLU, without bias.
    """
    h, W = [rng.uniform(size=(n, widths[0]))], []
    for number, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        W.append(rng.normal(size=(fan_out, fan_in)) / np.sqrt(fan_in))
        z = h[-1] @ W[-1].T
        if base is None or number not in (base, base + 1):
            z += rng.uniform(0.0, 0.3, fan_out)
        h.append(1.0 / (1.0 + np.exp(-z)) if number == base else np.maximum(z, 0.0))
    return h, W


def _loss_problem(seed: int) -> tuple[Floats, Floats, float]:
    rng = np.random.default_rng([seed, 6])
    n, width = _SHAPES[seed][:2]
    return rng.uniform(size=(n, width)), rng.uniform(size=(n, width)), (0.7, 1.3, 0.4)[seed]


def _gradient_problem(seed: int) -> tuple[list[Floats], list[Floats], Floats]:
    n, width, hidden, code = _SHAPES[seed]
    rng = np.random.default_rng([seed, 7])
    h, W = run_network(rng, n, (width, hidden, code, hidden, width))
    return h, W, 2.0 * 0.7 / n * (h[-1] - h[0])


def _gradient(
    h: Any, W: Any, g: Any, *, slope: bool = True, pass_g: bool = False
) -> dict[str, Floats]:
    """Return equation 9's gradients, or those without f', or with g passed on instead of delta."""
    found: dict[str, Floats] = {}
    for number in range(len(W), 0, -1):
        delta = g * (h[number] > 0) if slope else g
        found |= {f"W{number}": delta.T @ h[number - 1], f"b{number}": delta.sum(axis=0)}
        g = (g if pass_g else delta) @ W[number - 1]
    return found


def _descent_problem(seed: int) -> tuple[Floats, Floats, float]:
    rng = np.random.default_rng([seed, 8])
    size = (7, 4, 11)[seed]
    return rng.normal(size=size), rng.normal(size=size), (0.1, 0.03, 0.5)[seed]


def _silent_problem(seed: int) -> tuple[Floats]:
    x, W, b, _ = draw(seed)
    b = b - 4.0 * (np.arange(len(b)) % 2)  # every other unit is off, at least for most samples
    return (np.maximum(x @ W.T + b, 0.0),)


EXERCISES = (
    Exercise(
        name="symmetric-loss",
        nudge="which axis is summed and which is averaged? And where does alpha appear?",
        task=(
            "a function that returns loss_sym, a number (equation 4), and g (n, D), the gradient "
            "of alpha * loss_sym with respect to y (equation 9, the top)."
        ),
        hint="loss_sym sums over features and averages over samples; only g contains alpha.",
        blocks=("loss_sym", "g"),
        problem=_loss_problem,
        reference=lambda x, y, alpha: (((x - y) ** 2).sum() / len(x), 2 * alpha / len(x) * (y - x)),
        mistakes={
            "You averaged over the features too; equation 4 sums them.": lambda x, y, alpha: (
                ((x - y) ** 2).mean(),
                2 * alpha / x.size * (y - x),
            ),
            "alpha belongs in g, not in loss_sym.": lambda x, y, alpha: (
                alpha * ((x - y) ** 2).sum() / len(x),
                2 / len(x) * (y - x),
            ),
        },
    ),
    Exercise(
        name="supervisor-gradient",
        nudge=(
            "it is the batch exercise of notebook 2, four times. What does each layer hand to "
            "the one below?"
        ),
        task=(
            "a function that returns a dict of the gradients of all ReLU layers: 'W1', 'b1', ... "
            "'W4', 'b4'. h[0] is the input and h[l] the output of layer l; W[l - 1] belongs to "
            "layer l; g is the gradient with respect to h[4]."
        ),
        hint=(
            "go from l = 4 down to 1: delta = f' * g and dW = delta.T @ h[l - 1]; db is the sum of "
            "delta's rows, and the next g is delta @ W[l - 1] (equation 9)."
        ),
        blocks=tuple(f"{kind}{layer}" for layer in range(4, 0, -1) for kind in ("W", "b")),
        problem=_gradient_problem,
        reference=_gradient,
        mistakes={
            "f' is missing in this layer or in one above.": lambda h, W, g: _gradient(
                h, W, g, slope=False
            ),
            "Pass delta @ W to the layer below, not g @ W.": lambda h, W, g: _gradient(
                h, W, g, pass_g=True
            ),
        },
    ),
    Exercise(
        name="descent-step",
        nudge="the gradient points uphill.",
        task="a function that returns theta after one step of equation 8, as a new array.",
        hint="go against the gradient, by lr times the gradient.",
        blocks=("theta",),
        problem=_descent_problem,
        reference=lambda theta, gradient, lr: theta - lr * gradient,
        mistakes={
            "Your step goes uphill; subtract lr times the gradient.": lambda theta, gradient, lr: (
                theta + lr * gradient
            ),
            "That is only the step; subtract it from theta.": lambda theta, gradient, lr: (
                lr * gradient
            ),
        },
    ),
    Exercise(
        name="silent-units",
        nudge=("for one unit, look at its column of h. When does no sample send a signal through?"),
        task=(
            "a function that returns, for the output h (n, out) of a ReLU layer, which units pass "
            "no signal for any sample of the batch: an array of True and False, shape (out,)."
        ),
        hint="a unit passes a signal for a sample where f' is 1, that is, where h > 0.",
        blocks=("silent",),
        problem=_silent_problem,
        reference=lambda h: ~(h > 0).any(axis=0),
        mistakes={
            "Those units are off for some sample; find the units that are off for all.": lambda h: (
                h == 0
            ).any(axis=0),
            "Those are the units that do pass a signal.": lambda h: (h > 0).any(axis=0),
        },
    ),
    pencil(
        "pencil-loss",
        {"loss": 0.5, "g": [-1.0, 1.0]},
        {"You took the mean over the features, not the sum.": (0.25, [-0.5, 0.5])},
        task="a function without arguments that returns L_sym and g (2,), computed by hand.",
        nudge="y - x has two entries. Where does each go in the loss, and where in the gradient?",
        hint="L_sym is the sum of the squares of y - x = (-0.5, 0.5), and g = 2 (y - x).",
    ),
)
