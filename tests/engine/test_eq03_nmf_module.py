"""Equation 3: ``H = sigmoid(W' X)`` and ``X^ = ReLU(W H)``, without bias."""

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DEPTH,
    DIFFERENCES,
    PAPER,
    RANK,
    STUDENT_WIDTHS,
    SUPERVISOR_WIDTHS,
    batch,
    small_model,
)
from literal_cases import literal_chain
from tolerances import ORACLE32, ORACLE64, assert_close, assert_same_bits

from ddnmf_np.backends.ops import ACTIVATIONS
from ddnmf_np.engine import literal
from ddnmf_np.engine.nmf import NMFModule

pytestmark = pytest.mark.equation(3)

CODE, BASE, RECOVERED = DEPTH // 2, DEPTH // 2 + 1, DEPTH // 2 + 2


def test_the_two_networks():
    model = small_model(**PAPER)
    assert model.supervisor.widths == SUPERVISOR_WIDTHS
    assert model.student.widths == STUDENT_WIDTHS
    assert model.depth == DEPTH
    assert [layer.activation for layer in model.supervisor.layers] == ["relu"] * DEPTH
    assert [layer.activation for layer in model.student.layers] == (
        ["relu"] * CODE + ["sigmoid", "relu"] + ["relu"] * CODE
    )
    shapes = model.student.arena.shapes
    assert shapes["W_base"] == (3, 5)  # r x m
    assert shapes["W_rec"] == (5, 3)  # m x r


@pytest.mark.parametrize(
    "options",
    [PAPER, *({**PAPER, **one} for name, one in DIFFERENCES.items() if name != "base bias")],
)
def test_no_bias_in_the_paper_s_module(options):
    model = small_model(**options)
    blocks = set(model.student.arena.shapes)
    assert blocks == {"W_base", "W_rec"} | {f"{p}{k}" for p in "Wb" for k in (1, 2, 3, 6, 7, 8)}


@pytest.mark.parametrize("options", [DEMO, {**PAPER, "base_bias": True}])
def test_the_demo_s_base_has_a_bias_and_its_recovery_none(options):
    shapes = small_model(**options).student.arena.shapes
    assert shapes["b_base"] == (3,)
    assert "b_rec" not in shapes


@pytest.mark.parametrize("options", [PAPER, DEMO], ids=["paper", "demo"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
def test_base_and_recovered_code(ops, options, dtype, tolerance):
    model = small_model(ops, dtype=dtype, **options)
    x, x_noisy = batch(6, dtype=dtype)
    model.forward(x, x_noisy)
    base, recovery = literal_chain(model.student).layers[CODE : CODE + 2]
    module = literal.NMFModule(base.W, recovery.W, base.b)
    for n, X in enumerate(model.student.h[CODE]):
        H, X_hat = module.forward(X)
        assert_close(model.student.h[BASE][n], H, tolerance, "H")
        assert_close(model.student.h[RECOVERED][n], X_hat, tolerance, "X^")


def test_worked_by_hand():
    model = small_model(**PAPER)
    base, recovery = model.student.layers[CODE : CODE + 2]
    base.W[...] = 0.0
    base.W[0, 0] = np.log(3.0)
    recovery.W[...] = 0.0
    recovery.W[1] = [4.0, -2.0, 0.0]
    recovery.W[2] = [-4.0, 2.0, 0.0]
    X = np.array([[1.0, 9.0, 9.0, 9.0, 9.0], [-1.0, 9.0, 9.0, 9.0, 9.0]])
    H = model.student.apply(X, start=CODE, stop=BASE)
    assert_close(H, np.array([[0.75, 0.5, 0.5], [0.25, 0.5, 0.5]]), ORACLE64)
    X_hat = model.student.apply(H, start=BASE, stop=RECOVERED)
    assert_close(X_hat, np.array([[0.0, 2.0, 0.0, 0.0, 0.0], [0.0] * 5]), ORACLE64)


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e30])
def test_h_is_positive_and_at_most_1_and_the_recovered_code_is_not_negative(ops, scale):
    model = small_model(ops, dtype="float32", **PAPER)
    model.student.arena.param("W_base")[...] *= scale
    x, x_noisy = batch(6, dtype="float32")
    model.forward(x, x_noisy)
    H, X_hat = model.student.h[BASE], model.student.h[RECOVERED]
    assert H.min() >= np.finfo("float32").tiny
    assert H.max() <= 1.0
    assert (X_hat >= 0.0).all()
    assert (X_hat > 0.0).any()
    if scale == 1.0:
        assert (H < 1.0).all()


@pytest.mark.parametrize("n", [1, 6, 23])
def test_encode_and_decode_are_the_two_halves_of_the_student(ops, n):
    model = small_model(ops, rows=6, **PAPER)
    x, _ = batch(n)
    H = model.encode(x)
    assert H.shape == (n, RANK)
    whole = [literal_chain(model.student).forward(sample) for sample in x]
    assert_close(H, [h[BASE] for h in whole], ORACLE64, "encode")
    assert_close(model.decode(H), [h[-1] for h in whole], ORACLE64, "decode")
    assert_close(model.denoise(x), [h[-1] for h in whole], ORACLE64, "denoise")
    above = [literal_chain(model.supervisor).forward(sample)[-1] for sample in x]
    assert_close(model.supervise(x), above, ORACLE64, "supervise")


def test_encode_returns_memory_of_its_own():
    model = small_model(**PAPER)
    x, x_noisy = batch(6)
    H = model.encode(x)
    before = H.copy()
    model.forward(x_noisy, x_noisy)
    assert_same_bits(H, before)


@pytest.mark.parametrize(
    ("nonnegative", "projected"),
    [("off", set()), ("recovery", {"W_rec"}), ("both", {"W_rec", "W_base"})],
)
def test_projection_of_the_module_s_weights(nonnegative, projected):
    model = small_model(nonnegative=nonnegative, **PAPER)
    free = small_model(nonnegative="off", **PAPER)
    for name, raw in ((n, free.student.arena.param(n)) for n in free.student.arena.shapes):
        expected = np.maximum(raw, 0.0) if name in projected else raw
        np.testing.assert_array_equal(model.student.arena.param(name), expected)
    for _ in range(3):
        model.step(*batch(5))
        for name in ("W_base", "W_rec"):
            W = model.student.arena.param(name)
            assert (W < 0.0).any() == (name not in projected)
            assert (W > 0.0).any()
        assert (model.student.arena.param("W1") < 0.0).any()


class TestModuleByItself:
    """`NMFModule` outside a student."""

    def test_forward_and_backward_are_the_paper_s_columns(self):
        module = NMFModule(5, 3)
        rng = np.random.default_rng(2)
        X, g = rng.uniform(size=(6, 5)), rng.normal(size=(6, 5))
        X_hat, dX = module.forward(X), module.backward(g)
        columns = literal.NMFModule(module.base.W, module.recovery.W)
        dW_base, dW_rec = np.zeros((3, 5)), np.zeros((5, 3))
        for n, (sample, signal) in enumerate(zip(X, g, strict=True)):
            H, expected = columns.forward(sample)
            assert_close(module.base.h[n], H, ORACLE64, "H")
            assert_close(X_hat[n], expected, ORACLE64, "X^")
            (of_W_rec,), down = columns.recovery.backward(H, signal)
            (of_W_base,), down = columns.base.backward(sample, down)
            assert_close(dX[n], down, ORACLE64, "dX")
            dW_rec += of_W_rec
            dW_base += of_W_base
        assert_close(module.recovery.dW, dW_rec, ORACLE64)
        assert_close(module.base.dW, dW_base, ORACLE64)

    def test_the_paper_s_has_no_bias_and_the_demo_s_base_has_one(self):
        assert [layer.bias for layer in NMFModule(5, 3).layers] == [False, False]
        assert [layer.bias for layer in NMFModule(5, 3, base_bias=True).layers] == [True, False]
        assert [repr(layer) for layer in NMFModule(5, 3).layers] == [
            "Dense _base 5->3 (sigmoid, no bias)",
            "Dense _rec 3->5 (relu, no bias)",
        ]

    def test_a_model_s_module_is_made_of_its_student_s_layers(self):
        model = small_model(**PAPER)
        for one in (model, model.copy(rows=2, dtype="float64")):
            assert one.nmf.layers == one.student.layers[CODE : CODE + 2]
            assert np.shares_memory(one.nmf.base.W, one.student.arena.params)

    def test_projection(self):
        module = NMFModule(5, 3)
        for layer in module.layers:
            layer.allocate()
        raw = [layer.W.copy() for layer in module.layers]
        for nonnegative, projected in (("off", ""), ("recovery", "_rec"), ("both", "_base_rec")):
            module.project(nonnegative)
            for layer, W in zip(module.layers, raw, strict=True):
                expected = np.maximum(W, 0.0) if layer.label in projected else W
                assert_same_bits(layer.W, expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_other_activations_are_where_they_were_asked_for(activation):
    model = small_model(
        activation=("tanh", "softplus", "relu"),
        output_activation=activation,
        base_activation="softplus",
        recovery_activation="identity",
        **PAPER,
    )
    encoder, decoder = ["tanh", "softplus", "relu"], ["softplus", "tanh", activation]
    assert [layer.activation for layer in model.supervisor.layers] == encoder + decoder
    assert [layer.activation for layer in model.student.layers] == (
        [*encoder, "softplus", "identity", *decoder]
    )
