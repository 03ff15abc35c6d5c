"""The worker times whole steps, waits for them, sets threads, and checks that epochs train."""

from types import SimpleNamespace

import pytest
from benchmark_cases import ODD, Workers, make_plan
from threadpoolctl import threadpool_info

from ddnmf_np.bench import worker
from ddnmf_np.bench.digest import digest
from ddnmf_np.bench.floors import ProductsFloor
from ddnmf_np.bench.measure import compare, environment, failures
from ddnmf_np.bench.peer import Settings
from ddnmf_np.bench.reference import BenchmarkError, check_training, make_problem
from ddnmf_np.bench.worker import Request
from ddnmf_np.config import configure


def quiet(text):
    """Drop progress lines."""


def test_every_block_of_steps_is_waited_for():
    """JAX and devices return before the work is done; that time is not a step's."""
    done, waited = [], []
    timed = SimpleNamespace(step=done.append, synchronize=lambda: waited.append(len(done)))
    result = worker.time_steps(timed, {"warm_up": 3, "least_steps": 12, "seconds": 0.0})
    blocks = len(result["step_seconds"])
    assert len(waited) == 2 + blocks
    assert waited == [3, 6, *(6 + result["block_steps"] * (k + 1) for k in range(blocks))]
    assert len(set(done)) > 1, "always the same batch"


def test_a_worker_is_told_its_threads_before_anything_is_loaded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = environment({"threads": 3, "device": "cpu"})
    assert (found["OMP_NUM_THREADS"], found["NUMBA_NUM_THREADS"]) == ("3", "3")
    assert found["JAX_PLATFORMS"] == "cpu"
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert "JAX_PLATFORMS" not in environment({"threads": 3, "device": "cuda"})


@pytest.mark.parametrize(("device", "pinned"), [("cpu", [2]), ("cuda", [])])
def test_only_on_a_cpu_is_a_worker_kept_on_some_processors(monkeypatch, device, pinned):
    """On a GPU it would slow compilers down: Inductor and XLA count the processors they may use."""
    found = []
    monkeypatch.setattr(worker, "pin", found.append)
    monkeypatch.setattr(worker, "import_module", lambda name: pytest.fail("reached"))
    with pytest.raises(pytest.fail.Exception, match="reached"):
        worker.measure(Request("jax", "", {"threads": 2, "device": device}))
    assert found == pinned


@pytest.mark.parametrize(("mode", "share"), [("serial", 2), ("two-threads", 1)])
def test_the_floor_has_the_threads_of_its_mode(mode, share):
    problem = make_problem(ODD, configure())
    before = [pool["num_threads"] for pool in threadpool_info()]
    floor = ProductsFloor(problem, Settings(threads=2, mode=mode))
    found = {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
    floor.step(0)
    floor.close()
    assert found == {share}
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_the_floor_computes_the_engine_s_products():
    problem = make_problem(ODD, configure())
    flop = 0

    floor = ProductsFloor(problem, Settings(threads=1, mode="serial"))

    def counted(a, b, out):
        nonlocal flop
        flop += 2 * a.shape[0] * a.shape[1] * b.shape[1]

    floor.ops.matmul = counted
    floor.step(0)
    floor.close()
    assert flop == problem.flop()


def test_epochs_that_do_not_train_are_refused():
    """Epochs may be broken although the steps are right."""
    check_training({"loss_sym": 1.0}, {"loss_sym": 2.5})
    for trained in (2.5, 2.0, float("nan")):
        with pytest.raises(BenchmarkError, match="does not train"):
            check_training({"loss_sym": trained}, {"loss_sym": 2.5})
    workers = Workers()
    answer = workers.__call__

    def run(request):
        found = answer(request)
        return found | {"trained_losses": workers.right[0]} if request.epochs else found

    plan = make_plan(cases=(), contestants=("numpy",), epochs=3, dataset="digits")
    workers.right = [{"loss_sym": 1e9}]
    results = compare(plan, run, quiet)
    assert results["epochs"]["contestants"]["numpy"]["gap"].startswith("does not train")
    assert failures(results) == ["numpy (epochs)"]


def test_two_epochs_are_no_late_ones():
    workers = Workers()
    plan = make_plan(cases=(), contestants=("numpy",), late_epochs=2, dataset="digits")

    def run(request):
        return workers(request) | {"epoch_seconds": [1.0, 1.0]}

    assert digest(compare(plan, run, quiet))["verdicts"] == []


def test_late_epochs_are_the_fastest_engine_s_that_runs():
    workers = Workers()
    workers.answers["numpy+fast"] = {"gap": "not installed: numba"}
    names = ("numpy+fast", "numpy", "jax")  # in the user's order
    plan = make_plan(cases=(), contestants=names, late_epochs=3, dataset="digits")
    late = compare(plan, workers, quiet)["late_epochs"]["contestants"]
    assert late["numpy+fast"]["gap"] == "not installed: numba"
    assert late["numpy"]["rounds"]
    assert "jax" not in late
