"""Equation 4: ``L_sym = (1/N) sum_i ||x_i - y_i||^2``."""

import numpy as np
import pytest
from engine_cases import DEPTH, PAPER, batch, partial_derivatives, small_model
from literal_cases import literal_losses, literal_objective
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close

pytestmark = pytest.mark.equation(4)

REDUCTIONS = ("sum", "mean")


def measured(model, x, x_noisy):
    model.forward(x, x_noisy)
    model.loss.reset()
    model.loss.measure(x)
    return model.loss.values(x.shape[0])


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
@pytest.mark.parametrize("n", [1, 5])
def test_value(ops, reduction, dtype, tolerance, n):
    model = small_model(ops, dtype=dtype, reduction=reduction, **PAPER)
    x, x_noisy = batch(n, dtype=dtype)
    expected = literal_losses(model, x, x_noisy)
    value = measured(model, x, x_noisy)["loss_sym"]
    assert isinstance(value, float)
    assert_close(value, expected["loss_sym"], tolerance)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 13.0), ("mean", 1.0)])
def test_worked_by_hand(reduction, expected):
    """y is the fourth unit vector for both samples: distances 0 and 16 + 1 + 9, 13 features."""
    model = small_model(rows=2, **{**PAPER, "reduction": reduction})
    model.supervisor.arena.params.fill(0.0)
    model.supervisor.layers[-1].b[3] = 1.0
    x = np.zeros((2, 13))
    x[0, 3], x[1, 0], x[1, 12] = 1.0, 4.0, 3.0
    assert measured(model, x, x)["loss_sym"] == expected


def test_noise_and_student_have_no_part_in_it():
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    value = measured(model, x, x_noisy)["loss_sym"]
    model.student.arena.params[...] *= 1.5
    assert measured(model, x, 1.0 - x_noisy)["loss_sym"] == value


def test_an_epoch_is_the_mean_over_its_samples_not_over_its_batches():
    model = small_model(**PAPER)
    x, x_noisy = batch(13)
    model.loss.reset()
    for rows in (slice(0, 6), slice(6, 12), slice(12, 13)):
        model.forward(x[rows], x_noisy[rows])
        model.loss.measure(x[rows])
    expected = literal_losses(model, x, x_noisy)
    for name, value in model.loss.values(13).items():
        assert_close(value, expected[name], ORACLE64, name)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_for_the_output(reduction):
    """``g(L) = (2 alpha / N)(y - x)``: the table's entry and finite differences in y."""
    model = small_model(reduction=reduction, **PAPER)
    x, x_noisy = batch(5)
    model.forward(x, x_noisy)
    y = model.supervisor.h[DEPTH].copy()
    assert list(model.loss.direct_gradients("supervisor", x)) == [DEPTH]
    [(ref, c, _)] = model.loss.direct_gradients("supervisor", x)[DEPTH]
    assert ref is x
    features = 13 if reduction == "mean" else 1
    assert c == pytest.approx(2 * 0.7 / (5 * features), rel=1e-15)

    def loss():
        per_sample = [literal_objective(model).distance(a, b) for a, b in zip(x, y, strict=True)]
        return 0.7 * sum(per_sample) / 5

    assert_close(c * (y - ref), partial_derivatives(loss, y), DIFFERENCE64)


def test_weight_zero_is_left_out():
    model = small_model(**{**PAPER, "alpha_sym": 0.0})
    x, x_noisy = batch(5)
    assert set(measured(model, x, x_noisy)) == {"loss_in", "loss_ap", "loss_nc"}
    assert model.loss.direct_gradients("supervisor", x) == {}
    model.supervisor.arena.grads.fill(np.nan)
    model.backward(x)
    arena = model.supervisor.arena
    assert not arena.packed(arena.grads).any()
