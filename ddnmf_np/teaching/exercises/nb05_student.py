"""Exercises of notebook 5: the student and the NMF module."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddnmf_np.engine.losses import appositive
from ddnmf_np.teaching.exercise import Exercise, Floats, pencil
from ddnmf_np.teaching.exercises.nb04_supervisor import run_network

_SHAPES = ((7, 11, 6, 5, 3), (4, 9, 8, 6, 2), (9, 8, 13, 7, 5))
"""(n, D, hidden width, code width, rank) of each problem."""

BETA, GAMMA = (0.3, 1.7, 0.6), (0.4, 0.8, 2.5)
"""Weights of the losses in each problem."""

DEPTH = 4
"""Layers of the supervisor. The student has two more: its layers 3 and 4 are the NMF module."""


def _activations(seed: int) -> tuple[list[Floats], list[Floats]]:
    """Return the activations of a supervisor and of a student."""
    return _supervisor(seed), _student(seed)[0]


def _supervisor(seed: int) -> list[Floats]:
    n, width, hidden, code, _ = _SHAPES[seed]
    rng = np.random.default_rng([seed, 10])
    return run_network(rng, n, (width, hidden, code, hidden, width))[0]


def _student(seed: int) -> tuple[list[Floats], list[Floats]]:
    n, width, hidden, code, rank = _SHAPES[seed]
    rng = np.random.default_rng([seed, 11])
    return run_network(rng, n, (width, hidden, code, rank, code, hidden, width), base=3)


def _pairs(h: Any, t: Any) -> list[tuple[Any, Any]]:
    return [(h[k], t[appositive(k, DEPTH)]) for k in range(1, DEPTH + 1)]


def _distance(a: Floats, b: Floats) -> float:
    return float(((a - b) ** 2).sum()) / len(a)


def _losses(h: Any, t: Any) -> tuple[float, float]:
    return sum(_distance(a, b) for a, b in _pairs(h, t)), _distance(t[2], t[4])


def _direct(h: Any, t: Any, beta: float, gamma: float) -> dict[str, Floats]:
    grad = {layer: np.zeros_like(t[layer]) for layer in range(1, DEPTH + 3)}
    for layer in range(1, DEPTH + 1):
        above = appositive(layer, DEPTH)
        grad[above] += 2.0 * beta / len(t[0]) * (t[above] - h[layer])
    pull = 2.0 * gamma / len(t[0]) * (t[2] - t[4])
    grad[2] += pull
    grad[4] -= pull
    return {f"Grad{layer}": value for layer, value in grad.items()}


def _nmf_problem(seed: int) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    t, W = _student(seed)
    g = np.random.default_rng([seed, 19]).normal(size=t[4].shape)
    return t[2], t[3], t[4], W[2], W[3], g


def _nmf(
    code: Any,
    H: Any,
    code_hat: Any,
    W_base: Any,
    W_rec: Any,
    g: Any,
    *,
    relu: bool = True,
    sigmoid: bool = True,
) -> tuple[Floats, Floats, Floats]:
    """Return the gradients, or what comes out without the slope of a function."""
    delta_hat = g * (code_hat > 0) if relu else g
    delta_H = (delta_hat @ W_rec) * (H * (1 - H) if sigmoid else 1.0)
    return delta_hat.T @ H, delta_H.T @ code, delta_H @ W_base


_LABELS = ("1", "2", "_base", "_rec", "5", "6")


def _gradient_problem(seed: int) -> tuple[list[Floats], list[Floats], list[Floats]]:
    t, W = _student(seed)
    grad = _direct(_supervisor(seed), t, BETA[seed], GAMMA[seed])
    return t, W, [np.zeros_like(t[0]), *grad.values()]


def _gradient(
    t: Any, W: Any, Grad: Any, *, direct: bool = True, from_above: bool = True, base: bool = True
) -> dict[str, Floats]:
    """Return equation 10's gradients, or those with a part of the recursion left out."""
    found: dict[str, Floats] = {}
    above = np.zeros_like(t[-1])
    for layer in range(len(W), 0, -1):
        label = _LABELS[layer - 1]
        g = above if from_above else np.zeros_like(above)
        if direct or layer == len(W):
            g = g + Grad[layer]
        slope = t[layer] * (1 - t[layer]) if label == "_base" and base else t[layer] > 0
        delta = g * slope
        found |= {f"W{label}": delta.T @ t[layer - 1], f"b{label}": delta.sum(axis=0)}
        above = delta @ W[layer - 1]
    return found


EXERCISES = (
    Exercise(
        name="student-losses",
        nudge=("list the four pairs of layers first. Which layers of the student have no partner?"),
        task=(
            "a function that returns loss_ap and loss_nc, two numbers (equations 5 and 6). h[0] to "
            "h[4] are the supervisor's activations, t[0] to t[6] the student's; the code is t[2] "
            "and its recovery t[4]."
        ),
        hint=(
            "the pairs are h[1] and t[1], h[2] and t[2], h[3] and t[5], h[4] and t[6]: above the "
            "NMF module s(l) = l + 2. Sum the squares over features and pairs; divide only by n."
        ),
        blocks=("loss_ap", "loss_nc"),
        problem=_activations,
        reference=_losses,
        mistakes={
            "You averaged over the features too; the paper sums them.": lambda h, t: (
                sum(((a - b) ** 2).mean() for a, b in _pairs(h, t)),
                ((t[2] - t[4]) ** 2).mean(),
            ),
            "The inputs h[0] and t[0] are not a pair: start at layer 1.": lambda h, t: (
                _losses(h, t)[0] + _distance(h[0], t[0]),
                _losses(h, t)[1],
            ),
            "You forgot to divide by the number of samples.": lambda h, t: tuple(
                value * len(h[0]) for value in _losses(h, t)
            ),
        },
    ),
    Exercise(
        name="direct-gradients",
        nudge=(
            "for each layer of the student, write down which losses compare it. One layer has "
            "two, one has none."
        ),
        task=(
            "a function that returns a dict 'Grad1' to 'Grad6': the direct gradient at each layer "
            "of the student (the table of equation 10, L = 4), in the shape of t[l]."
        ),
        hint=(
            "layers 1, 2, 5 and 6 get (2 beta / n) (t[l] - their partner). Layer 2 also gets "
            "(2 gamma / n) (t[2] - t[4]); layer 4 gets its negative and layer 3 zeros."
        ),
        blocks=tuple(f"Grad{layer}" for layer in range(1, DEPTH + 3)),
        problem=lambda seed: (*_activations(seed), BETA[seed], GAMMA[seed]),
        reference=_direct,
        mistakes={
            "The gradient of L_nc is missing here.": lambda h, t, beta, gamma: _direct(
                h, t, beta, 0.0
            ),
            "The gradient of L_nc has the wrong sign here.": lambda h, t, beta, gamma: _direct(
                h, t, beta, -gamma
            ),
            "You forgot to divide by the number of samples.": lambda h, t, beta, gamma: _direct(
                h, t, beta * len(h[0]), gamma * len(h[0])
            ),
        },
    ),
    Exercise(
        name="nmf-backward",
        nudge=(
            "these are two layers of notebook 2 without bias. What is the slope of each "
            "activation, in terms of its output?"
        ),
        task=(
            "a function that returns dW_rec (m, r), dW_base (r, m) and dcode (n, m). g (n, m) is "
            "the gradient with respect to code_hat; there is no direct gradient at H."
        ),
        hint=(
            "delta_hat = g * (code_hat > 0); delta_H = (delta_hat @ W_rec) * H * (1 - H); then "
            "each dW is delta.T @ input, and dcode = delta_H @ W_base (equation 3, backwards)."
        ),
        blocks=("dW_rec", "dW_base", "dcode"),
        problem=_nmf_problem,
        reference=_nmf,
        mistakes={
            "The slope of the ReLU is missing.": lambda *a: _nmf(*a, relu=False),
            "The slope H (1 - H) of the sigmoid is missing.": lambda *a: _nmf(*a, sigmoid=False),
            "Both slopes are missing.": lambda *a: _nmf(*a, relu=False, sigmoid=False),
        },
    ),
    Exercise(
        name="student-gradient",
        nudge=(
            "start from your loop for the supervisor. What is added to g at each layer, and "
            "which layer has another slope?"
        ),
        task=(
            "a function that returns a dict of all gradients of the student: 'W1', 'b1', 'W2', "
            "'b2', 'W_base', 'W_rec', 'W5', 'b5', 'W6', 'b6'. t[0] is the noisy input and t[l] "
            "the output of layer l (a sigmoid for l = 3, else ReLU); W[l - 1] and Grad[l] belong "
            "to layer l."
        ),
        hint=(
            "from l = 6 down to 1: g = Grad[l] + what came from above, delta = f' * g, "
            "dW = delta.T @ t[l - 1], db the sum of delta's rows, and delta @ W[l - 1] goes down "
            "(equation 10)."
        ),
        blocks=("W6", "b6", "W5", "b5", "W_rec", "W_base", "W2", "b2", "W1", "b1"),
        problem=_gradient_problem,
        reference=_gradient,
        mistakes={
            "The direct gradients below the last layer are missing.": lambda *a: _gradient(
                *a, direct=False
            ),
            "The signal from the layers above is missing.": lambda *a: _gradient(
                *a, from_above=False
            ),
            "Layer 3 is a sigmoid: its slope t (1 - t) is missing here or above.": lambda *a: (
                _gradient(*a, base=False)
            ),
        },
    ),
    pencil(
        "pencil-module",
        {"dW_rec": 0.5, "dW_base": 1.0, "dcode": 0.5},
        {"The slope of the sigmoid, H (1 - H), is missing.": (0.5, 4.0, 2.0)},
        task=(
            "a function without arguments that returns dW_rec, dW_base and the gradient at the "
            "code, three numbers computed by hand."
        ),
        nudge="go down in three steps: through the ReLU, through W, through the sigmoid.",
        hint="delta_hat = g = 1, then delta_H = W delta_hat H (1 - H) = 2 * 0.25.",
    ),
)
