"""Every framework that is installed computes what the engine computes."""

import os
import sys

import pytest
from benchmark_cases import odd_problem
from test_agreement import OBJECTIVES, losses_of

from ddnmf_np.benchmarks.contestants import CONTESTANTS, FLOORS
from ddnmf_np.benchmarks.ddnmf_peer import EnginePeer
from ddnmf_np.benchmarks.floors import CopyFloor, ProductsFloor, adam_seconds
from ddnmf_np.benchmarks.peer import Settings
from ddnmf_np.benchmarks.reference import check_agreement, reference_losses


@pytest.fixture(autouse=True)
def _denormals_are_numbers_again():
    """PyTorch's peer flushes them in this very thread; other tests need them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def agrees(kind, mode, objective):
    problem = odd_problem(objective)
    peer = kind(problem, Settings(mode=mode))
    check_agreement(mode, losses_of(peer), reference_losses(problem))


def learns(kind, mode):
    """Whole epochs, with a short batch at the end, lower the loss."""
    problem = odd_problem()
    peer = kind(problem, Settings(mode=mode))
    try:
        x = problem.clean.reshape(-1, problem.case.n_features)[:-2]
        peer.reset()
        peer.step(0)
        before = peer.losses()["loss_sym"]
        peer.start_epochs(x)
        for _ in range(20):
            peer.epoch()
        peer.reset()
        peer.step(0)
        assert peer.losses()["loss_sym"] < 0.9 * before
    finally:
        peer.close()


def test_engine_learns():
    learns(EnginePeer, "plain")


@OBJECTIVES
def test_fast_engine(objective):
    pytest.importorskip("numba", reason="Numba is not installed (the extra 'fast')")
    agrees(EnginePeer, "fast", objective)


@pytest.mark.filterwarnings("default")
class TestTorch:
    """Eager here; its compiler takes longer than all other tests together."""

    @pytest.fixture
    def kind(self):
        pytest.importorskip("torch", reason="PyTorch is not installed (the extra 'bench')")
        from ddnmf_np.benchmarks.torch_peer import TorchPeer

        return TorchPeer

    @OBJECTIVES
    def test_agrees(self, kind, objective):
        agrees(kind, "eager", objective)

    @OBJECTIVES
    def test_whole_step_agrees_before_it_is_compiled(self, kind, objective, monkeypatch):
        import torch

        monkeypatch.setattr(torch, "compile", lambda function, **options: function)
        agrees(kind, "whole-step", objective)

    def test_learns(self, kind):
        learns(kind, "eager")


@pytest.mark.filterwarnings("default")
class TestJax:
    @pytest.fixture
    def kind(self):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        pytest.importorskip("jax", reason="JAX is not installed (the extra 'bench')")
        from ddnmf_np.benchmarks.jax_peer import JaxPeer

        return JaxPeer

    @OBJECTIVES
    def test_agrees(self, kind, objective):
        agrees(kind, "", objective)

    def test_learns(self, kind):
        learns(kind, "")


@pytest.mark.filterwarnings("default")
class TestKeras:
    @pytest.fixture
    def kind(self):
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed (the extra 'bench')")
        pytest.importorskip("keras", reason="Keras is not installed (the extra 'bench')")
        from ddnmf_np.benchmarks.keras_peer import KerasPeer

        return KerasPeer

    @OBJECTIVES
    def test_agrees(self, kind, objective):
        agrees(kind, "", objective)

    def test_learns(self, kind):
        learns(kind, "")


@pytest.mark.parametrize("mode", ["serial", "two-threads"])
def test_products_are_those_of_a_step(mode):
    problem = odd_problem()
    floor = ProductsFloor(problem, Settings(threads=2, mode=mode))
    done = []
    matmul = floor.ops.matmul
    floor.ops.matmul = lambda a, b, out: (done.append(2 * a.size * b.shape[1]), matmul(a, b, out))
    floor.step(0)
    floor.close()
    assert sum(done) == problem.flop()


def test_copy_touches_every_byte():
    problem = odd_problem()
    floor = CopyFloor(problem, Settings(threads=2))
    floor.step(0)
    floor.close()
    assert (floor.target == 1.0).all()
    assert floor.target.nbytes + floor.source.nbytes == 16 * problem.n_parameters()
    assert adam_seconds(4.0) == 7.0


def test_every_contestant_has_a_file():
    from pathlib import Path

    import ddnmf_np.benchmarks

    folder = Path(ddnmf_np.benchmarks.__file__).parent
    for contestant in (CONTESTANTS | FLOORS).values():
        text = (folder / f"{contestant.module}.py").read_text("utf-8")
        assert f"class {contestant.kind}(" in text
