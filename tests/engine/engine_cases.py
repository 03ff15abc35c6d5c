"""Small models and batches for the engine's tests, and what the paper's equations say of them.

Widths are all different and mostly prime, so that no transposed product and no mix-up of two
layers fits by accident. Biases are drawn too: at zero, where training starts, a forgotten bias
would not show, and a dead layer would leave the next one exactly on the kinks of its ReLUs.
"""

import numpy as np
from literal_cases import literal_nets, literal_objective

from ddnmf_np.config import configure
from ddnmf_np.engine import literal

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
    return configure(**({"widths": WIDTHS, "rank": RANK, "dtype": "float64"} | options))


def small_model(ops=None, rows=ROWS, seed=0, **options):
    """Return a small model with biases drawn at random."""
    model = small_config(seed=seed, **options).make_model(FEATURES, ops, rows)
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


def pairs(L):
    """Return the L pairs (student layer, supervisor layer) of appositive layers, from the text."""
    encoder = [(number, number) for number in range(1, L // 2 + 1)]
    decoder = [(number, number - 2) for number in range(L // 2 + 3, L + 3)]
    return encoder + decoder


def moving_loss(net, supervisor, student, X, X_noisy, objective):
    """Return what moves a network: the terms whose gradient equations 9 and 10 hand to it."""
    value = literal.losses(supervisor, student, X, X_noisy, objective)
    ap = objective.beta * value["loss_ap"]
    if net == "supervisor":
        both_ends = objective.apposition_to_supervisor
        return objective.alpha * value["loss_sym"] + (ap if both_ends else 0.0)
    nc, rec = objective.gamma * value["loss_nc"], objective.reconstruction * value["loss_rec"]
    return ap + nc + rec


def literal_gradient(net, model, x, x_noisy, kind=literal.Layer):
    """Return equation 9's or 10's gradients as the paper writes them, by block name."""
    nets, objective = literal_nets(model, kind), literal_objective(model)
    found = literal.gradients(*nets, x, x_noisy, objective)[NETS.index(net)]
    return dict(zip(model.nets[net].arena.shapes, found, strict=True))


def engine_gradient(net, model, x, x_noisy):
    """Return the engine's gradients by block name, copied."""
    model.forward(x, x_noisy)
    model.backward(x)
    arena = model.nets[net].arena
    return {name: arena.grad(name).copy() for name in arena.shapes}


def distance_from_kinks(model, x, x_noisy):
    """Return the smallest pre-activation of any ReLU, up to its sign."""
    smallest = np.inf
    for network, literal_network, data in zip(
        model.nets.values(), literal_nets(model), (x, x_noisy), strict=True
    ):
        for sample in data:
            h = literal_network.forward(sample)
            for dense, layer, below in zip(
                network.layers, literal_network.layers, h[:-1], strict=True
            ):
                if dense.activation == "relu":
                    z = layer.pre_activation(below)
                    smallest = min(smallest, float(np.abs(z).min()))
    return smallest


def partial_derivatives(function, array, step=1e-5):
    """Return the central difference of a scalar function by each entry of an array.

    The array is moved in place, one entry at a time, and put back.
    """
    slopes = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        entry = array[index]
        array[index] = entry + step
        upper = function()
        array[index] = entry - step
        lower = function()
        array[index] = entry
        slopes[index] = (upper - lower) / (2 * step)
    return slopes
