"""Every framework that is installed computes what the engine computes."""

import os
import sys
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
from benchmark_cases import odd_problem
from test_agreement import OBJECTIVES, losses_of

from ddnmf_np.bench.contestants import CONTESTANTS, FLOORS
from ddnmf_np.bench.ddnmf_peer import EnginePeer
from ddnmf_np.bench.floors import CopyFloor, ProductsFloor, adam_seconds
from ddnmf_np.bench.peer import Settings
from ddnmf_np.bench.reference import check_agreement, reference_losses


@pytest.fixture(autouse=True)
def _denormals_are_numbers_again():
    """PyTorch's peer flushes denormals in this thread, but other tests need them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


def agrees(kind, mode, objective):
    problem = odd_problem(objective)
    peer = kind(problem, Settings(mode=mode))
    check_agreement(losses_of(peer), reference_losses(problem))


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
    """We test eager mode only: the compiler takes longer than all other tests together."""

    @pytest.fixture
    def kind(self):
        pytest.importorskip("torch", reason="PyTorch is not installed (the extra 'bench')")
        from ddnmf_np.bench.torch_peer import TorchPeer

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

    @pytest.mark.parametrize("mode", ["whole-step-graphs", "reduce-overhead"])
    def test_inductor_has_no_reason_to_skip_a_cuda_graph(self, kind, mode, monkeypatch):
        """Inductor skips a graph that changes an input without a fixed address, and copies others.

        This is what its check_for_mutation compares, and it can be seen without a device.
        """
        import torch
        from torch._dynamo.backends.common import aot_autograd
        from torch._functorch.aot_autograd import make_boxed_func
        from torch._guards import TracingContext

        found = []

        def look(graph, inputs):
            metadata = TracingContext.get().fw_metadata
            changed = [i for i, info in enumerate(metadata.input_info) if info.mutates_data]
            found.append((len(metadata.input_info), changed, metadata.static_input_indices))
            return make_boxed_func(graph.forward)

        real, backend = torch.compile, aot_autograd(fw_compiler=look, bw_compiler=look)
        monkeypatch.setattr(
            torch, "compile", lambda step, mode, dynamic: real(step, backend=backend, dynamic=False)
        )
        torch._dynamo.reset()
        agrees(kind, mode, "paper")
        assert found
        for inputs, changed, fixed in found:
            assert bool(changed) == (mode == "whole-step-graphs")
            assert sorted(fixed) == list(range(inputs))

    def test_batches_of_an_epoch_stay_at_their_addresses(self, kind):
        problem = odd_problem()
        peer = kind(problem, Settings(mode="eager"))
        peer.start_epochs(problem.clean.reshape(-1, problem.case.n_features)[:-2])
        seen = []
        peer.train = lambda *batch: seen.append((len(batch[0]), *(t.data_ptr() for t in batch)))
        peer.epoch()
        peer.epoch()
        assert len(seen) == 8
        assert len(set(seen)) == 2  # full batches, and the short last one

    def test_a_captured_step_is_done_once_for_each_call(self, kind, monkeypatch):
        """Stand-ins replace CUDA's calls; they do no work while a graph is recorded."""
        import torch

        from ddnmf_np.bench.torch_peer import WARM, Captured

        done, recording = [], []

        class Graph:
            def replay(self):
                done.extend(self.work)

        @contextmanager
        def record(graph, pool, stream):
            recording.append(graph)
            graph.work = []
            yield
            recording.pop()

        def step(x, x_noisy):
            (recording[-1].work if recording else done).append((x, x_noisy))

        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name, stand_in in {
            "Stream": lambda: stream,
            "current_stream": lambda: stream,
            "stream": lambda stream: nullcontext(),
            "graph_pool_handle": lambda: None,
            "CUDAGraph": Graph,
            "graph": record,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        captured = Captured(step)
        batches = [(torch.zeros(n), torch.zeros(n)) for n in (5, 5, 3)]
        for k in range(12):
            captured(*batches[k % 3])
            assert len(done) == k + 1
            assert all(a is b for a, b in zip(done[-1], batches[k % 3], strict=True))
        assert captured.steps == {5: WARM, 3: WARM}
        assert len(captured.graphs) == 3

    def test_a_step_to_be_captured_agrees(self, kind, monkeypatch):
        from ddnmf_np.bench import torch_peer

        monkeypatch.setattr(torch_peer, "Captured", lambda step: step)
        agrees(kind, "captured", "paper")

    def test_a_skipped_graph_is_told(self, kind, monkeypatch):
        import torch
        from torch._inductor import cudagraph_trees

        peer = kind(odd_problem(), Settings(mode="whole-step-graphs"))
        assert peer.note() is None  # on a CPU there are no graphs
        peer.place = torch.device("cuda")
        counters = {"cudagraph_skips": 2}
        managers = {0: SimpleNamespace(roots={"step": ["graph"]})}
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch._dynamo.utils, "counters", {"inductor": counters})
        monkeypatch.setattr(cudagraph_trees, "get_manager", lambda k, make: managers.get(k))
        assert peer.note() == "the compiler skipped 2 CUDA graphs"
        counters["cudagraph_skips"] = 0
        assert peer.note() is None
        managers[0].roots["step"].clear()
        assert peer.note() == "the compiler recorded no CUDA graph"
        managers.clear()
        assert peer.note() == "the compiler recorded no CUDA graph"


@pytest.mark.filterwarnings("default")
class TestJax:
    @pytest.fixture
    def kind(self):
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        pytest.importorskip("jax", reason="JAX is not installed (the extra 'bench')")
        from ddnmf_np.bench.jax_peer import JaxPeer

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
        from ddnmf_np.bench.keras_peer import KerasPeer

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

    import ddnmf_np.bench

    folder = Path(ddnmf_np.bench.__file__).parent
    for contestant in (CONTESTANTS | FLOORS).values():
        text = (folder / f"{contestant.module}.py").read_text("utf-8")
        assert f"class {contestant.kind}(" in text
