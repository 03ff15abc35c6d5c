"""First weights that suit the data: every unit is alive, and the output begins at the mean."""

import numpy as np
import pytest

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.data.start import OUTPUT_SPREAD, start_from_data
from ddnmf_np.engine.layers import Dense, glorot
from ddnmf_np.engine.network import Network
from ddnmf_np.model import Architecture, Model


def started(activation, output, x):
    layers = [Dense(13, 29, activation), Dense(29, 7, activation), Dense(7, 13, output)]
    network = Network(layers, rows=len(x), dtype="float64")
    glorot(network.layers, 3, 0)
    start_from_data(network.layers, x)
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pre_activations_have_mean_0_and_mean_deviation_1(activation):
    x = np.random.default_rng(0).uniform(size=(200, 13)) ** 2 * 0.01  # far from unit variance
    network = started(activation, "sigmoid", x)
    network.forward(x)
    for number, layer in enumerate(network.layers):
        z = network.h[number] @ layer.W.T + layer.b
        if number < 2:
            np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=1e-9)
            assert z.std(axis=0).mean() == pytest.approx(1.0, rel=1e-9)
        else:
            assert z.std(axis=0).mean() == pytest.approx(OUTPUT_SPREAD, rel=1e-9)


@pytest.mark.parametrize(
    ("output", "near"), [("sigmoid", 0.05), ("identity", 0.01), ("softplus", 0.15), ("relu", 0.15)]
)
def test_the_output_begins_near_the_mean_of_the_data(output, near):
    x = np.random.default_rng(0).uniform(0.3, 0.9, (400, 13)) * np.linspace(0.5, 1.0, 13)
    network = started("tanh", output, x)
    z = network.forward(x).mean(axis=0)
    assert np.abs(z - x.mean(axis=0)).max() < near


def test_data_without_variance_leave_finite_weights():
    network = started("sigmoid", "sigmoid", np.full((50, 13), 0.5))
    assert np.isfinite(network.arena.params).all()
    assert np.isfinite(network.forward(np.full((50, 13), 0.5))).all()


def test_the_student_begins_as_its_supervisor():
    x = np.random.default_rng(0).uniform(size=(60, 13)).astype("float32")
    model = Model(13, Architecture((11, 7), 3, start="data", nmf_start="pca"))
    before = model.student.arena.params.copy()
    model.start(x)
    assert (model.student.arena.params != before).any()
    for number, twin in ((1, 1), (2, 2), (3, 5), (4, 6)):
        layer, other = model.supervisor.layers[number - 1], model.student.layers[twin - 1]
        np.testing.assert_array_equal(layer.W, other.W)
        np.testing.assert_array_equal(layer.b, other.b)
