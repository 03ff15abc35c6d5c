"""Exercises of notebook 4: the supervisor."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Ops
from ddnmf_np.engine.losses import Objective
from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching.exercise import Exercise, Mistake
from ddnmf_np.teaching.exercises.nb02_layer import backward, draw, engine_layer

Floats = npt.NDArray[np.float64]

_SHAPES = ((7, 11, 5, 3), (4, 6, 9, 2), (9, 8, 13, 5))
"""(n, D, hidden width, code width) of each problem."""


def _loss_problem(seed: int) -> tuple[Floats, Floats, float]:
    rng = np.random.default_rng([seed, 6])
    n, width = _SHAPES[seed][:2]
    return rng.uniform(size=(n, width)), rng.uniform(size=(n, width)), (0.7, 1.3, 0.4)[seed]


def _loss(x: Floats, y: Floats, alpha: float) -> tuple[float, Floats]:
    ops, work, total, g = Ops(), np.empty_like(y), np.zeros(1), np.zeros_like(y)
    ops.squared_distance(y, x, work, total)
    ops.add_direct(y, x, 2.0 * alpha / len(x), g, work)
    return float(total[0]) / len(x), g


def _supervisor(seed: int) -> tuple[Model, Floats]:
    n, width, hidden, code = _SHAPES[seed]
    rng = np.random.default_rng([seed, 7])
    shape, objective = Architecture(widths=(hidden, code), rank=2), Objective(alpha_sym=0.7)
    model = Model(width, shape, objective, dtype="float64", seed=seed, rows=n)
    for layer in model.supervisor.layers:
        assert layer.b is not None
        layer.b[...] = rng.uniform(0.0, 0.3, layer.b.shape)
    return model, rng.uniform(size=(n, width))


def _gradient_problem(seed: int) -> tuple[list[Floats], list[Floats], Floats]:
    model, x = _supervisor(seed)
    network = model.supervisor
    y = network.forward(x)
    h = [array.copy() for array in network.h]
    return h, [layer.W.copy() for layer in network.layers], 2.0 * 0.7 / len(x) * (y - x)


_BLOCKS = tuple(f"{kind}{layer}" for layer in range(4, 0, -1) for kind in ("W", "b"))


def _gradient(h: list[Floats], W: list[Floats], g: Floats) -> dict[str, Floats]:
    """Return equation 9's gradients from the engine, one layer after the other."""
    found: dict[str, Floats] = {}
    for number in range(len(W), 0, -1):
        dW, db, g = backward("relu", h[number - 1], h[number], W[number - 1], g)
        found |= {f"W{number}": dW, f"b{number}": db}
    return found


def _recurse(h: Any, W: Any, g: Any, *, slope: bool, pass_g: bool) -> dict[str, Floats]:
    """Return what two usual mistakes give: no f' anywhere, or g passed on in place of delta."""
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


def _descent(theta: Floats, gradient: Floats, lr: float) -> Floats:
    moved = theta.copy()
    Ops().descend(moved, gradient, lr, np.empty_like(theta))
    return moved


def _silent_problem(seed: int) -> tuple[Floats]:
    x, W, b, _ = draw(seed)
    b = b - 4.0 * (np.arange(len(b)) % 2)  # every other unit is off, at least for most samples
    return (engine_layer(W, b, "relu").forward(x).copy(),)


def _silent(h: Floats) -> npt.NDArray[np.bool_]:
    """Return which units have delta = 0 for every sample, whatever the signal."""
    delta = np.ones_like(h)
    Ops().delta("relu", h, delta, (), np.empty_like(h), None)
    return np.asarray(~delta.any(axis=0))


EXERCISES = (
    Exercise(
        name="symmetric-loss",
        task=(
            "a function that returns loss_sym, a number (equation 4), and g (n, D), the gradient "
            "of alpha * loss_sym by y (equation 9, the top)."
        ),
        hint="loss_sym is a mean over samples, of sums over features; alpha is in g alone.",
        blocks=("loss_sym", "g"),
        problem=_loss_problem,
        reference=_loss,
        mistakes=(
            Mistake(
                "The features are averaged too; equation 4 sums them.",
                lambda x, y, alpha: (((x - y) ** 2).mean(), 2 * alpha / x.size * (y - x)),
            ),
            Mistake(
                "alpha is in the loss (and not in g); it belongs to g alone.",
                lambda x, y, alpha: (
                    alpha * ((x - y) ** 2).sum() / len(x),
                    2 / len(x) * (y - x),
                ),
            ),
        ),
    ),
    Exercise(
        name="supervisor-gradient",
        task=(
            "a function that returns a dict of the gradients of all ReLU layers: 'W1', 'b1', ... "
            "'W4', 'b4'. h[0] is the input and h[l] the output of layer l; W[l - 1] belongs to "
            "layer l; g is the gradient by h[4]."
        ),
        hint=(
            "go from l = 4 down to 1: delta = f' * g, dW = delta.T @ h[l - 1], db the sum of "
            "delta's rows, and the next g is delta @ W[l - 1] (equation 9)."
        ),
        blocks=_BLOCKS,
        problem=_gradient_problem,
        reference=_gradient,
        mistakes=(
            Mistake(
                "f' is missing in this layer or in one above.",
                lambda h, W, g: _recurse(h, W, g, slope=False, pass_g=False),
            ),
            Mistake(
                "What goes down to the layer below is delta @ W, not g @ W.",
                lambda h, W, g: _recurse(h, W, g, slope=True, pass_g=True),
            ),
        ),
    ),
    Exercise(
        name="descent-step",
        task="a function that returns theta after one step of equation 8, an array of its own.",
        hint="against the gradient, by lr times its length.",
        blocks=("theta",),
        problem=_descent_problem,
        reference=_descent,
        mistakes=(
            Mistake("That goes uphill.", lambda theta, gradient, lr: theta + lr * gradient),
            Mistake(
                "That is the step alone; subtract it from theta.",
                lambda theta, gradient, lr: lr * gradient,
            ),
        ),
    ),
    Exercise(
        name="silent-units",
        task=(
            "a function that returns, for the output h (n, out) of a ReLU layer, which units pass "
            "no signal for any sample of the batch: an array of True and False, shape (out,)."
        ),
        hint="a unit passes a signal for a sample where f' is 1, that is where h > 0.",
        blocks=("silent",),
        problem=_silent_problem,
        reference=_silent,
        mistakes=(
            Mistake(
                "Those units are off for some sample; asked for are those that are off for all.",
                lambda h: (h == 0).any(axis=0),
            ),
            Mistake("Those are the units that do pass a signal.", lambda h: (h > 0).any(axis=0)),
        ),
    ),
)
