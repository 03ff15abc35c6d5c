"""The literal equations against what they are not made of: finite differences, and a record.

The rest of the tests hold the engine to `ddnmf_np.engine.literal`. Here that file itself is held to
two things that share no line with it: its own losses, differentiated by finite differences, and the
record of PyTorch's autograd in ``tests/golden`` (``make_golden.py`` says how it was made).
"""

import ast
from pathlib import Path

import numpy as np
import pytest
from engine_cases import (
    DEMO,
    DIFFERENCES,
    NETS,
    PAPER,
    batch,
    distance_from_kinks,
    moving_loss,
    partial_derivatives,
    small_model,
)
from literal_cases import TensorLayer, literal_nets, literal_objective
from test_golden import PATH, part
from tolerances import DIFFERENCE64, GOLDEN64, ORACLE64, assert_close

from ddnmf_np.engine import literal

OBJECTIVES = {
    "paper": PAPER,
    "demo": DEMO,
    **{name: {**PAPER, **one} for name, one in DIFFERENCES.items()},
}


@pytest.fixture(scope="module")
def golden():
    with np.load(PATH, allow_pickle=False) as file:
        return dict(file)


def test_it_stands_by_itself():
    """It imports NumPy and nothing of the package, so that a mistake cannot be on both sides."""
    tree = ast.parse(Path(literal.__file__).read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    }
    assert modules == {"__future__", "collections.abc", "dataclasses", "numpy", "numpy.typing"}


# -- beside the record of another implementation ------------------------------------------------


def recorded_nets(golden, objective):
    """Return both networks with the recorded parameters, and the names of these in order."""
    init = part(golden, f"{objective}/init/")
    up, down, nmf = (1, 2, 3), (6, 7, 8), ("W_base", "b_base", "W_rec")

    def layers(net, numbers):
        return [
            literal.Layer(init[f"{net}/W{k}"].copy(), init[f"{net}/b{k}"].copy()) for k in numbers
        ]

    W_base, b_base, W_rec = (init.get(f"student/{name}") for name in nmf)
    b_base = None if b_base is None else b_base.copy()
    module = literal.NMFModule(W_base.copy(), W_rec.copy(), b_base)
    supervisor = literal.Supervisor(layers("supervisor", range(1, 7)))
    student = literal.Student(layers("student", up), module, layers("student", down))
    names = {
        "supervisor": [f"{kind}{k}" for k in range(1, 7) for kind in "Wb"],
        "student": [f"{kind}{k}" for k in up for kind in "Wb"]
        + [name for name in ("W_base", "b_base", "W_rec") if f"student/{name}" in init]
        + [f"{kind}{k}" for k in down for kind in "Wb"],
    }
    assert {f"{net}/{name}" for net in names for name in names[net]} == set(init)
    return supervisor, student, names


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("paper", literal.Objective()),
        ("demo", literal.Objective(1.0, 0.01, 1.0, 1.0, True, True)),
    ],
)
def test_ten_steps_of_gradient_descent(golden, name, objective):
    *nets, names = recorded_nets(golden, name)
    run, rho = f"{name}/gd", float(golden["hyper/gd/lr"])
    losses = {k: v for k, v in part(golden, f"{run}/").items() if k.startswith("loss_")}
    path, initial = part(golden, f"{run}/path/"), part(golden, f"{name}/init/")
    for step, (first, last) in enumerate(golden["rows"]):
        x, epsilon = golden["x"][first:last], (golden["x_noisy"] - golden["x"])[first:last]
        x_noisy = np.array([literal.noisy(*pair) for pair in zip(x, epsilon, strict=True)])
        values = literal.losses(*nets, x, x_noisy, objective)
        for loss, expected in losses.items():
            assert_close(values[loss], expected[step], GOLDEN64, f"step {step}: {loss}")
        gradients = literal.gradients(*nets, x, x_noisy, objective)
        for net, network, gradient in zip(NETS, nets, gradients, strict=True):
            for block, theta, g in zip(names[net], network.parameters, gradient, strict=True):
                key = f"{net}/{block}"
                if step == 0:
                    assert_close(g, golden[f"{name}/grad/{key}"], GOLDEN64, f"gradient of {key}")
                theta[...] = literal.descend(theta, g, rho)
                moved = np.linalg.norm(theta - initial[key])
                assert_close(moved, path[key][step], GOLDEN64, f"step {step}: path of {key}")
    for net, network in zip(NETS, nets, strict=True):
        for block, theta in zip(names[net], network.parameters, strict=True):
            assert_close(theta, golden[f"{run}/final/{net}/{block}"], GOLDEN64, f"final {block}")


# -- beside finite differences of its own losses ------------------------------------------------


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("net", NETS)
def test_every_partial_derivative(net, options):
    model = small_model(**options)
    x, x_noisy = batch(2)
    assert distance_from_kinks(model, x, x_noisy) > 1e-4
    nets, objective = literal_nets(model), literal_objective(model)
    number = NETS.index(net)
    found = literal.gradients(*nets, x, x_noisy, objective)[number]

    def loss():
        return moving_loss(net, *nets, x, x_noisy, objective)

    for block, theta, gradient in zip(
        model.nets[net].arena.shapes, nets[number].parameters, found, strict=True
    ):
        assert_close(gradient, partial_derivatives(loss, theta), DIFFERENCE64, block)


def test_the_tensor_of_order_three_is_the_outer_product():
    """Section 3.2 writes dW by way of ``dh/dW``, whose entries are mostly zeros."""
    model = small_model(**PAPER)
    x, x_noisy = batch(4)
    objective = literal_objective(model)
    for outer, tensor in zip(
        literal.gradients(*literal_nets(model), x, x_noisy, objective),
        literal.gradients(*literal_nets(model, TensorLayer), x, x_noisy, objective),
        strict=True,
    ):
        for one, other in zip(outer, tensor, strict=True):
            assert_close(one, other, ORACLE64)


def test_worked_by_hand():
    """One sample, two layers of width 1 for each network: all numbers fit on a slip of paper."""
    supervisor = literal.Supervisor(
        [literal.Layer(np.array([[w]]), np.zeros(1), "identity") for w in (2.0, 3.0)]
    )
    nmf = literal.NMFModule(np.zeros((1, 1)), np.array([[4.0]]))
    student = literal.Student(
        [literal.Layer(np.array([[1.0]]), np.zeros(1), "identity")],
        nmf,
        [literal.Layer(np.array([[1.0]]), np.zeros(1), "identity")],
    )
    x, x_noisy = np.array([[1.0]]), np.array([[3.0]])
    # h = 1, 2, 6;  h~ = 3, 3, 1/2, 2, 2
    assert [float(h[0]) for h in supervisor.forward(x[0])] == [1.0, 2.0, 6.0]
    assert [float(t[0]) for t in student.forward(x_noisy[0])] == [3.0, 3.0, 0.5, 2.0, 2.0]
    assert literal.losses(supervisor, student, x, x_noisy, literal.Objective(1.0, 2.0, 3.0)) == {
        "loss_sym": 25.0,  # (6 - 1)^2
        "loss_ap": 17.0,  # (3 - 2)^2 + (2 - 6)^2
        "loss_nc": 1.0,  # (3 - 2)^2
        "loss_rec": 1.0,  # (2 - 1)^2
        "loss_in": 25.0 + 2 * 17.0 + 3 * 1.0,
    }
    one, two = literal.gradients(supervisor, student, x, x_noisy, literal.Objective(1.0, 2.0, 3.0))
    # g(2) = 2 (6 - 1) = 10; dW2 = 10 h1; g(1) = 3 * 10; dW1 = 30 x
    assert [float(g.squeeze()) for g in one] == [30.0, 30.0, 20.0, 10.0]
    # g(4) = 2 * 2 (2 - 6) = -16; dW4 = -16 * 2; g(3) = 6 (2 - 3) - 16 = -22; dW_rec = -22 / 2
    # g(2) = 4 * -22 = -88; delta = -88 / 4 = -22; dW' = -22 * 3; g(1) = 4 * 1 + 6 * 1 + 0 = 10
    assert [float(g.squeeze()) for g in two] == [30.0, 10.0, -66.0, -11.0, -32.0, -16.0]
