"""Equation 9: only ``alpha L_sym`` moves the supervisor."""

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DIFFERENCES,
    PAPER,
    batch,
    distance_from_kinks,
    engine_gradient,
    literal_gradient,
    moving_loss,
    partial_derivatives,
    small_model,
)
from literal_cases import TensorLayer, literal_nets, literal_objective
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close, assert_same_bits

pytestmark = pytest.mark.equation(9)

OBJECTIVES = {
    "paper": PAPER,
    "demo": DEMO,
    **{name: {**PAPER, **one} for name, one in DIFFERENCES.items()},
}


def gradient(model, x, x_noisy):
    return engine_gradient("supervisor", model, x, x_noisy)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
def test_batch_is_the_paper_s_columns(ops, options, dtype, tolerance):
    model = small_model(ops, dtype=dtype, **options)
    x, x_noisy = batch(5, dtype=dtype)
    expected = literal_gradient("supervisor", model, x, x_noisy)
    actual = gradient(model, x, x_noisy)
    assert set(actual) == set(expected)
    for block, values in actual.items():
        assert values.dtype == dtype
        assert_close(values, expected[block], tolerance, block)


def test_the_paper_s_tensor_is_the_outer_product():
    model = small_model(**PAPER)
    x, x_noisy = batch(4)
    tensor = literal_gradient("supervisor", model, x, x_noisy, kind=TensorLayer)
    for block, values in gradient(model, x, x_noisy).items():
        assert_close(values, tensor[block], ORACLE64, block)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_partial_derivative(options):
    """Finite differences of the literal loss, entry by entry; no formula in common."""
    model = small_model(**options)
    x, x_noisy = batch(2)
    assert distance_from_kinks(model, x, x_noisy) > 1e-4
    supervisor, student = literal_nets(model)
    weights = literal_objective(model)
    actual = gradient(model, x, x_noisy)

    def loss():
        return moving_loss("supervisor", supervisor, student, x, x_noisy, weights)

    for number, layer in enumerate(supervisor.layers, start=1):
        slopes = partial_derivatives(loss, layer.W)
        assert_close(actual[f"W{number}"], slopes, DIFFERENCE64, f"W{number}")
        slopes = partial_derivatives(loss, layer.b)
        assert_close(actual[f"b{number}"], slopes, DIFFERENCE64, f"b{number}")


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "identity"])
def test_other_activations(ops, activation):
    model = small_model(
        ops, activation=(activation, "relu", activation), output_activation=activation, **PAPER
    )
    x, x_noisy = batch(5)
    expected = literal_gradient("supervisor", model, x, x_noisy)
    for block, values in gradient(model, x, x_noisy).items():
        assert_close(values, expected[block], ORACLE64, block)


class TestOnlyTheSymmetricLoss:
    """In the paper nothing of the student reaches the supervisor, not by a single bit."""

    @pytest.mark.parametrize(
        "change",
        [
            {"beta_ap": 17.0},
            {"beta_ap": 0.0},
            {"gamma_nc": 17.0},
            {"gamma_nc": 0.0},
            {"student_reconstruction": 2.0},
            {"base_bias": True},
        ],
        ids=str,
    )
    def test_other_weights(self, ops, change):
        x, x_noisy = batch(5)
        expected = gradient(small_model(ops, **PAPER), x, x_noisy)
        actual = gradient(small_model(ops, **{**PAPER, **change}), x, x_noisy)
        for block, values in actual.items():
            assert_same_bits(values, expected[block], block)

    def test_noise_and_student(self, ops):
        model = small_model(ops, **PAPER)
        x, x_noisy = batch(5)
        expected = gradient(model, x, x_noisy)
        model.student.arena.params[...] *= -1.7
        for block, values in gradient(model, x, 1.0 - x_noisy).items():
            assert_same_bits(values, expected[block], block)

    def test_it_is_proportional_to_alpha(self, ops):
        x, x_noisy = batch(5)
        once = gradient(small_model(ops, **{**PAPER, "alpha_sym": 1.0}), x, x_noisy)
        four = gradient(small_model(ops, **{**PAPER, "alpha_sym": 4.0}), x, x_noisy)
        for block, values in four.items():
            assert_same_bits(values, 4.0 * once[block], block)  # 4 is a power of 2

    def test_without_it_there_is_none(self, ops):
        model = small_model(ops, **{**PAPER, "alpha_sym": 0.0})
        model.supervisor.arena.grads.fill(np.nan)
        for values in gradient(model, *batch(5)).values():
            assert not values.any()


class TestDifferencesOfTheDemo:
    """Which of the four reach the supervisor, and by how much (its value is tested above)."""

    def changes(self, name):
        x, x_noisy = batch(5)
        paper = gradient(small_model(**PAPER), x, x_noisy)
        demo = gradient(small_model(**{**PAPER, **DIFFERENCES[name]}), x, x_noisy)
        return {block: np.abs(demo[block] - paper[block]).max() for block in paper}

    @pytest.mark.parametrize("name", ["student reconstruction", "base bias"])
    def test_does_not(self, name):
        assert set(self.changes(name).values()) == {0.0}

    @pytest.mark.parametrize("name", ["apposition to supervisor", "mean over features"])
    def test_does(self, name):
        assert min(self.changes(name).values()) > 1e-3

    def test_mean_over_features_divides_by_their_number(self):
        x, x_noisy = batch(5)
        total = gradient(small_model(**PAPER), x, x_noisy)
        mean = gradient(small_model(**{**PAPER, "reduction": "mean"}), x, x_noisy)
        for block, values in mean.items():
            assert_close(13 * values, total[block], ORACLE64, block)

    def test_every_layer_s_pair_moves_it(self):
        """With alpha = 0 in the demo's mode the whole signal is apposition's."""
        options = {**PAPER, "alpha_sym": 0.0, "apposition_to_supervisor": True}
        model = small_model(**options)
        x, x_noisy = batch(5)
        expected = literal_gradient("supervisor", model, x, x_noisy)
        for block, values in gradient(model, x, x_noisy).items():
            assert_close(values, expected[block], ORACLE64, block)
            assert values.any()


def test_gradient_is_the_mean_over_samples():
    """The 1/N of equation 4: twice the same samples, the same gradient."""
    model = small_model(rows=6, **PAPER)
    x, x_noisy = batch(3)
    once = gradient(model, x, x_noisy)
    twice = gradient(model, np.vstack([x, x]), np.vstack([x_noisy, x_noisy]))
    for block, values in twice.items():
        assert_close(values, once[block], ORACLE64, block)
