"""Exercises of notebook 3, on the gradient check."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching.bugs import passes_all_ones_signal
from ddnmf_np.teaching.exercise import SEEDS, Exercise, Mistake
from ddnmf_np.teaching.exercises.nb02_layer import backward, draw, engine_layer

Floats = npt.NDArray[np.float64]


def _loss_problem(seed: int) -> tuple[Any, Floats, Floats, float]:
    rng = np.random.default_rng([seed, 4])
    size = (6, 4, 9)[seed]
    weights = rng.normal(size=size)

    def loss(theta: Floats) -> float:
        return float(np.sin(theta @ weights) + (theta**3).sum())

    return loss, rng.normal(size=size), rng.choice((-1.0, 1.0), size), 1e-2


def _central(loss: Any, theta: Floats, u: Floats, step: float) -> float:
    return float((loss(theta + step * u) - loss(theta - step * u)) / (2.0 * step))


def _constants(seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng([seed, 5])
    return 10.0 ** rng.uniform(-16, -7), float(rng.uniform(1, 90)), float(rng.uniform(0.1, 9))


def _best_step(eta: float, loss: float, third: float) -> float:
    return float((3.0 * eta * loss / third) ** (1.0 / 3.0))


def _judge_bug(answer: Any) -> tuple[bool, str]:
    """Accept a layer class that runs forward rightly and that gradcheck rejects."""
    if not (isinstance(answer, type) and issubclass(answer, Dense)):
        return False, "The answer is not a class that inherits from Dense."
    x, W, b, _ = draw(0)
    broken, right = engine_layer(W, b, "sigmoid", answer), engine_layer(W, b, "sigmoid")
    if not np.array_equal(broken.forward(x), right.forward(x)):
        return False, "The forward pass is another one: plant the bug in backward alone."
    report = gradcheck(answer(W.shape[1], W.shape[0], "sigmoid"), verbose=False)
    if report.ok:
        return False, (
            "gradcheck accepts this layer: every block of its gradient is right. What you have "
            "changed makes no difference. Was super().backward(...) called after the change? Was "
            "self.dW given a new array? Change it in place: self.dW *= 2."
        )
    caught = ", ".join(
        f"{r.block} ({r.verdict}, relative error {r.error:.2g})"
        for r in report.results
        if r.verdict != "ok"
    )
    missed = passes_all_ones_signal(answer, np.random.default_rng(0).uniform(size=(9, 11)))
    return True, (
        f"  gradcheck has found it: {caught}.\n"
        f"  The check with an all-ones signal {'lets it pass' if missed else 'finds it too'}."
    )


def _judge_fool(answer: Any) -> tuple[bool, str]:
    """Accept a function whose dW is wrong but has the right sum."""
    for seed in SEEDS:
        x, W, b, g = draw(seed)
        h = engine_layer(W, b, "relu").forward(x).copy()
        right = backward("relu", x, h, W, g)[0]
        arguments = (x.copy(), h.copy(), W.copy(), g.copy())
        dW = np.asarray(answer(*arguments))
        if dW.shape != right.shape or dW.dtype.kind not in "fiu":
            return False, f"It returned shape {dW.shape}; expected dW, shape {right.shape}."
        if np.allclose(dW, right, rtol=1e-6, atol=0.0):
            return False, "This dW is right. It is to be wrong."
        size = float(np.linalg.norm(right))
        if not abs(float(dW.sum() - right.sum())) <= 1e-9 * size:
            return False, (
                f"The all-ones direction finds it: the sum is {dW.sum():.6g} in place of "
                f"{right.sum():.6g}."
            )
    error = float(np.linalg.norm(dW - right)) / size
    return True, (
        f"  The all-ones direction sees nothing, though dW is wrong by {error:.2g} of its length. "
        "Random signs see it."
    )


EXERCISES = (
    Exercise(
        name="central-difference",
        task=(
            "a function that returns the central difference of a loss at theta along u, a number: "
            "the slope between one step forwards and one step back."
        ),
        hint="`loss` is a function: call it at theta + step * u and at theta - step * u.",
        blocks=("slope",),
        problem=_loss_problem,
        reference=_central,
        mistakes=(
            Mistake(
                "That is the one-sided difference.",
                lambda loss, theta, u, step: (loss(theta + step * u) - loss(theta)) / step,
            ),
            Mistake(
                "The ends are two steps apart: divide by 2 * step.",
                lambda loss, theta, u, step: loss(theta + step * u) - loss(theta - step * u),
            ),
        ),
    ),
    Exercise(
        name="best-step",
        task=(
            "a function that returns the step h at which h^2 / 6 * third + eta * loss / h is "
            "smallest, a number."
        ),
        hint="set the derivative by h to zero, and solve for h^3.",
        blocks=("h",),
        problem=_constants,
        reference=_best_step,
        mistakes=(
            Mistake(
                "That is h^3; take the cube root.",
                lambda eta, loss, third: 3.0 * eta * loss / third,
            ),
            Mistake(
                "That is the best step of a one-sided difference, or nearly: the exponent is 1/3.",
                lambda eta, loss, third: (3.0 * eta * loss / third) ** 0.5,
            ),
        ),
    ),
    Exercise(
        name="plant-a-bug",
        task=(
            "a class that inherits from Dense, whose forward is right and whose backward is not; "
            "gradcheck must find it."
        ),
        hint=(
            "call dx = super().backward(g, direct) and spoil self.dW, self.db or dx afterwards; or "
            "spoil self.dh before."
        ),
        judge=_judge_bug,
    ),
    Exercise(
        name="fool-the-ones",
        task=(
            "a function of (x, h, W, g) that returns a wrong dW (out, in) of a ReLU layer which a "
            "check along the direction of ones cannot tell from the right one."
        ),
        hint=(
            "that check sees the sum of dW alone. Start from the right one, (g * (h > 0)).T @ x, "
            "and change it so that the sum stays."
        ),
        judge=_judge_fool,
    ),
)
