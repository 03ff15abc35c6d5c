"""Equation 5: ``L_ap``, over the pairs of appositive layers."""

import numpy as np
import pytest
from engine_cases import DEPTH, PAPER, batch, pairs, partial_derivatives, small_model
from literal_cases import literal_losses, literal_objective
from tolerances import DIFFERENCE64, ORACLE32, ORACLE64, assert_close

from ddnmf_np.config import configure
from ddnmf_np.engine import literal
from ddnmf_np.engine.losses import InterpretabilityLoss, Objective, Signal, appositive
from ddnmf_np.errors import UsageError

pytestmark = pytest.mark.equation(5)

REDUCTIONS = ("sum", "mean")
DEPTHS = range(2, 21, 2)


class TestAppositive:
    def test_depth_of_the_paper(self):
        assert [appositive(layer, 6) for layer in range(1, 7)] == [1, 2, 3, 6, 7, 8]

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_onto_all_student_layers_but_the_nmf_module(self, depth):
        partners = [appositive(layer, depth) for layer in range(1, depth + 1)]
        assert partners == sorted(set(partners))
        half = depth // 2
        assert set(partners) == set(range(1, depth + 3)) - {half + 1, half + 2}

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_is_the_paper_s_table_read_backwards(self, depth):
        """Student layer l <= L/2 has partner l; l >= L/2 + 3 has partner l - 2."""
        for student_layer, supervisor_layer in pairs(depth):
            assert appositive(supervisor_layer, depth) == student_layer
            assert literal.appositive(supervisor_layer, depth) == student_layer

    @pytest.mark.parametrize("widths", [(2,), (5, 3), (7, 11, 5), (6, 5, 4, 3)])
    def test_partners_are_equally_wide(self, widths):
        model = configure(widths=widths, rank=2).make_model(13, rows=1)
        for layer in range(1, model.depth + 1):
            partner = appositive(layer, model.depth)
            assert model.supervisor.widths[layer] == model.student.widths[partner]

    @pytest.mark.parametrize("depth", [1, 3, 7, 0, -2])
    def test_depth_must_be_even(self, depth):
        with pytest.raises(UsageError, match=f"depth is {depth}; expected an even number >= 2"):
            Objective().terms(depth)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("to_supervisor", [False, True])
def test_table_has_one_term_for_each_pair(depth, to_supervisor):
    objective = Objective(beta_ap=0.3, apposition_to_supervisor=to_supervisor)
    terms = [term for term in objective.terms(depth) if term.loss == "ap"]
    assert {(term.a, term.b) for term in terms} == {
        (Signal("student", k), Signal("supervisor", number)) for k, number in pairs(depth)
    }
    assert len(terms) == depth
    assert {term.weight for term in terms} == {0.3}
    for term in terms:
        assert set(term.moves) == ({term.a, term.b} if to_supervisor else {term.a})


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
@pytest.mark.parametrize("n", [1, 5])
def test_value(ops, reduction, dtype, tolerance, n):
    model = small_model(ops, dtype=dtype, reduction=reduction, **PAPER)
    x, x_noisy = batch(n, dtype=dtype)
    model.forward(x, x_noisy)
    model.loss.measure(x)
    expected = literal_losses(model, x, x_noisy)
    assert_close(model.loss.values(n)["loss_ap"], expected["loss_ap"], tolerance)


def test_worked_by_hand():
    """Two layers: the codes differ by (1, -2), the outputs by 0.5 in each of 3 features."""
    model = configure(widths=(2,), rank=1, dtype="float64", activation="identity").make_model(
        3, rows=1
    )
    model.supervisor.arena.params.fill(0.0)
    model.student.arena.params.fill(0.0)
    model.student.layers[0].b[...] = [1.0, -2.0]
    model.student.layers[3].b[...] = 0.5
    x = np.zeros((1, 3))
    model.forward(x, x)
    model.loss.measure(x)
    assert model.loss.values(1)["loss_ap"] == 5.0 + 0.75


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("to_supervisor", [False, True])
def test_gradient_for_each_layer(reduction, to_supervisor):
    """``(2 beta / N)(h~ - h)``: the table's entry and finite differences in the signal."""
    model = small_model(
        reduction=reduction, apposition_to_supervisor=to_supervisor, **{**PAPER, "gamma_nc": 0.0}
    )
    x, x_noisy = batch(5)
    model.forward(x, x_noisy)
    direct = {net: model.loss.direct_gradients(net, x) for net in model.nets}
    objective = literal_objective(model)
    for k, number in pairs(DEPTH):
        h, h_student = model.supervisor.h[number].copy(), model.student.h[k].copy()

        def loss(h=h, h_student=h_student):
            samples = zip(h, h_student, strict=True)
            return 1.3 * sum(objective.distance(a, b) for a, b in samples) / 5

        [(ref, c, _)] = direct["student"][k]
        assert ref is model.supervisor.h[number]
        slopes = partial_derivatives(loss, h_student)
        assert_close(c * (h_student - h), slopes, DIFFERENCE64, f"student layer {k}")
        partners = [term for term in direct["supervisor"].get(number, []) if term[0] is not x]
        assert len(partners) == to_supervisor
        for ref, c, _ in partners:
            assert ref is model.student.h[k]
            slopes = partial_derivatives(loss, h)
            assert_close(c * (h - ref), slopes, DIFFERENCE64, f"supervisor layer {number}")


def test_equal_networks_have_none():
    """Where a student's layers and data are the supervisor's, only the decoder differs."""
    model = small_model(**PAPER)
    x, _ = batch(5)
    for number in range(1, DEPTH // 2 + 1):
        for kind in "Wb":
            block = f"{kind}{number}"
            model.student.arena.param(block)[...] = model.supervisor.arena.param(block)
    model.forward(x, x)
    model.loss.measure(x)
    by_pair = dict(zip(range(1, DEPTH + 1), model.loss.sums[1 : DEPTH + 1], strict=True))
    assert [by_pair[k] for k in (1, 2, 3)] == [0.0, 0.0, 0.0]
    assert min(by_pair[k] for k in (4, 5, 6)) > 0.0


def test_networks_that_make_no_pairs_are_refused():
    model = small_model(**PAPER)
    with pytest.raises(UsageError, match=f"the student has {DEPTH} layers and the supervisor"):
        InterpretabilityLoss(model.objective, model.supervisor, model.supervisor)
