"""Exercises of notebook 6: training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching.exercise import Exercise, Floats, pencil


def _noise_problem(seed: int) -> tuple[Floats, npt.NDArray[np.bool_], float]:
    shape, rate = ((7, 11), (5, 9), (8, 6))[seed], (0.2, 0.5, 0.35)[seed]
    rng = np.random.default_rng([seed, 12])
    return rng.uniform(0.1, 1.0, shape), rng.uniform(size=shape) >= rate, rate


def _adam_problem(seed: int) -> tuple[Any, ...]:
    rng = np.random.default_rng([seed, 13])
    size, t = (7, 5, 11)[seed], (1, 3, 40)[seed]
    theta, g, m = rng.normal(size=(3, size))
    v = rng.uniform(0.1, 1.0, size)
    if t == 1:
        m, v = np.zeros(size), np.zeros(size)
    return theta, g, m, v, t, (0.1, 0.01, 0.003)[seed], 0.9, 0.99, 1e-2


def _adam(
    theta: Any, g: Any, m: Any, v: Any, t: float, lr: float, b1: float, b2: float, eps: float
) -> tuple[Floats, Floats, Floats]:
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def _corrected_moments(theta: Any, g: Any, m: Any, v: Any, *rest: Any) -> tuple[Floats, ...]:
    t, _, b1, b2, _ = rest
    theta, m, v = _adam(theta, g, m, v, *rest)
    return theta, m / (1 - b1**t), v / (1 - b2**t)


def _epsilon_under_the_root(theta: Any, g: Any, m: Any, v: Any, *rest: Any) -> tuple[Floats, ...]:
    t, lr, b1, b2, eps = rest
    _, m, v = _adam(theta, g, m, v, *rest)
    return theta - lr * m / (1 - b1**t) / np.sqrt(v / (1 - b2**t) + eps), m, v


_SHAPES = ((7, 11, 5, 3), (4, 9, 6, 2), (9, 8, 7, 5))
"""(n, D, code width, rank) of each problem."""

_BLOCKS = tuple(
    f"{net}.{block}"
    for net, blocks in (("supervisor", "W1 b1 W2 b2"), ("student", "W1 b1 W_base W_rec W4 b4"))
    for block in blocks.split()
)


def _step_problem(seed: int) -> tuple[Model, Floats, Floats, float]:
    n, width, code, rank = _SHAPES[seed]
    rng = np.random.default_rng([seed, 14])
    x = rng.uniform(size=(n, width))
    x_noisy = x * (rng.uniform(size=x.shape) > 0.3)
    model = Model(width, Architecture((code,), rank), dtype="float64", seed=seed, rows=n)
    return model, x, x_noisy, (0.05, 0.01, 0.02)[seed]


def _run_step(
    answer: Callable[..., object], model: Model, x: Floats, x_noisy: Floats, lr: float
) -> dict[str, Any]:
    """Return the parameters after the answer has moved them in place."""
    arenas = [net.arena.params for net in model.nets.values()]
    before = {name: block.copy() for name, block in model.state().items()}
    answer(model, x, x_noisy, lr)
    after = model.state()
    if all(np.array_equal(before[name], after[name]) for name in before):
        raise NotImplementedError
    if any(
        net.arena.params is not old for net, old in zip(model.nets.values(), arenas, strict=True)
    ):
        raise ValueError(
            "arena.params is a new array, but the layers still use the old one. Change it in "
            "place: -="
        )
    return {name: after[name].copy() for name in _BLOCKS}


def _algorithm_1(model: Model, x: Any, x_noisy: Any, lr: float, *, target: Any = None) -> None:
    """Take the step, or one with another target or, if lr is negative, uphill."""
    model.forward(x, x_noisy)
    model.backward(x if target is None else target)
    for net in model.nets.values():
        net.arena.params -= lr * net.arena.grads


def _one_after_the_other(model: Model, x: Floats, x_noisy: Floats, lr: float) -> None:
    for net in model.nets.values():
        model.forward(x, x_noisy)
        model.backward(x)
        net.arena.params -= lr * net.arena.grads


EXERCISES = (
    Exercise(
        name="masking-noise",
        nudge="if a share `rate` of the pixels is lost, by which factor does the mean fall?",
        task=(
            "a function that returns x_noisy (n, D): entries where keep is False are 0, and the "
            "others are divided by 1 - rate, so that the expected value of an entry stays the same."
        ),
        hint="keep is an array of True and False, which multiply as 1 and 0 (equation 2).",
        blocks=("x_noisy",),
        problem=_noise_problem,
        reference=lambda x, keep, rate: x * keep / (1 - rate),
        mistakes={
            "You forgot to divide by 1 - rate.": lambda x, keep, rate: x * keep,
            "You kept the entries that should go.": lambda x, keep, rate: x * ~keep / (1 - rate),
            "You divided by rate instead of 1 - rate.": lambda x, keep, rate: x * keep / rate,
        },
    ),
    Exercise(
        name="adam-step",
        nudge=(
            "there are four lines: m, v, and the two corrected values. Which ones does the "
            "next step need?"
        ),
        task=(
            "a function that returns theta, m and v after step t of Adam, as new arrays: "
            "m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, and theta moves by "
            "-lr (m / c1) / (sqrt(v / c2) + eps) with c1 = 1 - b1^t and c2 = 1 - b2^t."
        ),
        hint="use the corrections c1 and c2 in the step, not in the m and v that you return.",
        blocks=("theta", "m", "v"),
        problem=_adam_problem,
        reference=_adam,
        mistakes={
            "The corrections c1 and c2 are missing.": lambda theta, g, m, v, t, *rest: _adam(
                theta, g, m, v, np.inf, *rest
            ),  # b^t is 0, so that c1 and c2 are 1
            "eps is under the root; add it after the root.": _epsilon_under_the_root,
            "You returned the corrected m and v; return them as they were.": _corrected_moments,
        },
    ),
    Exercise(
        name="algorithm-1-step",
        nudge=(
            "equations 1, 9 and 10 come before equation 8, for both networks. Which x does "
            "each part compare with?"
        ),
        task=(
            "a function that takes one step of algorithm 1 with plain gradient descent (equation "
            "8) on both networks of the model, in place. Each network model.nets[name] has the "
            "flat arrays arena.params and arena.grads."
        ),
        hint=(
            "model.forward(x, x_noisy), then model.backward(x), then arena.params -= lr * "
            "arena.grads for both; the losses compare with the clean x."
        ),
        blocks=_BLOCKS,
        problem=_step_problem,
        reference=_algorithm_1,
        run=_run_step,
        mistakes={
            "The supervisor moved before you computed the student's gradient. Compute both "
            "gradients first, then take both steps.": _one_after_the_other,
            "The supervisor should reconstruct the clean x: pass x to backward.": (
                lambda model, x, x_noisy, lr: _algorithm_1(model, x, x_noisy, lr, target=x_noisy)
            ),
            "The student should see x_noisy, not x.": lambda model, x, x_noisy, lr: _algorithm_1(
                model, x, x, lr
            ),
            "Your step goes uphill; subtract lr times the gradient.": (
                lambda model, x, x_noisy, lr: _algorithm_1(model, x, x_noisy, -lr)
            ),
        },
    ),
    pencil(
        "pencil-adam",
        {"large": -1.0, "small": -1.0},
        {
            "That is plain descent; Adam divides by the size of the gradient.": (-4.0, -0.001),
            "The sign is wrong: descent moves against the gradient.": (1.0, 1.0),
        },
        task=(
            "a function without arguments that returns the change of the parameter for g = 4 and "
            "for g = 0.001, in units of the learning rate, with its sign."
        ),
        nudge="what are m / c_1 and v / c_2 at t = 1, where both moments began at 0?",
        hint="m / c_1 = g and v / c_2 = g^2, so the change is -g / |g|.",
    ),
)
