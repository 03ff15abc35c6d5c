"""Equation 3: ``H = sigmoid(W' X)`` and ``X^ = ReLU(W H)``, without bias."""

import numpy as np
import oracle
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
    oracle_layers,
    small_model,
)
from tolerances import ORACLE32, ORACLE64, assert_close, assert_same_bits

from ddnmf_np.backends.ops import ACTIVATIONS

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
    base, recovery = oracle_layers(model.student)[CODE : CODE + 2]
    for n, X in enumerate(oracle.columns(model.student.h[CODE])):
        z = base.W @ X if base.b is None else base.W @ X + base.b
        H = 1 / (1 + np.exp(-z))
        X_hat = np.maximum(recovery.W @ H, 0.0)
        assert_close(model.student.h[BASE][n], H[:, 0], tolerance, "H")
        assert_close(model.student.h[RECOVERED][n], X_hat[:, 0], tolerance, "X^")


def test_worked_by_hand():
    model = small_model(**PAPER)
    base, recovery = model.student.layers[CODE : CODE + 2]
    base.W[...] = 0.0
    base.W[0, 0] = np.log(3.0)
    recovery.W[...] = 0.0
    recovery.W[1] = [4.0, -2.0, 0.0]
    recovery.W[2] = [-4.0, 2.0, 0.0]
    X = np.array([[1.0, 9.0, 9.0, 9.0, 9.0], [-1.0, 9.0, 9.0, 9.0, 9.0]])
    H = model.student.forward(X, start=CODE, stop=BASE).copy()
    assert_close(H, np.array([[0.75, 0.5, 0.5], [0.25, 0.5, 0.5]]), ORACLE64)
    X_hat = model.student.forward(H, start=BASE, stop=RECOVERED)
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
    whole = [oracle.forward(oracle_layers(model.student), column) for column in oracle.columns(x)]
    assert_close(H, oracle.rows([h[BASE] for h in whole]), ORACLE64, "encode")
    assert_close(model.decode(H), oracle.rows([h[-1] for h in whole]), ORACLE64, "decode")
    assert_close(model.denoise(x), oracle.rows([h[-1] for h in whole]), ORACLE64, "denoise")
    above = [oracle.forward(oracle_layers(model.supervisor), c)[-1] for c in oracle.columns(x)]
    assert_close(model.supervise(x), oracle.rows(above), ORACLE64, "supervise")


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
