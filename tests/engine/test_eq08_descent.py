"""Equation 8: ``theta <- theta - rho dL/dtheta``, and its refinements, against plain formulas."""

import itertools

import numpy as np
import pytest
from engine_cases import DEMO, NETS, PAPER, batch, engine_gradient, small_model
from tolerances import ORACLE32, ORACLE64, assert_close, assert_same_bits

from ddnmf_np.engine import literal
from ddnmf_np.engine.arena import Arena
from ddnmf_np.engine.descent import Adam, Descent, GradientDescent, Momentum
from ddnmf_np.errors import UsageError

pytestmark = pytest.mark.equation(8)

SIZE, STEPS = 37, 25


def gradient_descent(theta, gradients, rho):
    """Return theta after ``theta <- theta - rho g`` for each of the gradients."""
    for g in gradients:
        theta = literal.descend(theta, g, rho)
    return theta


def heavy_ball(theta, gradients, rho, mu):
    """Return theta after ``v <- mu v + g``, ``theta <- theta - rho v`` for each gradient."""
    v = np.zeros_like(theta)
    for g in gradients:
        v = mu * v + g
        theta = theta - rho * v
    return theta


def adam(theta, gradients, rho, b1, b2, eps):
    """Return theta after a step of Kingma and Ba's algorithm 1 for each of the gradients."""
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat = m / (1 - b1**t)
        v_hat = v / (1 - b2**t)
        theta = theta - rho * m_hat / (np.sqrt(v_hat) + eps)
    return theta


RULES = {
    "gd": (GradientDescent, gradient_descent, (0.03,)),
    "momentum": (Momentum, heavy_ball, (0.03, 0.8)),
    "momentum without memory": (Momentum, heavy_ball, (0.03, 0.0)),
    "adam": (Adam, adam, (0.03, 0.85, 0.99, 1e-7)),
    "adam, no first moment": (Adam, adam, (0.03, 0.0, 0.99, 1e-3)),
    "adam, no second moment": (Adam, adam, (0.03, 0.85, 0.0, 1e-2)),
}


def make_arena(ops, dtype, theta):
    arena = Arena(ops, {"W": (SIZE,)}, dtype)
    arena.params[...] = theta
    return arena


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", ORACLE64), ("float32", ORACLE32)])
@pytest.mark.parametrize("rule", RULES)
def test_trajectory(ops, rule, dtype, tolerance):
    """Every step of 25, with gradients from 1e-12 to 1e3, some of them exactly zero."""
    make, formula, hyper = RULES[rule]
    rng = np.random.default_rng(5)
    theta = rng.normal(size=SIZE).astype(dtype)
    scale = 10.0 ** rng.uniform(-12, 3, SIZE) * (rng.uniform(size=SIZE) > 0.1)
    gradients = [(rng.normal(size=SIZE) * scale).astype(dtype) for _ in range(STEPS)]
    arena = make_arena(ops, dtype, theta)
    optimizer = make([arena], *hyper)
    wide = [g.astype("float64") for g in gradients]
    reach = np.abs(theta.astype("float64"))
    for t, g in enumerate(gradients, start=1):
        arena.grads[...] = g
        optimizer.step()
        assert optimizer.t == t
        assert_same_bits(arena.grads, g, "gradients are read only")
        expected = formula(theta.astype("float64"), wide[:t], *hyper)
        # Entry by entry, beside the largest value on its own way: they range over orders.
        reach = np.maximum(reach, np.abs(expected))
        error = np.abs(arena.params.astype("float64") - expected) / reach
        assert error.max() <= tolerance, f"step {t}, entry {error.argmax()}"


def test_worked_by_hand(ops):
    arena = Arena(ops, {"W": (1, 2)}, "float64")
    arena.params[...] = [1.0, 2.0]
    descent = GradientDescent([arena], 0.5)
    arena.grads[...] = [4.0, -2.0]
    descent.step()
    np.testing.assert_array_equal(arena.params, [-1.0, 3.0])

    push = Momentum([arena], 0.5, 0.5)
    push.step()
    np.testing.assert_array_equal(arena.slots["velocity"], [4.0, -2.0])
    np.testing.assert_array_equal(arena.params, [-3.0, 4.0])
    push.step()
    np.testing.assert_array_equal(arena.slots["velocity"], [6.0, -3.0])
    np.testing.assert_array_equal(arena.params, [-6.0, 5.5])

    # The first step of Adam has the size lr whatever the size of the gradient.
    arena.grads[...] = [1e-3, -1e6]
    Adam([arena], 0.25, adam_eps=1e-30).step()
    assert_close(arena.params, np.array([-6.25, 5.75]), ORACLE64)


def test_every_arena_moves_by_its_own_gradients(ops):
    arenas = [make_arena(ops, "float64", 1.0), Arena(ops, {"W": (2, 3)}, "float64")]
    arenas[0].grads.fill(1.0)
    arenas[1].grads.fill(-2.0)
    optimizer = Momentum(arenas, 0.5, 0.5)
    optimizer.step()
    optimizer.step()
    assert optimizer.t == 2
    assert set(arenas[0].params) == {1.0 - 0.5 * (1.0 + 1.5)}
    assert set(arenas[1].params) == {0.5 * (2.0 + 3.0)}


def test_defaults():
    """Those of Kingma and Ba, with the demo's epsilon."""
    adam = Adam([small_model().student.arena], 0.1)
    assert (adam.adam_b1, adam.adam_b2, adam.adam_eps) == (0.9, 0.999, 1e-7)
    assert Descent() == Descent("adam", 1e-3, "constant", 0.9, 0.9, 0.999, 1e-7)


def test_slots():
    arenas = [make_arena(small_model().ops, "float32", 1.0)]
    GradientDescent(arenas, 0.1)
    assert not arenas[0].slots
    Adam(arenas, 0.1)
    assert set(arenas[0].slots) == {"m", "v"}
    Momentum(arenas, 0.1, 0.9)
    assert set(arenas[0].slots) == {"m", "v", "velocity"}
    for slot in arenas[0].slots.values():
        assert slot.shape == (SIZE,)
        assert slot.dtype == "float32"
        assert not slot.any()
    kept = arenas[0].slots["m"]
    assert arenas[0].add_slot("m") is kept


@pytest.mark.parametrize("options", [PAPER, DEMO], ids=["paper", "demo"])
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
def test_a_model_s_steps(ops, optimizer, options):
    """One iteration of algorithm 1 moves both networks by the gradients of equations 9 and 10."""
    hyper = {"lr": 0.02, "momentum": 0.7, "adam_b1": 0.8, "adam_b2": 0.95, "adam_eps": 1e-5}
    model = small_model(ops, optimizer=optimizer, **options, **hyper)
    formula = {
        "gd": lambda p, g: gradient_descent(p, g, 0.02),
        "momentum": lambda p, g: heavy_ball(p, g, 0.02, 0.7),
        "adam": lambda p, g: adam(p, g, 0.02, 0.8, 0.95, 1e-5),
    }[optimizer]
    start = {net: model.nets[net].arena.params.copy() for net in NETS}
    gradients = {net: [] for net in NETS}
    for seed in range(4):
        x, x_noisy = batch(5, seed=seed)
        for net in NETS:
            engine_gradient(net, model, x, x_noisy)
            gradients[net].append(model.nets[net].arena.grads.copy())
        model.step(x, x_noisy)
        for net in NETS:
            expected = formula(start[net], gradients[net])
            assert_close(model.nets[net].arena.params, expected, ORACLE64, f"{net}, step {seed}")


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam"])
def test_layer_by_layer_is_all_at_once(ops, optimizer, monkeypatch):
    """Large networks move each layer as soon as its gradient is there."""
    states = []
    for cached in (10**9, 0):
        monkeypatch.setattr("ddnmf_np.model._CACHED", cached)
        model = small_model(ops, **PAPER, optimizer=optimizer, lr=0.02)
        for seed in range(3):
            model.step(*batch(seed=seed))
        states.append(model.state())
    for name, value in states[0].items():
        assert_same_bits(value, states[1][name], name)


def test_descent_descends():
    """In paper mode each network's own loss falls under its own gradient."""
    model = small_model(optimizer="gd", lr=1e-3, **PAPER)
    x, x_noisy = batch(5)
    history = []
    for _ in range(50):
        model.loss.reset()
        model.step(x, x_noisy)
        history.append(model.loss.values(5)["loss_sym"])
    assert all(after < before for before, after in itertools.pairwise(history))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_numpy_numbers_as_hyper_parameters(ops, rule, dtype):
    """``float32_array * np.float64(0.5)`` is float64 since NumPy 2; the same bits all the same."""
    make, _, hyper = RULES[rule]
    arenas = [make_arena(ops, dtype, 1.0) for _ in range(2)]
    optimizers = [make([arenas[0]], *hyper), make([arenas[1]], *map(np.float64, hyper))]
    for t in range(5):
        for arena, optimizer in zip(arenas, optimizers, strict=True):
            arena.grads[...] = np.random.default_rng(t).normal(size=SIZE)
            optimizer.step()
    assert_same_bits(arenas[0].params, arenas[1].params)


class TestRefusals:
    @pytest.fixture
    def arenas(self, ops):
        return [make_arena(ops, "float32", 1.0)]

    @pytest.mark.parametrize("value", [0.0, -1e-3, float("nan"), float("inf")])
    def test_positive(self, arenas, value):
        with pytest.raises(UsageError, match=r"lr is .*; expected a finite number > 0"):
            Descent(lr=value)
        with pytest.raises(UsageError, match=r"lr is .*; expected a finite number > 0"):
            GradientDescent(arenas, value)
        with pytest.raises(UsageError, match=r"lr is .*; expected a finite number > 0"):
            Momentum(arenas, value, 0.9)
        with pytest.raises(UsageError, match=r"lr is .*; expected a finite number > 0"):
            Adam(arenas, value)
        with pytest.raises(UsageError, match=r"adam_eps is .*; expected a finite number > 0"):
            Adam(arenas, 0.1, adam_eps=value)

    def test_an_epsilon_whose_square_is_lost(self, ops):
        """Beside it, a flushed second moment would make steps far above lr, or 0/0."""
        for dtype, bad, good in (("float32", 4e-18, 5e-18), ("float64", 6e-153, 7e-153)):
            arena = make_arena(ops, dtype, 1.0)
            with pytest.raises(UsageError, match=rf"adam_eps is {bad}; in {dtype} it must be"):
                Adam([arena], 0.1, adam_eps=bad)
            Adam([arena], 0.1, adam_eps=(2 * float(np.finfo(dtype).tiny) / (1 - 0.999)) ** 0.5)
            optimizer = Adam([arena], 0.1, adam_eps=good)
            arena.grads.fill(bad)
            before = arena.params.copy()
            optimizer.step()
            assert np.all(np.abs(arena.params - before) <= 0.1)

    @pytest.mark.parametrize("value", [1.0, -0.1, float("nan"), 2.0])
    def test_fraction(self, arenas, value):
        with pytest.raises(UsageError, match=r"momentum is .*; expected a number in \[0, 1\)"):
            Momentum(arenas, 0.1, value)
        with pytest.raises(UsageError, match=r"adam_b1 is .*; expected a number in \[0, 1\)"):
            Adam(arenas, 0.1, adam_b1=value)
        with pytest.raises(UsageError, match=r"adam_b2 is .*; expected a number in \[0, 1\)"):
            Adam(arenas, 0.1, adam_b2=value)
