"""Exercises of notebook 6: training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnmf_np.backends.ops import Ops, adam_scales
from ddnmf_np.data.noise import Corruption, Noise
from ddnmf_np.engine.descent import GradientDescent
from ddnmf_np.model import Architecture, Model
from ddnmf_np.teaching.exercise import Exercise, Mistake

Floats = npt.NDArray[np.float64]


# -- equation 2 --------------------------------------------------------------------------------


def _mask(x: Floats, rate: float) -> Floats:
    out = np.empty_like(x)
    Corruption(Noise("masking", rate), seed=3).apply(x, np.arange(len(x)), 0, out)
    return out


def _noise_problem(seed: int) -> tuple[Floats, npt.NDArray[np.bool_], float]:
    shape, rate = ((7, 11), (5, 9), (8, 6))[seed], (0.2, 0.5, 0.35)[seed]
    x = np.random.default_rng([seed, 12]).uniform(0.1, 1.0, shape)
    return x, _mask(np.ones(shape), rate) > 0, rate


def _noise(x: Floats, keep: npt.NDArray[np.bool_], rate: float) -> Floats:
    return _mask(x, rate)


# -- equation 8, refined -----------------------------------------------------------------------


def _adam_problem(
    seed: int,
) -> tuple[Floats, Floats, Floats, Floats, int, float, float, float, float]:
    rng = np.random.default_rng([seed, 13])
    size, t = (7, 5, 11)[seed], (1, 3, 40)[seed]
    theta, g, m = rng.normal(size=(3, size))
    v = rng.uniform(0.1, 1.0, size)
    if t == 1:
        m, v = np.zeros(size), np.zeros(size)
    return theta, g, m, v, t, (0.1, 0.01, 0.003)[seed], 0.9, 0.99, 1e-2


def _adam(
    theta: Floats,
    g: Floats,
    m: Floats,
    v: Floats,
    t: int,
    lr: float,
    b1: float,
    b2: float,
    eps: float,
) -> tuple[Floats, Floats, Floats]:
    theta, m, v = theta.copy(), m.copy(), v.copy()
    Ops().adam(theta, g, m, v, adam_scales(t, lr, b1, b2, eps), b1, b2, np.empty_like(theta))
    return theta, m, v


def _adam_variant(*arguments: Any, corrected: bool, inside: bool) -> tuple[Floats, Floats, Floats]:
    """Return Adam without its corrections, or with epsilon under the root."""
    theta, g, m, v, t, lr, b1, b2, eps = arguments
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    m_hat, v_hat = (m / (1 - b1**t), v / (1 - b2**t)) if corrected else (m, v)
    root = np.sqrt(v_hat + eps) if inside else np.sqrt(v_hat) + eps
    return theta - lr * m_hat / root, m, v


# -- algorithm 1 -------------------------------------------------------------------------------

Step = Callable[[Model, Floats, Floats, float], object]

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


def _do_step(answer: Step, model: Model, x: Floats, x_noisy: Floats, lr: float) -> dict[str, Any]:
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
            "arena.params is a new array; the layers still have the old one. Change it in place: -="
        )
    return {name: after[name].copy() for name in _BLOCKS}


def _step(model: Model, x: Floats, x_noisy: Floats, lr: float) -> dict[str, Any]:
    return _do_step(_algorithm_1, model, x, x_noisy, lr)


def _algorithm_1(model: Model, x: Floats, x_noisy: Floats, lr: float) -> None:
    model.forward(x, x_noisy)
    model.backward(x)
    GradientDescent([net.arena for net in model.nets.values()], lr).step()


def _one_after_the_other(model: Model, x: Floats, x_noisy: Floats, lr: float) -> None:
    for net in model.nets.values():
        model.forward(x, x_noisy)
        model.backward(x)
        GradientDescent([net.arena], lr).step()


def _noisy_target(model: Model, x: Floats, x_noisy: Floats, lr: float) -> None:
    model.forward(x, x_noisy)
    model.backward(x_noisy)
    GradientDescent([net.arena for net in model.nets.values()], lr).step()


def _uphill(model: Model, x: Floats, x_noisy: Floats, lr: float) -> None:
    model.forward(x, x_noisy)
    model.backward(x)
    for net in model.nets.values():
        net.arena.params += lr * net.arena.grads


EXERCISES = (
    Exercise(
        name="masking-noise",
        task=(
            "a function that returns x_noisy (n, D): entries where keep is False are 0, the "
            "others are divided by 1 - rate, so that the mean of an entry stays what it was."
        ),
        hint="keep is an array of True and False, which multiply as 1 and 0 (equation 2).",
        blocks=("x_noisy",),
        problem=_noise_problem,
        reference=_noise,
        mistakes=(
            Mistake("The division by 1 - rate is missing.", lambda x, keep, rate: x * keep),
            Mistake(
                "Those are the entries that should go.",
                lambda x, keep, rate: x * ~keep / (1 - rate),
            ),
            Mistake("The kept entries are divided by rate.", lambda x, keep, rate: x * keep / rate),
        ),
    ),
    Exercise(
        name="adam-step",
        task=(
            "a function that returns theta, m and v after step t of Adam, in arrays of their own: "
            "m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, and theta moves by "
            "-lr (m / c1) / (sqrt(v / c2) + eps) with c1 = 1 - b1^t and c2 = 1 - b2^t."
        ),
        hint="the corrections c1 and c2 go into the step, not into the m and v that are returned.",
        blocks=("theta", "m", "v"),
        problem=_adam_problem,
        reference=_adam,
        mistakes=(
            Mistake(
                "The corrections c1 and c2 are missing.",
                lambda *a: _adam_variant(*a, corrected=False, inside=False),
            ),
            Mistake(
                "eps is under the root; it stands beside it.",
                lambda *a: _adam_variant(*a, corrected=True, inside=True),
            ),
        ),
    ),
    Exercise(
        name="algorithm-1-step",
        task=(
            "a function that does one step of algorithm 1 with plain gradient descent (equation 8) "
            "on both networks of the model, in place. Each network is a model.nets[name] with its "
            "arena.params and arena.grads, flat arrays."
        ),
        hint=(
            "model.forward(x, x_noisy), then model.backward(x), then arena.params -= lr * "
            "arena.grads for both; the losses compare with the clean x."
        ),
        blocks=_BLOCKS,
        problem=_step_problem,
        reference=_step,
        run=_do_step,
        mistakes=(
            Mistake(
                "The supervisor had moved before the student's gradient was computed: both "
                "gradients come first, then both steps.",
                lambda *a: _do_step(_one_after_the_other, *a),
            ),
            Mistake(
                "The supervisor is to reconstruct the clean x: that is what backward takes.",
                lambda *a: _do_step(_noisy_target, *a),
            ),
            Mistake(
                "The student is to see the noisy batch.",
                lambda model, x, x_noisy, lr: _do_step(_algorithm_1, model, x, x, lr),
            ),
            Mistake(
                "That goes uphill.",
                lambda *a: _do_step(_uphill, *a),
            ),
        ),
    ),
)
