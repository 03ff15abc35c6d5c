"""What is right: the problem as this package makes it, and the losses that all must agree with."""

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

Before the first step it is one forward pass in float32 (3e-7 was met). Adam's first steps have the
size ``lr`` whatever the size of a gradient, so rounding decides where parameters go whose gradient
is nearly zero; these hardly change a loss (1e-5 was met: both objectives, paper's and small shape,
all contestants on a CPU). A wrong gradient or step does: half the learning rate 2e-2, an apposition
loss that moves the wrong network 5e-3 (4e-4 with the demo's weights), all on a small network after
three steps. With shorter mantissas (``high``) only coarse mistakes can be told from rounding.
"""


class BenchmarkError(DDNMFError):
    """A contestant computes something else than the others, so that its time means nothing."""


def make_problem(case: Case, config: Config, x: Array | None = None) -> Problem:
    """Return a case with the weights that this package would start from, and its batches.

    The batches are the first rows of ``x``, (n, n_features), or drawn if it is not given.
    """
    config = of_case(case, config)
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


def of_case(case: Case, config: Config) -> Config:
    """Return a configuration with the shape and the batch size of a case."""
    return configure(config, widths=case.widths, rank=case.rank, batch_size=case.batch)


def reference_losses(problem: Problem) -> list[dict[str, float]]:
    """Return the losses of the first steps, by plain NumPy: what all others must agree with.

    Returns
    -------
    list of dict
        Entry k holds the losses of batch k after k steps, k from 0 to `CHECKED_STEPS`.
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
    """Refuse a contestant whose losses are others than those of plain NumPy.

    Parameters
    ----------
    found, expected : list of dict
        Losses of the first steps as `reference_losses` returns them.
    matmul_precision : {"highest", "high"}
        That of the contestant; see `RTOL`.

    Raises
    ------
    BenchmarkError
        With the first loss that differs, in which step, and by how much.
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
                    f"{theirs[loss]:.8g}, plain NumPy has {value:.8g}; a relative difference of "
                    f"{abs(theirs[loss] / value - 1.0):.1e}, {rtol:g} is allowed"
                )


def check_training(trained: dict[str, float], untrained: dict[str, float]) -> None:
    """Refuse a contestant whose epochs have not trained: another path than its steps.

    Parameters
    ----------
    trained, untrained : dict
        Losses of one batch, after the epochs and with the first weights.

    Raises
    ------
    BenchmarkError
        If the supervisor's reconstruction has not become better by half.
    """
    if not trained["loss_sym"] < 0.5 * untrained["loss_sym"]:
        raise BenchmarkError(
            f"does not train in its epochs: loss_sym is {trained['loss_sym']:.4g} after them and "
            f"was {untrained['loss_sym']:.4g} before"
        )
