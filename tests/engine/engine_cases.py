"""Small models and batches for the engine's tests, and their translation for the oracle.

Widths are all different and mostly prime, so that no transposed product and no mix-up of two
layers fits by accident. Biases are drawn too: at zero, where training starts, a forgotten bias
would not show, and a dead layer would leave the next one exactly on the kinks of its ReLUs.
"""

import numpy as np
import oracle

from ddnmf_np.config import Config
from ddnmf_np.model import Model

FEATURES, WIDTHS, RANK = 13, (7, 11, 5), 3
DEPTH = 2 * len(WIDTHS)
SUPERVISOR_WIDTHS = [13, 7, 11, 5, 11, 7, 13]
STUDENT_WIDTHS = [13, 7, 11, 5, 3, 5, 11, 7, 13]
ROWS = 6
NETS = ("supervisor", "student")

PAPER = {"objective": "paper", "alpha_sym": 0.7, "beta_ap": 1.3, "gamma_nc": 0.9}
"""The paper's objective, with weights that cannot be taken for one another."""

DEMO = {"objective": "demo", "alpha_sym": 0.7, "beta_ap": 0.4, "gamma_nc": 0.9}
"""The demo's, likewise."""

DIFFERENCES = {
    "student reconstruction": {"student_reconstruction": 0.6},
    "apposition to supervisor": {"apposition_to_supervisor": True},
    "base bias": {"base_bias": True},
    "mean over features": {"reduction": "mean"},
}
"""The four places where the demo differs from the paper, one at a time."""

PAPER_SHAPE = {"widths": (500, 500, 2000), "rank": 10}


def small_config(**options):
    """Return the options of a small model, in float64."""
    return Config(**({"widths": WIDTHS, "rank": RANK, "dtype": "float64"} | options))


def small_model(ops=None, rows=ROWS, seed=0, **options):
    """Return a small model with biases drawn at random."""
    model = Model(FEATURES, small_config(seed=seed, **options), ops, rows)
    draw_biases(model, seed)
    return model


def draw_biases(model, seed=0):
    """Draw every bias from U(0, 0.3): most units are alive, some are not."""
    rng = np.random.default_rng([seed, 7])
    for network in model.nets.values():
        for layer in network.layers:
            if layer.b is not None:
                layer.b[...] = rng.uniform(-0.05, 0.3, layer.b.shape)


def batch(n=5, features=FEATURES, seed=0, dtype="float64"):
    """Return n clean and noisy samples, read-only: nothing may write into a caller's data."""
    rng = np.random.default_rng([seed, 8])
    x = rng.uniform(0.0, 1.0, (n, features))
    x_noisy = x * (rng.uniform(size=x.shape) >= 0.2) / 0.8
    x, x_noisy = x.astype(dtype), x_noisy.astype(dtype)
    x.flags.writeable = x_noisy.flags.writeable = False
    return x, x_noisy


def oracle_layers(network):
    """Return a network's layers as the oracle takes them, in memory of their own."""
    return [
        oracle.Layer(
            layer.W.astype(np.float64),
            None if layer.b is None else layer.b.astype(np.float64).reshape(-1, 1),
            layer.activation,
        )
        for layer in network.layers
    ]


def oracle_nets(model):
    """Return the supervisor's and the student's layers for the oracle."""
    return oracle_layers(model.supervisor), oracle_layers(model.student)


def oracle_weights(model):
    """Return the model's objective as the oracle takes it."""
    objective = model.objective
    return oracle.Weights(
        alpha=objective.alpha_sym,
        beta=objective.beta_ap,
        gamma=objective.gamma_nc,
        reconstruction=objective.student_reconstruction,
        both_ends=objective.apposition_to_supervisor,
        mean=objective.reduction == "mean",
    )


def oracle_gradient(net, model, x, x_noisy, **how):
    """Return equation 9's or 10's gradients from the oracle, by block name."""
    compute = {"supervisor": oracle.supervisor_gradient, "student": oracle.student_gradient}[net]
    pieces = compute(*oracle_nets(model), x, x_noisy, oracle_weights(model), **how)
    gradients = {}
    for layer, (dW, db) in zip(model.nets[net].layers, pieces, strict=True):
        gradients[f"W{layer.label}"] = dW
        if db is not None:
            gradients[f"b{layer.label}"] = db[:, 0]
    return gradients


def engine_gradient(net, model, x, x_noisy):
    """Return the engine's gradients by block name, copied."""
    model.forward(x, x_noisy)
    model.backward(x)
    arena = model.nets[net].arena
    return {name: arena.grad(name).copy() for name in arena.shapes}


def distance_from_kinks(model, x, x_noisy):
    """Return the smallest pre-activation of any ReLU, up to its sign."""
    smallest = np.inf
    for layers, data in zip(oracle_nets(model), (x, x_noisy), strict=True):
        for sample in oracle.columns(data):
            h = oracle.forward(layers, sample)
            for layer, below in zip(layers, h, strict=False):
                if layer.f == "relu":
                    z = oracle.pre_activation(layer, below)
                    smallest = min(smallest, float(np.abs(z).min()))
    return smallest
