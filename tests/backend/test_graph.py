"""Two streams and recorded steps: the same numbers as one launch after the other.

Like ``test_gpu.py``, each test runs on the stand-in everywhere, and on a device with ``-m gpu``.
The stand-in computes nothing while it records, refuses what a recording must not do, and finds
races between the two streams (see ``strict.py``).
"""

import logging

import numpy as np
import pytest
from availability import unavailable
from strict import Event, Graph, Stream, StrictError, strict
from tolerances import assert_same_bits

from ddnmf_np.config import Config
from ddnmf_np.engine import graph_cupy
from ddnmf_np.engine.backend import why_no_graphs
from ddnmf_np.engine.graph_cupy import MOST, WARM
from ddnmf_np.model import Model
from ddnmf_np.training import Trainer

FEATURES, SAMPLES, BATCH = 13, 43, 16  # the last batch of an epoch is short: 11


def config(**options):
    small = {"widths": (7, 11, 5), "rank": 3, "batch_size": BATCH, "dtype": "float32"}
    return Config(**(small | options))


def data(n=SAMPLES):
    return np.random.default_rng(5).uniform(0.0, 1.0, (n, FEATURES)).astype("float32")


def trained(ops, epochs=6, **options):
    trainer = Trainer(Model(FEATURES, config(**options), ops), data())
    trainer.train(epochs)
    return trainer


def assert_same_run(one, other):
    for name, expected in one.model.state().items():
        assert_same_bits(other.model.state()[name], expected, name)
    for mine, theirs in zip(one.history, other.history, strict=True):
        times = ("seconds", "samples_per_second")
        assert {k: v for k, v in mine.items() if k not in times} == {
            k: v for k, v in theirs.items() if k not in times
        }


@pytest.fixture(autouse=True)
def _graphs_can_be_made(request):
    if "device" in request.fixturenames:
        device = request.getfixturevalue("device")
        if device.ops._products is None:
            unavailable("DDNMF_REQUIRE_GPU", why_no_graphs())


@pytest.fixture
def without_graphs(device, monkeypatch):
    """The same operations, which never record."""
    ops = type(device.ops)(device.ops.xp, device.ops._products)
    monkeypatch.setattr(ops, "recorder", lambda: lambda work, *arrays: work(*arrays))
    return ops


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "gd"])
@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_a_recorded_run_is_the_same_bits(device, without_graphs, objective, optimizer):
    options = {"objective": objective, "optimizer": optimizer, "nonnegative": "both"}
    assert_same_run(trained(without_graphs, **options), trained(device.ops, **options))


def test_two_streams_are_the_same_bits_as_one(device, without_graphs, monkeypatch):
    expected = trained(without_graphs)
    monkeypatch.setattr(without_graphs, "both", lambda one, two: (one(), two()))
    assert_same_run(expected, trained(without_graphs))


def test_every_batch_size_has_its_graph(device):
    trainer = trained(device.ops, WARM + 1)
    recorder = trainer.model._repeat
    assert sorted(key[0][1] for key in recorder._graphs) == [(11, FEATURES), (BATCH, FEATURES)]


def test_a_run_goes_on_where_it_stopped(device):
    """Recorded again by another model, from the state of the first."""
    whole, first = trained(device.ops, 6), trained(device.ops, 3)
    state = {name: block.copy() for name, block in first.model.state().items()}
    second = Trainer(Model(FEATURES, config(), device.ops), data())
    second.model.load_state(state, first.model.optimizer.t)
    second.position, second.history = first.position, first.history
    second.train(6)
    assert_same_run(whole, second)


def test_a_copy_and_its_original_have_graphs_of_their_own(device):
    trainer = trained(device.ops, WARM + 1)
    twin = trainer.model.copy(rows=BATCH, dtype="float32")
    before = {name: block.copy() for name, block in trainer.model.state().items()}
    other = Trainer(twin, data())
    other.train(WARM + 1)
    for name, expected in trainer.model.state().items():
        assert_same_bits(before[name], expected, name)
    assert_same_run(trained(device.ops, WARM + 2), continued(trainer))


def continued(trainer):
    trainer.train(trainer.position.epoch + 1)
    return trainer


def test_values_of_the_host_are_not_frozen(device):
    """The learning rate and the step's number act at every step, recorded or not."""
    trainer, plain = (Trainer(Model(FEATURES, config(), ops), data()) for ops in (device.ops, None))
    for epoch in range(1, 7):
        for t in (trainer, plain):
            t.model.optimizer.lr = 0.01 / epoch
            t.train(epoch)
    assert trainer.model.optimizer.t == plain.model.optimizer.t == 6 * 3
    for name, expected in plain.model.state().items():
        actual = trainer.model.state()[name]
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4, err_msg=name)


def test_arrays_that_come_and_go_are_not_recorded(device):
    model = Model(FEATURES, config(), device.ops)
    kept = [device.ops.to_device(data()[:BATCH]) for _ in range(3 * MOST)]
    for x in kept * 2:
        model.step(x, x)
    assert model._repeat._graphs == {}
    assert len(model._repeat._times) <= MOST
    for x in kept:
        for _ in range(WARM + 1):
            model.step(x, x)
    assert len(model._repeat._graphs) == MOST


# -- what recording must not do ----------------------------------------------------------------


def faulty(ops, fault):
    """Return a trained model's state whose work does something that cannot be recorded."""
    trainer = Trainer(Model(FEATURES, config(), ops), data())
    model, differentiate = trainer.model, trainer.model._differentiate

    def work(x, x_noisy):
        differentiate(x, x_noisy)
        fault(ops, x)

    model._differentiate = work
    trainer.train(WARM + 3)
    return trainer


FAULTS = {
    "allocates": lambda ops, x: ops.empty((3,), "float32"),
    "copies": lambda ops, x: x + 1.0,
    "multiplies with CuPy": lambda ops, x: ops.xp.matmul(x, x.T, out=OUT[ops]),
    "is told to stop": lambda ops, x: 1 / (not ops.xp.cuda.get_current_stream().is_capturing()),
}
OUT: dict = {}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_recorded_is_done_by_launches(device, without_graphs, fault, caplog):
    OUT[device.ops] = device.ops.empty((BATCH, BATCH), "float32")
    if fault == "multiplies with CuPy":
        OUT[device.ops] = {n: device.ops.empty((n, n), "float32") for n in (11, BATCH)}
        action = lambda ops, x: ops.xp.matmul(x, x.T, out=OUT[ops][x.shape[0]])  # noqa: E731
    else:
        action = FAULTS[fault]
    expected = trained(without_graphs, WARM + 3)
    with caplog.at_level(logging.WARNING, logger="ddnmf_np"):
        trainer = faulty(device.ops, action)
    assert_same_run(expected, trainer)
    assert trainer.model._repeat._graphs == {}
    (record,) = caplog.records  # once
    assert "cannot be recorded as a CUDA graph" in record.message
    # the next recording, of another model, is none the worse for it
    assert_same_run(expected, trained(device.ops, WARM + 3))


def test_an_interruption_is_not_swallowed(device):
    trainer = trained(device.ops, WARM)
    differentiate = trainer.model._differentiate

    def work(x, x_noisy):
        differentiate(x, x_noisy)
        if device.ops.xp.cuda.get_current_stream().is_capturing():
            raise KeyboardInterrupt

    trainer.model._differentiate = work
    with pytest.raises(KeyboardInterrupt):
        trainer.train(WARM + 1)
    trainer.model._differentiate = differentiate
    trainer.train(WARM + 1)
    assert_same_run(trained(device.ops, WARM + 1), trainer)


def test_an_error_in_one_lane_leaves_the_streams_joined(device):
    streams = device.ops._streams
    for one, two in ((lambda: 1 / 0, lambda: None), (lambda: None, lambda: 1 / 0)):
        with pytest.raises(ZeroDivisionError):
            device.ops.both(one, two)
        assert streams.lane == 0
    assert_same_run(trained(device.ops, 4), trained(device.ops, 4))


def test_without_the_bindings_nothing_is_recorded(device):
    trainer = trained(device.plain(), WARM + 3)
    assert not isinstance(trainer.model._repeat, graph_cupy.Recorder)
    if device.ops.xp is strict:  # the same library there, other algorithms perhaps on a device
        assert_same_run(trainer, trained(device.ops, WARM + 3))


# -- only the stand-in can tell ------------------------------------------------------------------


@pytest.fixture
def on_strict(device):
    if device.ops.xp is not strict:
        pytest.skip("only the stand-in looks into a recording")
    return device


def test_a_recorded_step_is_one_launch_and_asks_for_no_memory(on_strict):
    trainer = trained(on_strict.ops, WARM + 1)
    order = on_strict.ops.to_device(np.arange(BATCH))
    before = Graph.launches
    with on_strict.crossings() as counted:
        trainer.step(order)
    assert Graph.launches == before + 1
    # ``index + first_index`` is the one array that a step makes
    assert (counted.waits, counted.to_host, counted.to_device) == (0, 0, 0)
    assert counted.allocations <= 1


def test_an_epoch_waits_for_nothing(on_strict):
    trainer = trained(on_strict.ops, WARM + 1)
    with on_strict.crossings() as counted:
        trainer.train(WARM + 2)
    assert counted.waits == 0


def launches(trainer):
    (graph,) = (g for k, g in trainer.model._repeat._graphs.items() if k[0][1][0] == BATCH)
    return [operation.name for operation in graph.operations]


@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_a_graph_has_the_launches_of_the_layers(on_strict, objective):
    """Forward a product and a launch a layer; backward a launch and two products, the lowest one.

    The last layer of each network starts from zero.
    """
    names = launches(trained(on_strict.ops, WARM + 1, objective=objective))
    layers = 6 + 8
    assert {name: names.count(name) for name in set(names)} == {
        "gemm": 3 * layers - 2,
        "ddnmf_activate": layers,
        "ddnmf_delta": layers,
        "fill": 2,
    }


def test_a_missing_event_is_a_race(on_strict, monkeypatch, caplog):
    """The test of the test: without the wait for both, the taps would read too early."""
    monkeypatch.setattr(graph_cupy.TwoStreams, "both", unjoined)
    trained(on_strict.ops, WARM + 1)
    assert "race between" in caplog.text


def unjoined(self, one, two):
    """Like `both`, but the second stream is waited for at the very end alone, by the caller."""
    first = self.xp.cuda.get_current_stream()
    if not self.__dict__.get("_begun"):
        self._before.record(first)
        self._second.wait_event(self._before)
    self._begun = not self.__dict__.get("_begun", False)
    one()
    self.lane = 1
    with self._second:
        two()
    self.lane = 0
    if not self._begun:
        self._after.record(self._second)
        first.wait_event(self._after)


def test_what_two_kernels_would_share_is_a_race(on_strict, caplog):
    on_strict.ops._done[1] = on_strict.ops._done[0]
    trained(on_strict.ops, WARM + 1)
    assert "race between ddnmf_delta and ddnmf_delta" in caplog.text


def test_one_workspace_for_two_streams_is_a_race(on_strict, caplog):
    on_strict.ops._products[1] = on_strict.ops._products[0]
    trained(on_strict.ops, WARM + 1)
    assert "race between gemm and gemm" in caplog.text


def test_the_stand_in_refuses_what_cuda_refuses():
    stream, other = Stream(non_blocking=True), Stream(non_blocking=True)
    a = strict.ones(3)
    for refused in (
        lambda: Stream.null.begin_capture(),
        lambda: Stream().begin_capture(),
        lambda: stream.end_capture(),
    ):
        with pytest.raises(StrictError):
            refused()
    for refused in (
        lambda: stream.synchronize(),
        lambda: Event().synchronize(),
        lambda: a.get(),
        lambda: bool(a[0]),
        lambda: strict.empty(3),
        lambda: a + a,
        lambda: strict.asarray(np.ones(3)),
        lambda: strict.matmul(a, a),
        lambda: stream.begin_capture(),
        lambda: Graph().launch(),
        lambda: on(Stream.null, a),
        lambda: on(other, a),
        lambda: stream.wait_event(Stream.null.record()),
        lambda: Stream.null.wait_event(stream.record()),
    ):
        with stream:
            stream.begin_capture()
            with pytest.raises(StrictError):
                refused()
            stream.end_capture()


def on(stream, a):
    with stream:
        strict.add(a, a, out=a)


def test_unjoined_work_cannot_be_recorded():
    stream, other, a = Stream(non_blocking=True), Stream(non_blocking=True), strict.ones(3)
    with stream:
        stream.begin_capture()
        other.wait_event(stream.record())
        on(other, a)
        with pytest.raises(StrictError, match="unjoined"):
            stream.end_capture()
    with stream:
        stream.begin_capture()
        strict.add(a, a, out=a)
        other.wait_event(stream.record())
        on(other, a)
        stream.wait_event(other.record())
        graph = stream.end_capture()
    assert (a.get() == 1.0).all()
    graph.launch()
    graph.launch()
    assert (a.get() == 16.0).all()


@pytest.mark.cupy
def test_cupy_has_what_the_stand_in_has_of_streams(cupy):
    for ours, theirs in ((Stream, cupy.cuda.Stream), (Event, cupy.cuda.Event)):
        for name in vars(ours):
            if name[0] != "_" and callable(vars(ours)[name]):
                assert callable(getattr(theirs, name)), name
    assert callable(cupy.cuda.Graph.launch)
    assert callable(cupy.cuda.using_allocator)


@pytest.mark.cupy
def test_an_allocation_goes_through_the_allocator_of_the_block(cupy):
    """So that a recording is given up before an array of the pool can be part of it."""
    with cupy.cuda.using_allocator(graph_cupy._refuse):
        for allocate in (
            lambda: cupy.empty((3,), "float32"),
            lambda: cupy.ndarray((3,)),
            lambda: cupy.cuda.alloc(8),
        ):
            with pytest.raises(RuntimeError, match="bytes of device memory"):
                allocate()
