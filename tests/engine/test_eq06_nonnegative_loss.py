"""Equation 6: ``L_nc = (1/N) sum_i ||X_i - X^_i||^2``, the student's code against its recovery."""

import numpy as np
import pytest
from engine_cases import DEPTH, PAPER, batch, partial_derivatives, small_model
from literal_cases import literal_losses, literal_objective
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close

from ddnmf_np.config import configure
from ddnmf_np.engine.losses import Objective, Signal

pytestmark = pytest.mark.equation(6)

REDUCTIONS = ("sum", "mean")
CODE, RECOVERED = DEPTH // 2, DEPTH // 2 + 2


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
@pytest.mark.parametrize("n", [1, 5])
def test_value(ops, reduction, dtype, tolerance, n):
    model = small_model(ops, dtype=dtype, reduction=reduction, **PAPER)
    x, x_noisy = batch(n, dtype=dtype)
    model.forward(x, x_noisy)
    model.loss.measure(x)
    expected = literal_losses(model, x, x_noisy)
    assert_close(model.loss.values(n)["loss_nc"], expected["loss_nc"], tolerance)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 9.25), ("mean", 4.625)])
def test_worked_by_hand(reduction, expected):
    """Code (2, 3), H = 1/2, recovery (1/2 * 3, -1/2 -> 0): differences 1/2 and 3."""
    config = configure(widths=(2,), rank=1, dtype="float64", reduction=reduction)
    model = config.make_model(3, rows=1)
    model.student.arena.params.fill(0.0)
    model.student.layers[0].b[...] = [2.0, 3.0]
    model.student.arena.param("W_rec")[...] = [[3.0], [-1.0]]
    x = np.zeros((1, 3))
    model.forward(x, x)
    model.loss.measure(x)
    assert model.loss.values(1)["loss_nc"] == expected


@pytest.mark.parametrize("depth", range(2, 21, 2))
def test_table_joins_code_and_recovered_code_and_moves_both(depth):
    [term] = [term for term in Objective(gamma_nc=0.3).terms(depth) if term.loss == "nc"]
    ends = {Signal("student", depth // 2), Signal("student", depth // 2 + 2)}
    assert {term.a, term.b} == ends
    assert set(term.moves) == ends
    assert len(term.moves) == 2
    assert term.weight == 0.3


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_at_both_ends(reduction):
    """``(2 gamma / N)(X - X^)`` at the code and its negative at the recovered code."""
    model = small_model(reduction=reduction, **{**PAPER, "beta_ap": 0.0})
    x, x_noisy = batch(5)
    model.forward(x, x_noisy)
    direct = model.loss.direct_gradients("student", x)
    assert set(direct) == {CODE, RECOVERED}
    code, code_hat = model.student.h[CODE].copy(), model.student.h[RECOVERED].copy()

    def loss():
        samples = zip(code, code_hat, strict=True)
        return 0.9 * sum(literal_objective(model).distance(a, b) for a, b in samples) / 5

    at_code, at_recovery = (
        sum(c * (model.student.h[number] - ref) for ref, c, _ in direct[number])
        for number in (CODE, RECOVERED)
    )
    assert_close(at_code, partial_derivatives(loss, code), DIFFERENCE64, "code")
    slopes = partial_derivatives(loss, code_hat)
    assert_close(at_recovery, slopes, DIFFERENCE64, "recovered code")
    np.testing.assert_array_equal(at_recovery, -at_code)


def test_the_supervisor_has_no_part_in_it():
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    values = []
    for factor in (1.0, 1.5):
        model.supervisor.arena.params[...] *= factor
        model.forward(x, x_noisy)
        model.loss.reset()
        model.loss.measure(x)
        values.append(model.loss.values(5))
    assert values[0]["loss_nc"] == values[1]["loss_nc"]
    assert values[0]["loss_sym"] != values[1]["loss_sym"]
