"""Exercises of notebook 5: the student and the NMF module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import DirectGradient, Ops
from ddnmf_np.engine.layers import Dense
from ddnmf_np.engine.losses import Objective, appositive
from ddnmf_np.engine.network import Network
from ddnmf_np.engine.nmf import NMFModule
from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching.exercise import Exercise, Mistake

Floats = npt.NDArray[np.float64]

_SHAPES = ((7, 11, 6, 5, 3), (4, 9, 8, 6, 2), (9, 8, 13, 7, 5))
"""(n, D, hidden width, code width, rank) of each problem."""

BETA, GAMMA = (0.3, 1.7, 0.6), (0.4, 0.8, 2.5)
"""Weights of each problem."""

DEPTH = 4
"""Layers of the supervisor; the student has two more, of which 3 and 4 are the NMF module."""


def _model(seed: int) -> tuple[Model, Floats]:
    """Return a model after its forward pass, and the clean batch."""
    n, width, hidden, code, rank = _SHAPES[seed]
    rng = np.random.default_rng([seed, 10])
    objective = Objective(beta_ap=BETA[seed], gamma_nc=GAMMA[seed])
    shape = Architecture((hidden, code), rank)
    model = Model(width, shape, objective, dtype="float64", seed=seed, rows=n)
    for network in model.nets.values():
        for layer in network.layers:
            if layer.b is not None:
                layer.b[...] = rng.uniform(0.0, 0.3, layer.b.shape)
    x = rng.uniform(size=(n, width))
    model.forward(x, x * (rng.uniform(size=x.shape) > 0.3))
    return model, x


def _activations(model: Model) -> tuple[list[Floats], list[Floats]]:
    return [a.copy() for a in model.supervisor.h], [a.copy() for a in model.student.h]


# -- equations 5 and 6: two losses -------------------------------------------------------------


def _losses_problem(seed: int) -> tuple[list[Floats], list[Floats]]:
    return _activations(_model(seed)[0])


def _losses(h: list[Floats], t: list[Floats]) -> tuple[float, float]:
    ops, pairs = Ops(), [(k, appositive(k, DEPTH)) for k in range(1, DEPTH + 1)]
    ap, nc = np.zeros(1), np.zeros(1)
    for below, above in pairs:
        ops.squared_distance(t[above], h[below], np.empty_like(h[below]), ap)
    ops.squared_distance(t[DEPTH // 2], t[DEPTH // 2 + 2], np.empty_like(t[DEPTH // 2]), nc)
    return float(ap[0]) / len(h[0]), float(nc[0]) / len(h[0])


def _mean_losses(h: Any, t: Any) -> tuple[float, float]:
    ap = sum(((t[appositive(k, DEPTH)] - h[k]) ** 2).mean() for k in range(1, DEPTH + 1))
    return ap, ((t[DEPTH // 2] - t[DEPTH // 2 + 2]) ** 2).mean()


def _with_inputs(h: Any, t: Any) -> tuple[float, float]:
    ap, nc = _losses(h, t)
    return ap + ((h[0] - t[0]) ** 2).sum() / len(h[0]), nc


# -- the table of equation 10 ------------------------------------------------------------------


def _direct_problem(seed: int) -> tuple[list[Floats], list[Floats], float, float]:
    return *_activations(_model(seed)[0]), BETA[seed], GAMMA[seed]


def _direct(h: list[Floats], t: list[Floats], beta: float, gamma: float) -> dict[str, Floats]:
    return _table(h, t, beta, gamma, sides=(1.0, 1.0))


def _table(
    h: Any, t: Any, beta: float, gamma: float, *, sides: tuple[float, float], power: int = 1
) -> dict[str, Floats]:
    """Return the direct gradients; ``sides`` are factors of what L_nc does at X and at X^."""
    ops, half, c = Ops(), DEPTH // 2, 2.0 / len(h[0]) ** power
    grad = {layer: np.zeros_like(t[layer]) for layer in range(1, DEPTH + 3)}
    for layer in range(1, DEPTH + 1):
        above = appositive(layer, DEPTH)
        ops.add_direct(t[above], h[layer], c * beta, grad[above], np.empty_like(t[above]))
    for (end, other), side in zip(((half, half + 2), (half + 2, half)), sides, strict=True):
        ops.add_direct(t[end], t[other], c * gamma * side, grad[end], np.empty_like(t[end]))
    return {f"Grad{layer}": value for layer, value in grad.items()}


# -- equation 3 backwards ----------------------------------------------------------------------


def _nmf_problem(seed: int) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    model, _ = _model(seed)
    code, H, code_hat = (a.copy() for a in model.student.h[DEPTH // 2 : DEPTH // 2 + 3])
    W_base, W_rec = (model.student.arena.param(name).copy() for name in ("W_base", "W_rec"))
    g = np.random.default_rng([seed, 11]).normal(size=code_hat.shape)
    return code, H, code_hat, W_base, W_rec, g


def _nmf(
    code: Floats, H: Floats, code_hat: Floats, W_base: Floats, W_rec: Floats, g: Floats
) -> tuple[Floats, Floats, Floats]:
    module = NMFModule(code.shape[1], H.shape[1])
    for layer, W in zip(module.layers, (W_base, W_rec), strict=True):
        layer.allocate()
        layer.W[...] = W
    module.forward(code)
    dcode = module.backward(g)
    assert dcode is not None
    return module.recovery.dW.copy(), module.base.dW.copy(), dcode.copy()


def _nmf_literal(*arguments: Any, slopes: tuple[bool, bool]) -> tuple[Floats, Floats, Floats]:
    """Return what comes out with the slope of the ReLU, of the sigmoid, or without."""
    code, H, code_hat, W_base, W_rec, g = arguments
    delta_hat = g * (code_hat > 0) if slopes[0] else g
    delta_H = (delta_hat @ W_rec) * (H * (1 - H) if slopes[1] else 1.0)
    return delta_hat.T @ H, delta_H.T @ code, delta_H @ W_base


# -- all of equation 10 ------------------------------------------------------------------------

_LABELS = ("1", "2", "_base", "_rec", "5", "6")
_WITHOUT_BIAS = ("_base", "_rec")
_BLOCKS = tuple(
    f"{kind}{label}"
    for label in reversed(_LABELS)
    for kind in ("W", "b")
    if kind == "W" or label not in _WITHOUT_BIAS
)


def _student_problem(seed: int) -> tuple[list[Floats], list[Floats], list[Floats]]:
    model, _ = _model(seed)
    h, t = _activations(model)
    grad = [np.zeros_like(t[0]), *_direct(h, t, BETA[seed], GAMMA[seed]).values()]
    return t, [layer.W.copy() for layer in model.student.layers], grad


def _student(t: list[Floats], W: list[Floats], Grad: list[Floats]) -> dict[str, Floats]:
    layers = [
        Dense(
            w.shape[1],
            w.shape[0],
            "sigmoid" if label == "_base" else "relu",
            bias=label not in _WITHOUT_BIAS,
            label=label,
        )
        for label, w in zip(_LABELS, W, strict=True)
    ]
    network = Network(layers, rows=len(t[0]), dtype="float64")
    network.h = list(t)
    for layer, w, x, output in zip(layers, W, t[:-1], t[1:], strict=True):
        layer.W[...], layer.h[...], layer.x = w, output, x
    # A direct gradient with c = 1 whose reference is t - Grad adds Grad.
    network.backward({k: [DirectGradient(t[k] - Grad[k], 1.0)] for k in range(1, len(t))})
    return {name: network.arena.grad(name).copy() for name in _BLOCKS}


def _student_literal(
    t: Any, W: Any, Grad: Any, *, direct: bool = True, from_above: bool = True, base: bool = True
) -> Mapping[str, Floats]:
    """Return what comes out with a part of the recursion left out."""
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
        task=(
            "a function that returns loss_ap and loss_nc, two numbers (equation 5 and equation 6). "
            "h[0] to h[4] are the supervisor's activations, t[0] to t[6] the student's; the code "
            "is t[2] and its recovery t[4]."
        ),
        hint=(
            "the pairs are h[1] and t[1], h[2] and t[2], h[3] and t[5], h[4] and t[6]: above the "
            "cut s(l) = l + 2. Sum the squares over features and pairs, and divide by n alone."
        ),
        blocks=("loss_ap", "loss_nc"),
        problem=_losses_problem,
        reference=_losses,
        mistakes=(
            Mistake("The features are averaged too; the paper sums them.", _mean_losses),
            Mistake("The inputs are no pair: the sum begins at layer 1.", _with_inputs),
            Mistake(
                "The division by the number of samples is missing.",
                lambda h, t: tuple(value * len(h[0]) for value in _losses(h, t)),
            ),
        ),
    ),
    Exercise(
        name="direct-gradients",
        task=(
            "a function that returns a dict 'Grad1' to 'Grad6': the direct gradient at each layer "
            "of the student (the table of equation 10, L = 4), in the shape of t[l]."
        ),
        hint=(
            "layers 1, 2, 5, 6 get (2 beta / n) (t[l] - their partner); layer 2 also "
            "(2 gamma / n) (t[2] - t[4]); layer 4 the same with the sign changed; layer 3 zeros."
        ),
        blocks=tuple(f"Grad{layer}" for layer in range(1, DEPTH + 3)),
        problem=_direct_problem,
        reference=_direct,
        mistakes=(
            Mistake(
                "L_nc is missing here: it pulls at X and at X^.",
                lambda h, t, beta, gamma: _table(h, t, beta, gamma, sides=(0.0, 0.0)),
            ),
            Mistake(
                "The pull of L_nc has the wrong sign here.",
                lambda h, t, beta, gamma: _table(h, t, beta, gamma, sides=(-1.0, -1.0)),
            ),
            Mistake(
                "The division by the number of samples is missing.",
                lambda h, t, beta, gamma: _table(h, t, beta, gamma, sides=(1.0, 1.0), power=0),
            ),
        ),
    ),
    Exercise(
        name="nmf-backward",
        task=(
            "a function that returns dW_rec (m, r), dW_base (r, m) and dcode (n, m), where g "
            "(n, m) is the gradient by code_hat and nothing else pulls."
        ),
        hint=(
            "delta_hat = g * (code_hat > 0); delta_H = (delta_hat @ W_rec) * H * (1 - H); then "
            "each dW is delta.T @ input, and dcode = delta_H @ W_base (equation 3, backwards)."
        ),
        blocks=("dW_rec", "dW_base", "dcode"),
        problem=_nmf_problem,
        reference=_nmf,
        mistakes=(
            Mistake(
                "The slope of the ReLU is missing.",
                lambda *a: _nmf_literal(*a, slopes=(False, True)),
            ),
            Mistake(
                "The slope H (1 - H) of the sigmoid is missing.",
                lambda *a: _nmf_literal(*a, slopes=(True, False)),
            ),
            Mistake("Both slopes are missing.", lambda *a: _nmf_literal(*a, slopes=(False, False))),
        ),
    ),
    Exercise(
        name="student-gradient",
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
        blocks=_BLOCKS,
        problem=_student_problem,
        reference=_student,
        mistakes=(
            Mistake(
                "The direct gradients below the last layer are missing.",
                lambda t, W, Grad: _student_literal(t, W, Grad, direct=False),
            ),
            Mistake(
                "What comes from the layers above is missing.",
                lambda t, W, Grad: _student_literal(t, W, Grad, from_above=False),
            ),
            Mistake(
                "Layer 3 is a sigmoid: its slope is t (1 - t), and what is below it feels it.",
                lambda t, W, Grad: _student_literal(t, W, Grad, base=False),
            ),
        ),
    ),
)
