"""Computer algebra: equations 9 and 10 are the derivatives of the coupled objective, for any f."""

import numpy as np
import pytest

from ddnmf_np.engine import literal

sympy = pytest.importorskip("sympy", reason="SymPy is part of the extra test")


class Slope(sympy.Function):
    """The derivative of `F`, which nothing more is known of."""


class F(sympy.Function):
    """An activation, which nothing more is known of."""

    def fdiff(self, argindex=1):
        return Slope(self.args[0])


class Objective(literal.Objective):
    """An objective whose losses are expressions."""

    def distance(self, a, b):
        return (a - b) @ (a - b) / (len(a) if self.mean else 1)


def symbols(name, *shape):
    """Return an array of symbols."""
    flat = [sympy.Symbol(f"{name}{k}", real=True) for k in range(int(np.prod(shape)))]
    return np.array(flat, dtype=object).reshape(shape)


def layer(name, inputs, outputs, bias=True):
    return literal.Layer(
        symbols(f"W{name}_", outputs, inputs), symbols(f"b{name}_", outputs) if bias else None
    )


@pytest.fixture
def pair(monkeypatch):
    """A 3-2-1 pair of symbols: the supervisor 3-2-3, the student 3-2-1-2-3."""
    each = tuple(np.vectorize(f, otypes=[object]) for f in (F, Slope))
    monkeypatch.setattr(literal, "ACTIVATIONS", dict.fromkeys(literal.ACTIVATIONS, each))
    nmf = literal.NMFModule(symbols("V", 1, 2), symbols("U", 2, 1))
    student = literal.Student([layer("s1", 3, 2)], nmf, [layer("s4", 2, 3)])
    return literal.Supervisor([layer("1", 3, 2), layer("2", 2, 3)]), student


def derivatives(value, network):
    """Return the derivative of an expression with respect to each parameter of a network."""
    return [np.vectorize(value.diff, otypes=[object])(theta) for theta in network.parameters]


@pytest.mark.equation(9)
@pytest.mark.equation(10)
@pytest.mark.parametrize("demo", [False, True], ids=["paper", "demo"])
def test_gradients_are_the_derivatives_of_the_objective(pair, demo):
    """Paper: the supervisor descends alpha L_sym, the student the other terms. Demo: all, both."""
    alpha, beta, gamma, rec = sympy.symbols("alpha beta gamma rec", positive=True)
    objective = Objective(alpha, beta, gamma, rec if demo else 0, demo, demo)
    supervisor, student = pair
    N = 1 if demo else 2  # expressions grow with N
    x, x_noisy = symbols("x", N, 3), symbols("n", N, 3)
    values = literal.losses(supervisor, student, x, x_noisy, objective)
    total = sympy.sympify(values["loss_in"])
    of_supervisor = total if demo else alpha * values["loss_sym"]
    found = literal.gradients(supervisor, student, x, x_noisy, objective)
    for gradients, value, network in zip(found, (of_supervisor, total), pair, strict=True):
        for gradient, expected in zip(gradients, derivatives(value, network), strict=True):
            for one, other in zip(gradient.ravel(), expected.ravel(), strict=True):
                assert sympy.expand(one - other) == 0
                assert one != 0


def test_a_wrong_gradient_is_seen(pair, monkeypatch):
    """The test of the test: half of each term."""
    supervisor, student = pair
    objective = Objective(1, 1, 1)
    x = symbols("x", 1, 3)
    total = sympy.sympify(literal.losses(supervisor, student, x, x, objective)["loss_in"])
    pull = literal.Objective.pull
    monkeypatch.setattr(literal.Objective, "pull", lambda *given: pull(*given) / 2)
    _, [dW, *_] = literal.gradients(supervisor, student, x, x, objective)
    assert sympy.expand(dW[0, 0] - total.diff(student.parameters[0][0, 0])) != 0
