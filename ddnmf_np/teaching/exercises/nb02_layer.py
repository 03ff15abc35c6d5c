"""Exercises of notebook 2: one layer, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Ops
from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching.exercise import Exercise, Mistake

Floats = npt.NDArray[np.float64]
Gradients = tuple[Floats, Floats, Floats]

_SIZES = ((7, 5, 3), (4, 6, 11), (9, 2, 13))
"""(n, in, out) of each problem."""


def engine_layer(W: Floats, b: Floats | None, activation: str, kind: type[Dense] = Dense) -> Dense:
    """Return a layer of the engine, or of a class derived from it, with these weights."""
    layer = kind(W.shape[1], W.shape[0], activation, bias=b is not None)
    layer.allocate()
    layer.W[...] = W
    if layer.b is not None:
        layer.b[...] = b
    return layer


def draw(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x (n, in), W (out, in), b (out,) and a signal g (n, out)."""
    n, fan_in, fan_out = _SIZES[seed]
    rng = np.random.default_rng([seed, 2])
    return (
        rng.uniform(0.0, 1.0, (n, fan_in)),
        rng.normal(size=(fan_out, fan_in)),
        rng.normal(size=fan_out),
        rng.normal(size=(n, fan_out)),
    )


def _forward(x: Floats, W: Floats, b: Floats) -> Floats:
    return engine_layer(W, b, "relu").forward(x).copy()


def backward(activation: str, x: Floats, h: Floats, W: Floats, g: Floats) -> Gradients:
    """Return dW, db and dx as `Dense.backward` computes them."""
    layer = engine_layer(W, np.zeros(len(W)), activation)
    layer.forward(x)[...] = h
    dx = layer.backward(g)
    assert layer.db is not None
    assert dx is not None
    return layer.dW.copy(), layer.db.copy(), dx


def _backward_problem(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    x, W, b, g = draw(seed)
    return x, _forward(x, W, b), W, g


def _backward(x: Floats, h: Floats, W: Floats, g: Floats) -> Gradients:
    return backward("relu", x, h, W, g)


def _sample_problem(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    x, W, b, g = draw(seed)
    return x[0], engine_layer(W, b, "sigmoid").forward(x[:1])[0].copy(), W, g[0]


def _sample(x: Floats, h: Floats, W: Floats, g: Floats) -> Gradients:
    dW, db, dx = backward("sigmoid", x[None], h[None], W, g[None])
    return dW, db, dx[0]


def _slope_problem(seed: int) -> tuple[Floats]:
    return (np.tanh(draw(seed)[3]),)


def _slope(h: Floats) -> Floats:
    slope = np.ones_like(h)  # f' = delta for g = 1
    Ops().dactivate("tanh", h, slope, np.empty_like(h))
    return slope


def _without_slope(x: Any, h: Any, W: Any, g: Any) -> Gradients:
    return g.T @ x, g.sum(axis=0), g @ W


EXERCISES = (
    Exercise(
        name="dense-forward",
        task="a function that returns h = ReLU(x W^T + b) for a batch, shape (n, out).",
        hint="equation 1 for rows: x is (n, in) and W is (out, in), so it is x @ W.T.",
        blocks=("h",),
        problem=lambda seed: draw(seed)[:3],
        reference=_forward,
        mistakes=(
            Mistake("The bias is missing.", lambda x, W, b: np.maximum(x @ W.T, 0.0)),
            Mistake("The ReLU is missing.", lambda x, W, b: x @ W.T + b),
            Mistake(
                "The bias is added after the ReLU.", lambda x, W, b: np.maximum(x @ W.T, 0.0) + b
            ),
        ),
    ),
    Exercise(
        name="slope-from-output",
        task="a function that returns the derivative f' of tanh, given h = tanh(z), in h's shape.",
        hint="d tanh(z) / dz = 1 - tanh(z)^2, and tanh(z) is h: no z is needed.",
        blocks=("f'",),
        problem=_slope_problem,
        reference=_slope,
        mistakes=(
            Mistake(
                "That is 1 - tanh(h)^2: h is tanh(z) already.", lambda h: 1.0 - np.tanh(h) ** 2
            ),
            Mistake("That is the slope of the sigmoid.", lambda h: h * (1.0 - h)),
        ),
    ),
    Exercise(
        name="layer-one-sample",
        task=(
            "a function that returns, for one sample and a sigmoid layer, dW (out, in), db (out,) "
            "and dx (in,), the gradients by W, b and x."
        ),
        hint=(
            "F = np.diag(h * (1 - h)) is the diagonal matrix f'; delta = F @ g; dW is the outer "
            "product of delta and x, and dx = W.T @ delta (equation 9)."
        ),
        blocks=("dW", "db", "dx"),
        problem=_sample_problem,
        reference=_sample,
        mistakes=(
            Mistake(
                "f' is missing: this is what comes out with g in place of delta.",
                lambda x, h, W, g: (np.outer(g, x), g, g @ W),
            ),
        ),
    ),
    Exercise(
        name="dense-backward",
        task=(
            "a function that returns, for a batch and a ReLU layer, dW (out, in), db (out,) and "
            "dx (n, in)."
        ),
        hint=(
            "delta = f' * g with f' = 1 where h > 0, else 0. Then the sums over the batch: "
            "dW = delta.T @ x, db = delta.sum(axis=0); and dx = delta @ W (equation 9)."
        ),
        blocks=("dW", "db", "dx"),
        problem=_backward_problem,
        reference=_backward,
        mistakes=(
            Mistake(
                "f' is missing: this is what comes out with g in place of delta.", _without_slope
            ),
            Mistake(
                "g is missing: f' alone is not the signal.",
                lambda x, h, W, g: _without_slope(x, h, W, (h > 0) * 1.0),
            ),
        ),
    ),
)
