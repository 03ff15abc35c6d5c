"""Equation 7: ``L_in = alpha L_sym + beta L_ap + gamma L_nc``, and the demo's fourth term."""

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DEPTH,
    DIFFERENCES,
    PAPER,
    batch,
    moving_loss,
    small_model,
)
from literal_cases import literal_losses, literal_nets, literal_objective
from tolerances import ORACLE32, ORACLE64, assert_close

from ddnmf_np.engine.losses import PRESETS, Objective, Signal
from ddnmf_np.errors import UsageError

pytestmark = pytest.mark.equation(7)

OBJECTIVES = {
    "paper": PAPER,
    "demo": DEMO,
    **{name: {**PAPER, **one} for name, one in DIFFERENCES.items()},
}


def measured(model, x, x_noisy, net=None):
    model.forward(x, x_noisy)
    model.loss.reset()
    model.loss.measure(x, net)
    return model.loss.values(x.shape[0])


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
def test_every_loss(ops, options, dtype, tolerance):
    model = small_model(ops, dtype=dtype, **options)
    x, x_noisy = batch(5, dtype=dtype)
    values = measured(model, x, x_noisy)
    expected = literal_losses(model, x, x_noisy)
    if not model.objective.student_reconstruction:
        del expected["loss_rec"]
    assert set(values) == set(expected)
    for name, value in values.items():
        assert_close(value, expected[name], tolerance, name)


def test_weighted_sum():
    options = {**DEMO, "student_reconstruction": 0.6, "reduction": "sum"}
    model = small_model(**options)
    values = measured(model, *batch(5))
    total = (
        0.7 * values["loss_sym"]
        + 0.4 * values["loss_ap"]
        + 0.9 * values["loss_nc"]
        + 0.6 * values["loss_rec"]
    )
    assert_close(values["loss_in"], total, ORACLE64)


@pytest.mark.parametrize("weight", ["alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction"])
def test_each_weight_scales_its_own_loss_alone(weight):
    loss = {"alpha_sym": "loss_sym", "beta_ap": "loss_ap", "gamma_nc": "loss_nc"}.get(
        weight, "loss_rec"
    )
    x, x_noisy = batch(5)
    base = {**DEMO, "student_reconstruction": 0.6}
    once = measured(small_model(**base), x, x_noisy)
    more = measured(small_model(**{**base, weight: base[weight] + 2.0}), x, x_noisy)
    for name in set(once) - {"loss_in"}:
        assert more[name] == once[name]  # reported without its weight
    assert_close(more["loss_in"] - once["loss_in"], 2.0 * once[loss], ORACLE64)


@pytest.mark.parametrize(
    ("net", "losses"),
    [("supervisor", {"sym"}), ("student", {"ap", "nc"}), (None, {"sym", "ap", "nc"})],
)
def test_terms_that_move_a_network(net, losses):
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    part, whole = measured(model, x, x_noisy, net), measured(model, x, x_noisy)
    expected = {"sym": 0.7, "ap": 1.3, "nc": 0.9}
    for loss, weight in expected.items():
        assert part[f"loss_{loss}"] == (whole[f"loss_{loss}"] if loss in losses else 0.0), weight
    moving = sum(expected[loss] * whole[f"loss_{loss}"] for loss in losses)
    assert_close(part["loss_in"], moving, ORACLE64)


def test_terms_that_move_a_network_in_the_demo():
    model = small_model(**DEMO)
    x, x_noisy = batch(5)
    for net in model.nets:
        expected = moving_loss(
            net, *literal_nets(model), x, x_noisy, literal_objective(model)
        )  # fmt: skip
        assert_close(measured(model, x, x_noisy, net)["loss_in"], expected, ORACLE64, net)


def test_presets():
    assert PRESETS["paper"] == Objective("paper", 1.0, 1.0, 1.0, "sum", 0.0, False, False)
    assert PRESETS["demo"] == Objective("demo", 1.0, 0.01, 1.0, "mean", 1.0, True, True)
    assert PRESETS["stable"] == Objective("stable", 1.0, 0.01, 0.1, "mean", 1.0, True, True)
    assert PRESETS["auto"] == Objective("auto", 1.0, 0.01, 0.01, "mean", 1.0, False, False)
    assert PRESETS["parts"] == Objective("parts", 1.0, 0.01, 0.01, "mean", 1.0, False, True)
    assert small_model(objective="paper").objective == PRESETS["paper"]
    assert small_model(objective="demo").objective == PRESETS["demo"]


def test_reconstruction_of_the_demo_compares_the_student_with_the_clean_input():
    [term] = [t for t in PRESETS["demo"].terms(DEPTH) if t.loss == "rec"]
    assert {term.a, term.b} == {Signal("student", DEPTH + 2), Signal("data", 0)}
    assert term.moves == (Signal("student", DEPTH + 2),)
    assert not [t for t in PRESETS["paper"].terms(DEPTH) if t.loss == "rec"]


def test_sums_are_kept_in_float64():
    """An epoch in float32 must not lose small batches beside a large sum."""
    model = small_model(dtype="float32", **PAPER)
    x, x_noisy = batch(5, dtype="float32")
    model.forward(x, x_noisy)
    model.loss.measure(x)
    once = model.loss.sums.copy()
    assert once.dtype == "float64"
    model.loss.sums.fill(2.0**40)  # a float32 there has a spacing of 2**17
    model.loss.measure(x)
    np.testing.assert_allclose(model.loss.sums - 2.0**40, once, rtol=0, atol=2.0**-11)


@pytest.mark.parametrize("value", [-1.0, -1e-300, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction"])
def test_weights_must_be_finite_and_not_negative(name, value):
    with pytest.raises(UsageError, match=rf"{name} is .*; expected a finite number >= 0"):
        Objective(**{name: value})


def test_some_loss_must_train_the_student():
    with pytest.raises(UsageError, match="nothing trains the student; set one of them above 0"):
        Objective(beta_ap=0.0, gamma_nc=0.0, student_reconstruction=0.0)
    for name in ("beta_ap", "gamma_nc", "student_reconstruction"):
        others = {"beta_ap": 0.0, "gamma_nc": 0.0, "student_reconstruction": 0.0}
        assert getattr(Objective(**(others | {name: 1.0})), name) == 1.0
    Objective(beta_ap=1.0, gamma_nc=1.0, student_reconstruction=1.0)


def test_reduction_must_be_known():
    with pytest.raises(UsageError, match="reduction is 'max'; "):
        Objective(reduction="max")
