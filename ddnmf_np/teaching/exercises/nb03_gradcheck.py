"""Exercises of notebook 3: the gradient check."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddnmf_np.engine.gradcheck import gradcheck
from ddnmf_np.engine.layers import Dense
from ddnmf_np.teaching.bugs import passes_all_ones_signal
from ddnmf_np.teaching.exercise import SEEDS, Exercise, Floats, pencil
from ddnmf_np.teaching.exercises.nb02_layer import draw_relu, layer_gradients


def _loss_problem(seed: int) -> tuple[Any, Floats, Floats, float]:
    rng = np.random.default_rng([seed, 4])
    size = (6, 4, 9)[seed]
    weights = rng.normal(size=size)

    def loss(theta: Floats) -> float:
        return float(np.sin(theta @ weights) + (theta**3).sum())

    return loss, rng.normal(size=size), rng.choice((-1.0, 1.0), size), 1e-2


def _constants(seed: int) -> tuple[float, float, float]:
    rng = np.random.default_rng([seed, 5])
    return 10.0 ** rng.uniform(-16, -7), float(rng.uniform(1, 90)), float(rng.uniform(0.1, 9))


def _judge_bug(answer: Any) -> tuple[bool, str]:
    """Accept a layer class whose forward is right and which gradcheck rejects."""
    if not (isinstance(answer, type) and issubclass(answer, Dense)):
        return False, "The answer is not a class that inherits from Dense."
    x = np.random.default_rng(0).uniform(size=(9, 11))
    outputs = []
    for kind in (Dense, answer):
        layer = kind(11, 3, "sigmoid")
        layer.allocate()
        assert layer.b is not None
        layer.b += 0.3
        outputs.append(layer.forward(x))
    if not np.array_equal(outputs[0], outputs[1]):
        return False, "Your layer's forward pass differs: plant the bug in backward only."
    report = gradcheck(answer(5, 3, "sigmoid"), verbose=False)
    if report.ok:
        return False, (
            "gradcheck accepts this layer, because every block of its gradient is right. Did you "
            "call super().backward(...) after your change, or give self.dW a new array? Change it "
            "in place: self.dW *= 2."
        )
    caught = ", ".join(
        f"{r.block} ({r.verdict}, relative error {r.error:.2g})"
        for r in report.results
        if r.verdict != "ok"
    )
    verdict = "misses it" if passes_all_ones_signal(answer, x) else "finds it too"
    return True, (
        f"  gradcheck finds your bug: {caught}.\n  The check with an all-ones signal {verdict}."
    )


def _judge_fool(answer: Any) -> tuple[bool, str]:
    """Accept a function whose dW is wrong but has the right sum."""
    for seed in SEEDS:
        x, h, W, g = draw_relu(seed)
        right = layer_gradients(x, g * (h > 0), W)[0]
        dW = np.asarray(answer(x, h, W, g))
        if dW.shape != right.shape or dW.dtype.kind not in "fiu":
            return False, f"Your function returned shape {dW.shape}; dW should be {right.shape}."
        if np.allclose(dW, right, rtol=1e-6, atol=0.0):
            return False, "This dW is right; make it wrong."
        size = float(np.linalg.norm(right))
        if not abs(float(dW.sum() - right.sum())) <= 1e-9 * size:
            return False, (
                f"The all-ones direction finds your bug: the sum of dW is {dW.sum():.6g}; it "
                f"should be {right.sum():.6g}."
            )
    error = float(np.linalg.norm(dW - right)) / size
    return True, (
        f"  The all-ones direction sees nothing, though dW is wrong by {error:.2g} of its length. "
        "Random signs would find it."
    )


EXERCISES = (
    Exercise(
        name="central-difference",
        nudge=(
            "draw theta on a line, with one step to the left and one to the right. How far "
            "apart are the ends?"
        ),
        task=(
            "a function that returns the central difference of a loss at theta along u, a number: "
            "the slope between one step forward and one step back."
        ),
        hint="`loss` is a function: call it at theta + step * u and at theta - step * u.",
        blocks=("slope",),
        problem=_loss_problem,
        reference=lambda loss, theta, u, step: (
            (loss(theta + step * u) - loss(theta - step * u)) / (2.0 * step)
        ),
        mistakes={
            "That is the one-sided difference.": lambda loss, theta, u, step: (
                (loss(theta + step * u) - loss(theta)) / step
            ),
            "The ends are two steps apart: divide by 2 * step.": lambda loss, theta, u, step: (
                loss(theta + step * u) - loss(theta - step * u)
            ),
        },
    ),
    Exercise(
        name="best-step",
        nudge="at the smallest value, the derivative with respect to h is zero.",
        task=(
            "a function that returns the step h at which h^2 / 6 * third + eta * loss / h is "
            "smallest, a number."
        ),
        hint="set the derivative with respect to h to zero, and solve for h^3.",
        blocks=("h",),
        problem=_constants,
        reference=lambda eta, loss, third: (3.0 * eta * loss / third) ** (1.0 / 3.0),
        mistakes={
            "That is h^3; take the cube root.": lambda eta, loss, third: 3.0 * eta * loss / third,
            "You took the square root; the exponent is 1/3.": lambda eta, loss, third: (
                (3.0 * eta * loss / third) ** 0.5
            ),
        },
    ),
    Exercise(
        name="plant-a-bug",
        nudge=(
            "which arrays does backward leave behind for others to use? Spoil one after it "
            "was computed."
        ),
        task=(
            "a class that inherits from Dense, with a right forward and a wrong backward; "
            "gradcheck must find the bug."
        ),
        hint=(
            "call dx = super().backward(g, direct) and spoil self.dW, self.db or dx afterwards, or "
            "spoil self.dh before."
        ),
        judge=_judge_bug,
    ),
    Exercise(
        name="fool-the-ones",
        nudge=(
            "the all-ones direction sees one number of dW. Which, and what leaves it unchanged?"
        ),
        task=(
            "a function of (x, h, W, g) that returns a wrong dW (out, in) of a ReLU layer which a "
            "check along the all-ones direction accepts."
        ),
        hint=(
            "that check sees only the sum of dW. Start from the right one, (g * (h > 0)).T @ x, "
            "and change it so that the sum stays."
        ),
        judge=_judge_fool,
    ),
    pencil(
        "pencil-difference",
        {"S": 3.01, "error": 0.01},
        {
            "That is the difference on one side; take (L(1 + h) - L(1 - h)) / (2 h).": (3.31, 0.31),
            "You divided by h, and not by 2 h.": (6.02, 3.02),
        },
        task="a function without arguments that returns the central difference S and S - 3.",
        nudge="1.1^3 = 1.331 and 0.9^3 = 0.729. How far apart are the two points?",
        hint="S = (1.331 - 0.729) / 0.2; the error is h^2 / 6 times the third derivative, 6.",
    ),
)
