"""Equation 10: only ``beta L_ap + gamma L_nc`` moves the student."""

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DEPTH,
    DIFFERENCES,
    NETS,
    PAPER,
    batch,
    distance_from_kinks,
    engine_gradient,
    literal_gradient,
    moving_loss,
    partial_derivatives,
    small_config,
    small_model,
)
from literal_cases import TensorLayer, literal_nets, literal_objective
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close, assert_same_bits

pytestmark = pytest.mark.equation(10)

OBJECTIVES = {
    "paper": PAPER,
    "demo": DEMO,
    "apposition alone": {**PAPER, "gamma_nc": 0.0},
    "non-negative constraint alone": {**PAPER, "beta_ap": 0.0},
    **{name: {**PAPER, **one} for name, one in DIFFERENCES.items()},
}


def gradient(model, x, x_noisy):
    return engine_gradient("student", model, x, x_noisy)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
def test_batch_is_the_paper_s_columns(ops, options, dtype, tolerance):
    model = small_model(ops, dtype=dtype, **options)
    x, x_noisy = batch(5, dtype=dtype)
    expected = literal_gradient("student", model, x, x_noisy)
    actual = gradient(model, x, x_noisy)
    assert set(actual) == set(expected)
    for block, values in actual.items():
        assert values.dtype == dtype
        if not expected[block].any():
            assert not values.any(), block
        else:
            assert_close(values, expected[block], tolerance, block)


def test_the_paper_s_tensor_is_the_outer_product():
    model = small_model(**PAPER)
    x, x_noisy = batch(4)
    tensor = literal_gradient(
        "student", model, x, x_noisy, kind=TensorLayer
    )  # fmt: skip
    for block, values in gradient(model, x, x_noisy).items():
        assert_close(values, tensor[block], ORACLE64, block)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_partial_derivative(options):
    """Finite differences of the literal loss, entry by entry, the supervisor held constant."""
    model = small_model(**options)
    x, x_noisy = batch(2)
    assert distance_from_kinks(model, x, x_noisy) > 1e-4
    supervisor, student = literal_nets(model)
    weights = literal_objective(model)
    actual = gradient(model, x, x_noisy)

    def loss():
        return moving_loss("student", supervisor, student, x, x_noisy, weights)

    for dense, layer in zip(model.student.layers, student.layers, strict=True):
        for block, values in ((f"W{dense.label}", layer.W), (f"b{dense.label}", layer.b)):
            if values is not None:
                slopes = partial_derivatives(loss, values)
                if options.get("beta_ap") == 0.0 and not actual[block].any():
                    assert not slopes.any(), block  # above the module nothing is compared
                else:
                    assert_close(actual[block], slopes, DIFFERENCE64, block)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("widths", [(5,), (7, 5), (7, 11, 5), (7, 11, 6, 5)], ids=len)
def test_table_of_direct_gradients(options, widths):
    """``Grad[h~(l)]`` of the paper's table, case by case, layer by layer, at four depths."""
    model = small_config(widths=widths, **options).make_model(13, rows=5)
    x, x_noisy = batch(5)
    model.forward(x, x_noisy)
    direct = model.loss.direct_gradients("student", x)
    assert set(direct) <= set(range(1, model.depth + 3))
    N, (_, student) = 5, literal_nets(model)
    for number in range(1, model.depth + 3):
        h_student = model.student.h[number]
        actual = np.zeros_like(h_student)
        for ref, c, _ in direct.get(number, []):
            actual += c * (h_student - ref)
        for n in range(N):
            h, t = ([a[n] for a in net.h] for net in (model.supervisor, model.student))
            expected = student.direct_gradient(number, h, t, literal_objective(model), N)
            if expected.any():
                assert_close(actual[n], expected, ORACLE64, f"layer {number}, sample {n}")
            else:
                assert not actual[n].any(), f"layer {number}, sample {n}"
    assert model.depth // 2 + 1 not in direct  # nothing pulls at H itself


@pytest.mark.parametrize("base", ["sigmoid", "tanh", "softplus", "identity", "relu"])
def test_other_activations_of_the_module(ops, base):
    model = small_model(
        ops, activation="softplus", base_activation=base, recovery_activation="tanh", **DEMO
    )
    x, x_noisy = batch(5)
    expected = literal_gradient("student", model, x, x_noisy)
    for block, values in gradient(model, x, x_noisy).items():
        assert_close(values, expected[block], ORACLE64, block)


class TestWhatDoesNotMoveIt:
    @pytest.mark.parametrize("alpha", [0.0, 17.0])
    def test_the_symmetric_loss(self, ops, alpha):
        x, x_noisy = batch(5)
        expected = gradient(small_model(ops, **PAPER), x, x_noisy)
        actual = gradient(small_model(ops, **{**PAPER, "alpha_sym": alpha}), x, x_noisy)
        for block, values in actual.items():
            assert_same_bits(values, expected[block], block)

    def test_whether_the_supervisor_moves(self, ops):
        x, x_noisy = batch(5)
        expected = gradient(small_model(ops, **PAPER), x, x_noisy)
        options = {**PAPER, "apposition_to_supervisor": True}
        for block, values in gradient(small_model(ops, **options), x, x_noisy).items():
            assert_same_bits(values, expected[block], block)

    def test_the_clean_input_in_the_paper(self, ops):
        """The student meets the clean data in the supervisor's activations only."""
        model = small_model(ops, **PAPER)
        x, x_noisy = batch(5)
        expected = gradient(model, x, x_noisy)
        model.student.backward(model.loss.direct_gradients("student", np.full_like(x, np.nan)))
        for block, values in expected.items():
            assert_same_bits(model.student.arena.grad(block), values, block)


def test_the_module_has_no_db_in_the_paper():
    x, x_noisy = batch(5)
    paper = gradient(small_model(**PAPER), x, x_noisy)
    assert "b_base" not in paper
    assert "b_rec" not in paper
    demo = gradient(small_model(**DEMO), x, x_noisy)
    assert demo["b_base"].all()
    assert "b_rec" not in demo


class TestDifferencesOfTheDemo:
    """Which of the four reach the student (how much is tested above)."""

    def changes(self, name):
        x, x_noisy = batch(5)
        paper = gradient(small_model(**PAPER), x, x_noisy)
        demo = gradient(small_model(**{**PAPER, **DIFFERENCES[name]}), x, x_noisy)
        return {block: np.abs(demo[block] - paper[block]).max() for block in paper}

    @pytest.mark.parametrize("name", ["student reconstruction", "mean over features"])
    def test_does(self, name):
        assert min(self.changes(name).values()) > 1e-4

    def test_apposition_to_supervisor_does_not(self):
        assert set(self.changes("apposition to supervisor").values()) == {0.0}

    def test_base_bias_adds_its_own_gradient(self):
        model = small_model(**{**PAPER, "base_bias": True})
        x, x_noisy = batch(5)
        expected = literal_gradient("student", model, x, x_noisy)["b_base"]
        assert_close(gradient(model, x, x_noisy)["b_base"], expected, ORACLE64)
        assert np.abs(expected).min() > 1e-4

    def test_together_they_are_the_demo(self):
        """Switched on one after the other, they end at the preset, bit for bit."""
        options = {"objective": "paper", "beta_ap": 0.01, "student_reconstruction": 1.0}
        for one in list(DIFFERENCES.values())[1:]:
            options |= one
        x, x_noisy = batch(5)
        one_by_one, preset = small_model(**options), small_model(objective="demo")
        for net in NETS:
            expected = engine_gradient(net, preset, x, x_noisy)
            for block, values in engine_gradient(net, one_by_one, x, x_noisy).items():
                assert_same_bits(values, expected[block], block)


def test_the_supervisor_s_signals_are_read_not_changed():
    model = small_model(**PAPER)
    x, x_noisy = batch(5)
    model.forward(x, x_noisy)
    before = [h.copy() for h in model.supervisor.h]
    model.backward(x)
    for number in range(DEPTH + 1):
        assert_same_bits(model.supervisor.h[number], before[number], f"h({number})")
