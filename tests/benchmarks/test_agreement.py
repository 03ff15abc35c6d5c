"""A contestant that computes something else gets no time."""

from dataclasses import replace

import numpy as np
import pytest
from benchmark_cases import odd_problem, wrong

from ddnmf_np.bench.contestants import CHECKED_STEPS
from ddnmf_np.bench.ddnmf_peer import EnginePeer
from ddnmf_np.bench.peer import Settings
from ddnmf_np.bench.problem import Problem
from ddnmf_np.bench.reference import BenchmarkError, check_agreement, reference_losses
from ddnmf_np.bench.worker import first_losses
from ddnmf_np.config import configure

OBJECTIVES = pytest.mark.parametrize("objective", ["paper", "demo"])


def losses_of(peer):
    """Return the first losses the way the worker gets them."""
    try:
        peer.reset()
        peer.step(0)
        return first_losses(peer)
    finally:
        peer.close()


def faulty(problem, fault):
    """Return the engine with one thing wrong."""
    config = problem.config
    options = {
        "gradients of the other objective": {
            "apposition_to_supervisor": not config.objective.apposition_to_supervisor
        },
        "half the learning rate": {"lr": config.optimizer.lr / 2},
        "other moments": {"adam_b1": 0.5},
        "no training": {"lr": 1e-12},
    }
    peer = EnginePeer(
        replace(problem, config=configure(config, **options.get(fault, {}))), Settings(mode="plain")
    )
    if fault == "noisy target":
        peer.clean = peer.noisy
    return peer


@OBJECTIVES
def test_the_engine_agrees_with_itself(objective):
    problem = odd_problem(objective)
    expected = reference_losses(problem)
    assert len(expected) == CHECKED_STEPS + 1
    found = losses_of(EnginePeer(problem, Settings(mode="plain")))
    check_agreement(found, expected)
    assert found[0]["loss_in"] > 0.0


@OBJECTIVES
@pytest.mark.parametrize(
    "fault",
    [
        "gradients of the other objective",
        "half the learning rate",
        "other moments",
        "no training",
        "noisy target",
    ],
)
def test_a_planted_fault_is_refused(objective, fault):
    problem = odd_problem(objective)
    with pytest.raises(BenchmarkError, match="computes something else"):
        check_agreement(losses_of(faulty(problem, fault)), reference_losses(problem))


@pytest.mark.parametrize(
    ("step", "factor", "refused"),
    [(0, 1.0 + 5e-5, False), (0, 1.0 + 5e-4, True), (3, 1.0 + 5e-5, False), (3, 0.999, True),
     (0, float("nan"), True)],
)  # fmt: skip
def test_tolerances(step, factor, refused):
    expected = reference_losses(odd_problem())
    found = wrong(expected, step, "loss_ap", factor)
    if not refused:
        check_agreement(found, expected)
        return
    if factor == factor:
        check_agreement(found, expected, "high")
    with pytest.raises(BenchmarkError, match=rf"loss_ap after {step} steps"):
        check_agreement(found, expected)


def test_a_missing_loss_is_refused():
    expected = reference_losses(odd_problem())
    found = [{k: v for k, v in entry.items() if k != "loss_nc"} for entry in expected]
    with pytest.raises(BenchmarkError, match=r"expected.*loss_nc"):
        check_agreement(found, expected)


def test_a_problem_comes_back_from_its_file(tmp_path):
    problem = odd_problem("demo")
    problem.save(tmp_path / "problem.npz")
    back = Problem.load(tmp_path / "problem.npz")
    assert (back.case, back.config, back.layers) == (problem.case, problem.config, problem.layers)
    assert back.weights.keys() == problem.weights.keys()
    for name, block in problem.weights.items():
        np.testing.assert_array_equal(back.weights[name], block)
    np.testing.assert_array_equal(back.clean, problem.clean)
    np.testing.assert_array_equal(back.noisy, problem.noisy)
    assert np.count_nonzero(problem.noisy) < np.count_nonzero(problem.clean)


def test_operations_are_counted():
    # (5 samples) x 2 operations x the sum over layers; three products a layer, two in the first
    supervisor = 2 * 13 * 11 + 3 * (11 * 7 + 7 * 11 + 11 * 13)
    student = 2 * 13 * 11 + 3 * (11 * 7 + 7 * 3 + 3 * 7 + 7 * 11 + 11 * 13)
    assert odd_problem().flop() == 10 * (supervisor + student)
