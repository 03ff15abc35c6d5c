"""The problem as this package makes it, and the losses that every contestant must agree with."""

from __future__ import annotations

import numpy as np

from ddnmf_np.backends.ops import Array
from ddnmf_np.bench.contestants import CHECKED_STEPS
from ddnmf_np.bench.problem import BATCHES, Case, LayerSpec, Problem
from ddnmf_np.config import Config, configure
from ddnmf_np.errors import DDNMFError
from ddnmf_np.model import NETS

RTOL = {"highest": 1e-4, "high": 1e-2}
"""Largest relative difference of any loss, before the first step and after each of the next.

Before the first step we compare one forward pass in float32 (we found 3e-7). Later, rounding
decides where parameters go whose gradient is nearly zero, because Adam's first steps have the size
``lr`` whatever the size of a gradient. Such parameters hardly change a loss (we found 1e-5: both
objectives, paper's and small shape, all contestants on a CPU). A wrong gradient or step does: half
the learning rate 2e-2, an apposition loss that moves the wrong network 5e-3 (4e-4 with the demo's
weights), all on a small network after three steps. With shorter mantissas (``high``) only coarse
mistakes differ from rounding.
"""


class BenchmarkError(DDNMFError):
    """A contestant computes something else than plain NumPy, so its time means nothing."""


def make_problem(case: Case, config: Config, x: Array | None = None) -> Problem:
    """Return a case with the weights that this package starts from, and its batches.

    The batches are the first rows of ``x``, (n, n_features). Without ``x`` they are zeros and
    uniform numbers, as in images.
    """
    config = configure(config, widths=case.widths, rank=case.rank, batch_size=case.batch)
    model = config.make_model(case.n_features)
    layers = {
        net: [
            LayerSpec(
                f"{net}.W{layer.label}",
                None if layer.b is None else f"{net}.b{layer.label}",
                layer.activation,
            )
            for layer in model.nets[net].layers
        ]
        for net in NETS
    }
    rng = np.random.default_rng(config.training.seed)
    shape = (BATCHES, case.batch, case.n_features)
    if x is None:
        x = np.maximum(rng.uniform(-3.0, 1.0, shape), 0.0)
    clean = np.resize(x, shape).astype(config.training.dtype)
    noisy = clean * (rng.uniform(size=shape) >= config.noise.rate)
    return Problem(
        case,
        config,
        layers,
        {name: block.copy() for name, block in model.state().items()},
        clean,
        noisy.astype(config.training.dtype),
    )


def reference_losses(problem: Problem) -> list[dict[str, float]]:
    """Return the losses of the first steps by plain NumPy.

    Entry k holds the losses of batch k after k steps, for k from 0 to `CHECKED_STEPS`.
    """
    model = problem.config.make_model(problem.case.n_features)
    losses = []
    for clean, noisy in zip(problem.clean[: CHECKED_STEPS + 1], problem.noisy, strict=False):
        model.loss.reset()
        model.step(clean, noisy)
        losses.append(model.loss.values(problem.case.batch))
    return losses


def check_agreement(
    found: list[dict[str, float]],
    expected: list[dict[str, float]],
    matmul_precision: str = "highest",
) -> None:
    """Refuse a contestant whose losses differ from those of `reference_losses`.

    Raises `BenchmarkError` with the loss, the step and the difference; `RTOL` has what is allowed.
    """
    rtol = RTOL[matmul_precision]
    for step, (theirs, ours) in enumerate(zip(found, expected, strict=True)):
        if theirs.keys() != ours.keys():
            raise BenchmarkError(
                f"computes {', '.join(sorted(theirs))}; expected {', '.join(sorted(ours))}"
            )
        for loss, value in ours.items():
            # Written so that a NaN is refused.
            if not abs(theirs[loss] - value) <= rtol * abs(value):
                raise BenchmarkError(
                    f"computes something else: {loss} after {step} steps is "
                    f"{theirs[loss]:.8g}, with plain NumPy {value:.8g}; the relative difference "
                    f"is {abs(theirs[loss] / value - 1.0):.1e}, at most {rtol:g} is allowed"
                )


def check_training(trained: dict[str, float], untrained: dict[str, float]) -> None:
    """Refuse a contestant that does not train in its epochs, which take another path than steps.

    Raise `BenchmarkError` if the supervisor's loss of a batch has not fallen below half.
    """
    if not trained["loss_sym"] < 0.5 * untrained["loss_sym"]:
        raise BenchmarkError(
            f"does not train in its epochs: loss_sym was {untrained['loss_sym']:.4g} before and is "
            f"{trained['loss_sym']:.4g} after them"
        )
