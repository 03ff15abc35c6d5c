"""Ten steps beside a record of another implementation: PyTorch's autograd and optimizers.

``tests/golden/make_golden.py`` says what the record holds and how it was made.
"""

from pathlib import Path

import numpy as np
import pytest
from tolerances import GOLDEN32, GOLDEN64, assert_close

from ddnmf_np.config import configure

PATH = Path(__file__).parents[1] / "golden" / "golden.npz"
OPTIMIZERS = ("gd", "momentum", "adam")
OBJECTIVES = ("paper", "demo")


@pytest.fixture(scope="module")
def golden():
    with np.load(PATH, allow_pickle=False) as file:
        return dict(file)


def part(golden, prefix):
    """Return what is under a prefix, by the rest of its name."""
    return {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}


def start(golden, ops, objective, optimizer, dtype):
    """Return a model with the recorded parameters."""
    hyper = {name: float(value) for name, value in part(golden, f"hyper/{optimizer}/").items()}
    config = configure(
        widths=(13, 11, 7), rank=3, objective=objective, optimizer=optimizer, dtype=dtype,
        batch_size=5, **hyper,
    )  # fmt: skip
    model = config.make_model(17, ops, rows=5)
    initial = part(golden, f"{objective}/init/")
    assert set(initial) == {
        f"{net}/{b}" for net in model.nets for b in model.nets[net].arena.shapes
    }
    for name, value in blocks(model).items():
        value[...] = initial[name]
    return model


def blocks(model, what="param"):
    return {
        f"{net}/{name}": getattr(network.arena, what)(name)
        for net, network in model.nets.items()
        for name in network.arena.shapes
    }


@pytest.mark.equation(1)
@pytest.mark.equation(3)
@pytest.mark.equation(4)
@pytest.mark.equation(5)
@pytest.mark.equation(6)
@pytest.mark.equation(7)
@pytest.mark.equation(8)
@pytest.mark.equation(9)
@pytest.mark.equation(10)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", GOLDEN64), ("float32", GOLDEN32)])
def test_ten_steps(golden, ops, objective, optimizer, dtype, tolerance):
    model = start(golden, ops, objective, optimizer, dtype)
    x, x_noisy = golden["x"].astype(dtype), golden["x_noisy"].astype(dtype)
    run = f"{objective}/{optimizer}"
    losses = {k: v for k, v in part(golden, f"{run}/").items() if k.startswith("loss_")}
    initial = {name: value.copy() for name, value in blocks(model).items()}
    for step, (first, last) in enumerate(golden["rows"]):
        model.loss.reset()
        model.step(x[first:last], x_noisy[first:last])
        if step == 0:
            expected = part(golden, f"{objective}/grad/")
            for name, value in blocks(model, "grad").items():
                assert_close(value, expected[name], tolerance, f"gradient of {name}")
        values = model.loss.values(last - first)
        assert set(values) == set(losses)
        for name, value in values.items():
            assert_close(value, losses[name][step], tolerance, f"step {step}: {name}")
        path = part(golden, f"{run}/path/")
        for name, value in blocks(model).items():
            moved = np.linalg.norm((value - initial[name]).astype("float64"))
            assert_close(moved, path[name][step], tolerance, f"step {step}: path of {name}")
    final = part(golden, f"{run}/final/")
    for name, value in blocks(model).items():
        assert_close(value, final[name], tolerance, f"final {name}")


def test_the_record_is_worth_comparing_with(golden):
    """Short batches are in it, every block moves, and the six runs are six."""
    sizes = golden["rows"][:, 1] - golden["rows"][:, 0]
    assert sizes.tolist() == [5, 5, 3, 5, 5, 3, 5, 5, 3, 5]
    ends = set()
    for objective in OBJECTIVES:
        for optimizer in OPTIMIZERS:
            paths = part(golden, f"{objective}/{optimizer}/path/")
            assert len(paths) == (26 if objective == "paper" else 27)
            assert min(path[0] for path in paths.values()) > 1e-6
            ends.add(golden[f"{objective}/{optimizer}/final/student/W1"].tobytes())
    assert len(ends) == 6
    assert PATH.stat().st_size < 300_000
