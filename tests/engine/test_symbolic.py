"""Computer algebra: equations 9 and 10 are the derivatives of the coupled objective.

SymPy differentiates the losses for every parameter of a supervisor 3-2-3 and a student 3-2-1-2-3.
As formulas, the literal losses and gradients fit for any f. In numbers, the literal equations and
the engine agree with losses that are written down once more here, at a rational point.
"""

from functools import cache

import numpy as np
import pytest
from engine_cases import NETS, engine_gradient, literal_gradient
from literal_cases import literal_losses
from tolerances import ORACLE64, assert_close

from ddnmf_np.config import configure
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


# -- in numbers -----------------------------------------------------------------------------------


def entries(blocks):
    return np.array([entry for block in blocks for entry in block.flat])


class Numbers:
    """A model of the engine, two samples, and the symbols that stand for its numbers.

    Every unit is a sigmoid but for the recovery's ReLU, which is on: all weights are positive.
    """

    def __init__(self, demo):
        self.demo = demo
        names = ("alpha_sym", "beta_ap", "gamma_nc", "student_reconstruction")
        weights = dict(zip(names, (0.75, 1.25, 0.875, 0.625 if demo else 0.0), strict=True))
        self.model = configure(
            objective="demo" if demo else "paper",
            **weights,
            widths=(2,),
            rank=1,
            activation="sigmoid",
            output_activation="sigmoid",
            optimizer="gd",
            lr=0.125,
            dtype="float64",
        ).make_model(3)
        rng = np.random.default_rng(0)
        self.samples = rng.integers(-8, 9, (2, 2, 3)) / 8
        self.symbols, self.point = (
            {},
            dict(zip(sympy.symbols(names), weights.values(), strict=True)),
        )
        self.weights = list(self.point)
        for net in NETS:
            self.symbols[net] = []
            for number, block in enumerate(self.blocks(net)):
                block[...] = rng.integers(1, 9, block.shape) / 8
                self.symbols[net].append(symbols(f"{net}{number}_", *block.shape))
                self.point |= zip(self.symbols[net][-1].flat, block.flat, strict=True)

    def blocks(self, net):
        arena = self.model.nets[net].arena
        return [arena.param(name) for name in arena.shapes]

    def loss(self, net, x, x_noisy):
        """Return equation 7 as a network sees it: equation 5 does not move the paper's supervisor.

        In the demo it does, losses are means over the features, and the student has to rebuild x.
        """
        exp = np.vectorize(sympy.exp, otypes=[object])

        def sigmoid(x, W, b=0):
            return 1 / (1 + exp(-(W @ x + b)))

        def distance(a, b):
            return sum((a - b) ** 2) / 2 / (len(a) if self.demo else 1)  # N = 2 samples

        W1, b1, W2, b2 = self.symbols["supervisor"]
        W_up, b_up, *base, W_rec, W_down, b_down = self.symbols["student"]
        h1 = sigmoid(x, W1, b1)
        y = sigmoid(h1, W2, b2)
        t1 = sigmoid(x_noisy, W_up, b_up)
        X_hat = W_rec @ sigmoid(t1, *base)
        t4 = sigmoid(X_hat, W_down, b_down)
        alpha, beta, gamma, rec = self.weights
        sees_apposition = self.demo or net == "student"
        return (
            alpha * distance(x, y)  # equation 4
            + (beta * (distance(h1, t1) + distance(y, t4)) if sees_apposition else 0)  # equation 5
            + gamma * distance(t1, X_hat)  # equation 6
            + rec * distance(x, t4)
        )


@cache
def expected(demo):
    """Return SymPy's numbers by name: the loss, and the gradient of each network."""
    numbers = Numbers(demo)
    x, x_noisy = symbols("x", 3), symbols("x_noisy", 3)
    formulas = {"loss": [numbers.loss("student", x, x_noisy)]}
    for net in NETS:
        loss = numbers.loss(net, x, x_noisy)
        formulas[net] = [loss.diff(theta) for theta in entries(numbers.symbols[net])]
    found = {}
    for name, several in formulas.items():
        function = sympy.lambdify([*numbers.point, *x, *x_noisy], several, "mpmath", cse=True)
        shares = [
            function(*map(sympy.Rational, (*numbers.point.values(), *one, *noisy)))
            for one, noisy in zip(*numbers.samples.tolist(), strict=True)
        ]
        found[name] = np.sum(shares, axis=0).astype(float)
    return found


both = pytest.mark.parametrize("demo", [False, True], ids=["paper", "demo"])


@both
@pytest.mark.equation(1)
@pytest.mark.equation(3)
@pytest.mark.equation(4)
@pytest.mark.equation(5)
@pytest.mark.equation(6)
@pytest.mark.equation(7)
def test_loss_in_numbers(demo):
    numbers = Numbers(demo)
    model, (x, x_noisy) = numbers.model, numbers.samples
    model.forward(x, x_noisy)
    model.loss.measure(x)
    for values in (model.loss.values(len(x)), literal_losses(model, x, x_noisy)):
        assert_close([values["loss_in"]], expected(demo)["loss"], ORACLE64)


@both
@pytest.mark.parametrize("net", NETS)
@pytest.mark.equation(9)
@pytest.mark.equation(10)
def test_gradient_in_numbers(demo, net):
    """Each of the two samples adds its share, half of the gradient of its own losses."""
    numbers = Numbers(demo)
    for found in (literal_gradient, engine_gradient):
        blocks = found(net, numbers.model, *numbers.samples)
        assert_close(entries(blocks.values()), expected(demo)[net], ORACLE64, found.__name__)


@both
@pytest.mark.equation(8)
def test_step_in_numbers(demo):
    numbers = Numbers(demo)
    numbers.model.step(*numbers.samples)
    for net in NETS:
        start = np.array([numbers.point[symbol] for symbol in entries(numbers.symbols[net])])
        moved = start - 0.125 * expected(demo)[net]
        assert_close(entries(numbers.blocks(net)), moved, ORACLE64, net)
