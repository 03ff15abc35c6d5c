"""Exercises of notebook 2: one layer, forward and backward."""

from __future__ import annotations

import numpy as np

from ddnmf_np.teaching.exercise import Exercise, Floats, student_generator

Gradients = tuple[Floats, Floats, Floats]

_SIZES = ((7, 5, 3), (4, 6, 11), (9, 2, 13))
"""(n, in, out) of each problem."""


def draw(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x (n, in), W (out, in), b (out,) and the gradient g (n, out)."""
    n, fan_in, fan_out = _SIZES[seed]
    rng = np.random.default_rng([seed, 2])
    return (
        rng.uniform(0.0, 1.0, (n, fan_in)),
        rng.normal(size=(fan_out, fan_in)),
        rng.normal(size=fan_out),
        rng.normal(size=(n, fan_out)),
    )


def draw_relu(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return x, h, W and g of a ReLU layer."""
    x, W, b, g = draw(seed)
    return x, np.maximum(x @ W.T + b, 0.0), W, g


def layer_gradients(x: Floats, delta: Floats, W: Floats) -> Gradients:
    """Return dW, db and dx for a batch (equation 9)."""
    return delta.T @ x, delta.sum(axis=0), delta @ W


def _sample_problem(seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    x, W, b, g = draw(seed)
    return x[0], 1.0 / (1.0 + np.exp(-(W @ x[0] + b))), W, g[0]


def _sample_gradients(x: Floats, delta: Floats, W: Floats) -> Gradients:
    return np.outer(delta, x), delta, delta @ W


def pencil_numbers() -> dict[str, Floats]:
    """Return x, W, b and g of a small ReLU layer; the student's name decides which numbers.

    One of the two units is on, the other off.
    """
    rng = student_generator()
    while True:
        x, b = rng.integers(1, 5, 2), rng.integers(-2, 3, 2)
        W, g = rng.integers(-3, 4, (2, 2)), rng.integers(1, 4, 2) * rng.choice((-1, 1), 2)
        z = W @ x + b
        if z.min() < 0 < z.max():
            return {name: a.astype(float) for name, a in zip("xWbg", (x, W, b, g), strict=True)}


def _pencil(*, relu: bool = True) -> tuple[Floats, Floats, Floats, Floats]:
    x, W, b, g = pencil_numbers().values()
    h = np.maximum(W @ x + b, 0.0)
    delta = g * (h > 0) if relu else g
    return h, np.outer(delta, x), delta, delta @ W


NO_SLOPE = "f' is missing: this is the result with g instead of delta."

EXERCISES = (
    Exercise(
        name="dense-forward",
        nudge="write the shapes of x, W and b. Which product of x and W has shape (n, out)?",
        task="a function that returns h = ReLU(x W^T + b) for a batch, shape (n, out).",
        hint="in equation 1 for rows, x is (n, in) and W is (out, in), so the product is x @ W.T.",
        blocks=("h",),
        problem=lambda seed: draw(seed)[:3],
        reference=lambda x, W, b: np.maximum(x @ W.T + b, 0.0),
        mistakes={
            "The bias is missing.": lambda x, W, b: np.maximum(x @ W.T, 0.0),
            "The ReLU is missing.": lambda x, W, b: x @ W.T + b,
            "You added the bias after the ReLU; add it before.": lambda x, W, b: (
                np.maximum(x @ W.T, 0.0) + b
            ),
        },
    ),
    Exercise(
        name="slope-from-output",
        nudge=(
            "the slope of tanh at z can be written with tanh(z) alone, and tanh(z) is what "
            "you have."
        ),
        task="a function that returns the derivative f' of tanh, given h = tanh(z), in h's shape.",
        hint="d tanh(z) / dz = 1 - tanh(z)^2, and tanh(z) is h: you do not need z.",
        blocks=("f'",),
        problem=lambda seed: (np.tanh(draw(seed)[3]),),
        reference=lambda h: 1.0 - h**2,
        mistakes={
            "That is 1 - tanh(h)^2, but h is tanh(z) already.": lambda h: 1.0 - np.tanh(h) ** 2,
            "That is the slope of the sigmoid.": lambda h: h * (1.0 - h),
        },
    ),
    Exercise(
        name="layer-one-sample",
        nudge=(
            "go backward in three steps: through f, to the weights, to the input. Which "
            "quantity do the last two share?"
        ),
        task=(
            "a function that returns, for one sample and a sigmoid layer, dW (out, in), db (out,) "
            "and dx (in,), the gradients with respect to W, b and x."
        ),
        hint=(
            "F = np.diag(h * (1 - h)) is the diagonal matrix f'; delta = F @ g; dW is the outer "
            "product of delta and x, and dx = W.T @ delta (equation 9)."
        ),
        blocks=("dW", "db", "dx"),
        problem=_sample_problem,
        reference=lambda x, h, W, g: _sample_gradients(x, g * h * (1.0 - h), W),
        mistakes={NO_SLOPE: lambda x, h, W, g: _sample_gradients(x, g, W)},
    ),
    Exercise(
        name="dense-backward",
        nudge=(
            "it is exercise 2 for n samples. What happens to dW and db of the single samples, "
            "and what to dx?"
        ),
        task=(
            "a function that returns, for a batch and a ReLU layer, dW (out, in), db (out,) and "
            "dx (n, in)."
        ),
        hint=(
            "delta = f' * g, where f' is 1 where h > 0 and else 0. Sum over the batch: "
            "dW = delta.T @ x and db = delta.sum(axis=0). Then dx = delta @ W (equation 9)."
        ),
        blocks=("dW", "db", "dx"),
        problem=draw_relu,
        reference=lambda x, h, W, g: layer_gradients(x, g * (h > 0), W),
        mistakes={
            NO_SLOPE: lambda x, h, W, g: layer_gradients(x, g, W),
            "g is missing: delta = f' * g, not f'.": lambda x, h, W, g: layer_gradients(
                x, (h > 0) * 1.0, W
            ),
        },
    ),
    Exercise(
        name="pencil-layer",
        nudge=(
            "compute z = W x + b first. A unit with z < 0 is off: what does that mean for its "
            "row of dW?"
        ),
        task=(
            "a function without arguments that returns h (2,), dW (2, 2), db (2,) and dx (2,) of "
            "a ReLU layer for one sample, as numbers that you computed by hand from your x, W, b "
            "and g."
        ),
        hint=(
            "z = W x + b, h = max(z, 0), delta = g where h > 0 and else 0; row k of dW is delta_k "
            "times x, db is delta, and dx = W^T delta."
        ),
        blocks=("h", "dW", "db", "dx"),
        problem=lambda seed: (),
        reference=lambda: _pencil(),
        mistakes={NO_SLOPE: lambda: _pencil(relu=False)},
    ),
)
