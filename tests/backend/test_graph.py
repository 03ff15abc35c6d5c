"""Streams and recorded steps: the same numbers as one launch after the other.

As those of ``test_gpu.py``, the tests need a device, real or emulated (``-m gpu``). The emulated
one does a graph's work in any order that its events allow, and finds races between its streams.
"""

import gc
import logging
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from availability import unavailable
from tolerances import assert_same_bits

import ddnmf_np.model as model_module
from ddnmf_np.backends import cupy_graph
from ddnmf_np.backends.cupy_graph import ATTEMPTS, MOST, STREAMS, WARM
from ddnmf_np.backends.select import why_no_graphs
from ddnmf_np.config import configure
from ddnmf_np.errors import DivergedError
from ddnmf_np.experiments.autoencoder import Autoencoder
from ddnmf_np.model import Model
from ddnmf_np.runs.yardsticks import noisy_copy
from ddnmf_np.training import Trainer

pytestmark = pytest.mark.gpu

FEATURES, SAMPLES, BATCH = 13, 43, 16  # the last batch of an epoch is short: 11


def config(**options):
    small = {"widths": (7, 11, 5), "rank": 3, "batch_size": BATCH, "dtype": "float32"}
    return configure(**(small | options))


def data(n=SAMPLES):
    return np.random.default_rng(5).uniform(0.0, 1.0, (n, FEATURES)).astype("float32")


def trained(ops, epochs=6, **options):
    trainer = Trainer(config(**options).make_model(FEATURES, ops), data())
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


@pytest.mark.parametrize(
    ("make", "where"), [(Model, "input of supervisor"), (Autoencoder, "input")]
)
def test_what_is_not_finite_is_found_in_the_batch_that_was_replayed(device, make, where):
    """Not in the rows of the batch that was recorded last, the short one."""
    chosen = config(noise_rate=0.0)
    if make is Model:
        model = chosen.make_model(FEATURES, device.ops)
    else:
        model = make(FEATURES, chosen.model, batch_size=BATCH, ops=device.ops)
    trainer = chosen.make_trainer(model, data())
    trainer.train(4)
    trainer.x[BATCH - 1] = np.nan
    trainer.step(device.ops.xp.arange(BATCH))
    with pytest.raises(DivergedError, match=f"not finite: {where}\\."):
        trainer.check_finite()


def test_every_batch_size_has_its_graph(device):
    trainer = trained(device.ops, WARM + 1)
    assert sorted(key[0][1] for key in trainer._step.repeat._graphs) == [(11,), (BATCH,)]


def test_a_run_goes_on_where_it_stopped(device):
    """Recorded again by another model, from the state of the first."""
    whole, first = trained(device.ops, 6), trained(device.ops, 3)
    state = {name: block.copy() for name, block in first.model.state().items()}
    second = Trainer(config().make_model(FEATURES, device.ops), data())
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
    trainer, plain = (
        Trainer(config().make_model(FEATURES, ops), data()) for ops in (device.ops, None)
    )
    for epoch in range(1, 7):
        for t in (trainer, plain):
            t.model.optimizer.lr = 0.01 / epoch
            t.train(epoch)
    assert trainer.model.optimizer.t == plain.model.optimizer.t == 6 * 3
    for name, expected in plain.model.state().items():
        actual = trainer.model.state()[name]
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4, err_msg=name)


def test_arrays_that_come_and_go_are_not_recorded(device):
    model = config().make_model(FEATURES, device.ops)
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


def faulty(ops, fault, epochs=WARM + 3):
    """Return a trained model's state whose work does something that cannot be recorded."""
    trainer = Trainer(config().make_model(FEATURES, ops), data())
    iterate = trainer._step.work

    def work(index):
        iterate(index)
        fault(ops, trainer.feed.batch.clean[: index.shape[0]])

    trainer._step.work = work
    trainer.train(epochs)
    return trainer


FAULTS = {
    "allocates": lambda ops, x: ops.empty((3,), "float32"),
    "copies": lambda ops, x: x + 1.0,
    "multiplies with CuPy": lambda ops, x: ops.xp.matmul(x, x.T, out=OUT[ops]),
    "is told to stop": lambda ops, x: 1 / (not capturing(ops)),
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
    assert trainer._step.repeat._graphs == {}
    messages = [record.message for record in caplog.records]
    assert 1 <= len(messages) == len(set(messages)) <= ATTEMPTS  # once for each reason
    assert all("cannot be recorded as a CUDA graph" in message for message in messages)
    # the next recording, of another model, is none the worse for it
    assert_same_run(expected, trained(device.ops, WARM + 3))


def capturing(ops):
    return ops.xp.cuda.get_current_stream().is_capturing()


@pytest.mark.parametrize("failures", [1, ATTEMPTS - 1, ATTEMPTS, ATTEMPTS + 1])
def test_a_recording_that_failed_is_tried_again(device, without_graphs, failures, caplog):
    """A lack of memory passes; what fails again and again is no longer tried."""
    epochs, failed = 2 * (WARM + 1), []

    def fault(ops, x):
        if capturing(ops) and len(failed) < failures:
            failed.append(x.shape)
            raise MemoryError("no room now")

    with caplog.at_level(logging.WARNING, logger="ddnmf_np"):
        trainer = faulty(device.ops, fault, epochs)
    assert_same_run(trained(without_graphs, epochs), trainer)
    assert len(failed) == min(failures, ATTEMPTS)
    assert len(trainer._step.repeat._graphs) == (2 if failures < ATTEMPTS else 0)
    messages = [record.message for record in caplog.records]
    assert len(messages) == 1
    assert messages[0].endswith("MemoryError: no room now")


class Garbage:
    """Refers to itself, so that only a garbage collection finds it; tells whether one did."""

    def __init__(self, ops, seen):
        self.me, self.ops, self.seen = self, ops, seen

    def __del__(self):
        self.seen.append(capturing(self.ops))


@pytest.fixture
def collect_often():
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collect_often")
def test_no_garbage_is_collected_while_a_step_is_recorded(device):
    """A finaliser may free device memory or destroy a stream, which ends the recording."""
    seen = []
    trainer = faulty(device.ops, lambda ops, x: [Garbage(ops, seen) for _ in range(20)])
    assert len(trainer._step.repeat._graphs) == 2
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("error", [None, MemoryError, KeyboardInterrupt])
def test_garbage_is_collected_again_after_a_recording(device, error, enabled):
    during = []

    def fault(ops, x):
        if capturing(ops):
            during.append(gc.isenabled())
            if error is not None:
                raise error

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with suppress(KeyboardInterrupt):
            faulty(device.ops, fault)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
    assert during
    assert not any(during)


def test_an_interruption_is_not_swallowed(device):
    trainer = trained(device.ops, WARM)
    iterate = trainer._step.work

    def work(index):
        iterate(index)
        if capturing(device.ops):
            raise KeyboardInterrupt

    trainer._step.work = work
    with pytest.raises(KeyboardInterrupt):
        trainer.train(WARM + 1)
    trainer._step.work = iterate
    trainer.model.optimizer.t -= 1  # that step was begun, and nothing of it was done
    trainer.train(WARM + 1)
    assert_same_run(trained(device.ops, WARM + 1), trainer)


@pytest.mark.parametrize("where", ["first", "second", "beside"])
def test_an_error_leaves_the_streams_joined(device, where):
    """Work that another stream has begun is waited for; the emulated device would see a race."""
    ops, streams = device.ops, device.ops._streams
    x, w = ops.zeros((4, 3), "float32"), ops.zeros((4, 2), "float32")
    out, other = ops.zeros((3, 2), "float32"), ops.zeros((3, 2), "float32")

    def one():
        ops.sum_outer(x, w, out)
        if where == "first":
            raise ZeroDivisionError
        if where == "beside":
            streams.beside(lambda: 1 / 0)

    def two():
        ops.sum_outer(x, w, other)
        ops.matmul(x.T, w, out=ops.zeros((3, 2), "float32"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ops.both(one, two)
    assert (streams.network, streams.number) == (0, 0)
    out.fill(1.0)
    other.fill(1.0)
    assert_same_run(trained(ops, 4), trained(ops, 4))


def test_an_error_while_recording_is_the_one_that_is_logged(emulated, device, caplog):
    """A wait ends the recording; that the joins fail then is not the reason."""
    trainer = Trainer(config().make_model(FEATURES, device.ops), data())
    iterate = trainer._step.work

    def work(index):
        def wait():
            if capturing(device.ops):
                device.ops.xp.cuda.Stream.null.synchronize()
                device.ops.xp.cuda.get_current_stream().synchronize()

        device.ops.both(lambda: None, wait)
        iterate(index)

    trainer._step.work = work
    trainer.train(WARM + 1)
    assert "cudaErrorStreamCaptureUnsupported" in caplog.text
    assert "Invalidated" not in caplog.text
    assert "a wait while a stream is captured" in emulated.complaints()


def test_scratch_of_the_noise_outlives_a_larger_batch(device):
    """A recorded step writes where it wrote, also after a larger batch has taken more room."""
    options = {"noise_shift": 1.5, "image_shape": (FEATURES, 1)}
    trainer = Trainer(config(**options).make_model(FEATURES, device.ops), data())
    trainer.train(WARM + 1)
    noisy_copy(trainer, data(200))
    arrays = [device.ops.zeros((BATCH, FEATURES), "float32") for _ in range(20)]
    trainer.train(WARM + 3)
    assert not any(array.any() for array in arrays)


def test_without_the_bindings_nothing_is_recorded(device):
    trainer = trained(device.plain(), WARM + 3)
    assert not isinstance(trainer._step.repeat, cupy_graph.Recorder)


# -- what the emulated device counts -------------------------------------------------------------


SEEDS = (1, 2, 3)
"""Of the orders in which a graph's work is done: any that its events allow gives the same bits."""


@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_any_order_that_the_events_allow_gives_the_same_bits(emulated, device, layers, objective):
    expected = trained(device.ops, WARM + 2, objective=objective)
    for seed in SEEDS:
        with emulated.order(seed):
            assert_same_run(expected, trained(device.ops, WARM + 2, objective=objective))


@pytest.fixture(params=["each layer by itself", "all layers at once"])
def layers(request, monkeypatch):
    """How the optimizer goes: large networks move layer by layer, small ones as a whole."""
    if request.param == "each layer by itself":
        monkeypatch.setattr(model_module, "_CACHED", 0)
    return request.param


@pytest.mark.parametrize("objective", ["paper", "demo"])
def test_a_graph_has_the_launches_of_the_layers(emulated, device, layers, objective):
    """Forward a product and a launch a layer; backward a launch and two products, the lowest one.

    The last layer of each network starts from zero.
    """
    trained(device.ops, WARM + 2, objective=objective)
    names = Counter(work.name.split()[0] for work in emulated.graph())
    count = 6 + 8
    assert names == {
        "gemm": 3 * count - 2,
        "ddnmf_activate": count,
        "ddnmf_delta": count,
        "memset": 2,
        "ddnmf_gather": 1,
        "ddnmf_replace": 1,
        "ddnmf_adam": count if layers == "each layer by itself" else 2,
    }


def test_gradients_of_weights_keep_nobody_waiting(emulated, device, monkeypatch):
    """The longest row of a step is the student's layers: dW and the descent lie beside it."""
    monkeypatch.setattr(model_module, "_CACHED", 0)
    trained(device.ops, WARM + 2)
    work = emulated.graph()
    assert len({piece.stream for piece in work}) == STREAMS
    forward, backward = 2 * 8, 2 * 8 - 1
    ends = 1 + 2  # the signal of the last layer starts from zero; the lowest layer has dW and Adam
    assert max(piece.row for piece in work) == 2 + forward + backward + ends


class Deaf:
    """An event that is never recorded: nobody waits for anything."""

    def __init__(self, event):
        self.event, self.ptr = event, event.ptr

    def record(self, stream):
        pass


@pytest.mark.parametrize("name", ["_before", "_after", "_marks"])
@pytest.mark.parametrize("epochs", [1, WARM + 1])
def test_a_missing_event_is_a_race(emulated, device, name, epochs):
    """The test of the tests above: each kind of event is left out once."""
    ops = type(device.ops)(device.ops.xp, device.ops._products)
    events = getattr(ops._streams, name)
    deaf = [Deaf(event) for event in events] if isinstance(events, list) else Deaf(events)
    setattr(ops._streams, name, deaf)
    trained(ops, epochs)
    assert any("race between" in text for text in emulated.complaints())


def test_what_two_kernels_would_share_is_a_race(emulated, device, without_graphs):
    without_graphs._done[1] = without_graphs._done[0]
    trained(without_graphs, 1)
    assert any("ddnmf_delta and ddnmf_delta" in text for text in emulated.complaints())


def test_one_workspace_for_two_streams_is_a_race(emulated, device):
    products = list(device.ops._products)
    products[1] = products[0]
    trained(type(device.ops)(device.ops.xp, products), WARM + 1)
    assert any("race between gemm" in text for text in emulated.complaints())


# -- what CuPy does, which this relies on ----------------------------------------------------------


def test_an_allocation_goes_through_the_allocator_of_the_block(cupy):
    """So that a recording is given up before an array of the pool can be part of it."""
    with cupy.cuda.using_allocator(cupy_graph._refuse):
        for allocate in (
            lambda: cupy.empty((3,), "float32"),
            lambda: cupy.ndarray((3,)),
            lambda: cupy.cuda.alloc(8),
        ):
            with pytest.raises(RuntimeError, match="bytes of device memory"):
                allocate()
