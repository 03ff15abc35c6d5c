"""Two threads for two networks: the same bits, no thread left behind, no error lost."""

import os
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from tolerances import assert_same_bits
from training_cases import assert_same_state, draw

from ddnmf_np.backends import threads as lanes_module
from ddnmf_np.backends.ops import Ops
from ddnmf_np.backends.threads import NetworkThreads, share
from ddnmf_np.config import configure
from ddnmf_np.training import Trainer


def make(ops, **options):
    return configure(widths=(17, 11), rank=3, batch_size=16, **options).make_model(13, ops)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("objective", ["paper", "demo"])
@pytest.mark.parametrize("cached", [0, 10**9], ids=["layer by layer", "at the end"])
def test_threads_and_order_change_no_bit(ops, objective, cached, monkeypatch):
    """Side by side, in turn, or the other way round; whatever the scheduler does."""
    monkeypatch.setattr(lanes_module, "WORTH_A_THREAD", 0.0)
    monkeypatch.setattr("ddnmf_np.model._CACHED", cached)
    x = draw(80)
    models = []
    for threads in (1, 2, 3):
        model = make(ops, threads=threads, objective=objective, nonnegative="recovery")
        trainer = Trainer(model, x)
        alongside = []
        trainer.train(
            4, on_step=lambda t, seen=alongside: seen.append(t.model.network_threads.side_by_side)
        )
        assert alongside == [threads > 1] * 20
        models.append((model, trainer.history))
    backwards = make(ops, threads=1, objective=objective, nonnegative="recovery")
    backwards.network_threads.both = lambda one, two: (two(), one())
    trainer = Trainer(backwards, x)
    trainer.train(4)
    models.append((backwards, trainer.history))
    for model, history in models[1:]:
        assert_same_state(model, models[0][0])
        for record, expected in zip(history, models[0][1], strict=True):
            losses = {k: v for k, v in record.items() if k.startswith("loss")}
            assert losses == {k: v for k, v in expected.items() if k.startswith("loss")}


def test_moving_layer_by_layer_changes_no_bit(ops, monkeypatch):
    x = draw(16)
    results = []
    for cached in (0, 10**9):
        monkeypatch.setattr("ddnmf_np.model._CACHED", cached)
        model = make(ops, objective="demo")
        for _ in range(5):
            model.step(x, 0.9 * x)
        results.append(model)
    assert_same_state(*results)


def test_losses_of_a_step_are_those_of_measure(ops):
    """The direct gradients measure on the way down what `measure` does by itself."""
    for objective in ("paper", "demo"):
        model, x = make(ops, objective=objective, dtype="float64"), draw(16).astype("float64")
        model.forward(x, 0.9 * x)
        model.loss.measure(x)
        expected = model.loss.sums.copy()
        assert (expected > 0.0).all()
        model.loss.reset()
        model.step(x, 0.9 * x)
        np.testing.assert_allclose(model.loss.sums, expected, rtol=1e-13)


class TestThreads:
    def test_blas_gets_its_share_and_its_number_back(self, monkeypatch):
        monkeypatch.setattr(lanes_module, "WORTH_A_THREAD", 0.0)
        with threadpool_limits(2, user_api="blas"):
            before = blas_threads()
            both = NetworkThreads(Ops(), None, 1.0)
            with both, both:  # entered again by a function that is called inside
                assert both.side_by_side
                assert set(blas_threads()) == {1}
            assert blas_threads() == before
            assert not both.side_by_side
            assert not any(t.name.startswith("ddnmf-network") for t in threading.enumerate())

    def test_two_fits_at_a_time_leave_the_number_of_threads_alone(self):
        with threadpool_limits(2, user_api="blas"):
            first, second = (NetworkThreads(Ops(), None, 1e12) for _ in range(2))
            first.__enter__()
            second.__enter__()
            first.__exit__(None, None, None)
            assert set(blas_threads()) == {1}, "the second is still at work"
            second.__exit__(None, None, None)
            assert set(blas_threads()) == {2}

    def test_little_work_and_no_wish_change_nothing(self):
        with threadpool_limits(2, user_api="blas"), NetworkThreads(Ops(), None, 1e3) as both:
            assert not both.side_by_side
            assert set(blas_threads()) == {2}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_forked_process_goes_on_alone(self):
        with NetworkThreads(Ops(), 2, 1e12) as both:
            both.both(lambda: None, lambda: None)
            child = os.fork()
            if child == 0:
                both.both(lambda: None, lambda: None)
                os._exit(0 if not both.side_by_side else 1)
            deadline = time.monotonic() + 30
            while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
                assert time.monotonic() < deadline, "the child waits for a thread it has not"
                time.sleep(0.01)
            assert status == (child, 0)

    def test_a_limit_set_outside_is_kept(self):
        with threadpool_limits(1, user_api="blas"), NetworkThreads(Ops(), None, 1e12) as both:
            assert not both.side_by_side
            assert set(blas_threads()) == {1}

    def test_of_several_libraries_the_least_counts(self):
        """SciPy's, loaded after somebody has limited NumPy's, has all processors."""
        libraries = [SimpleNamespace(num_threads=number) for number in (1, 8)]
        assert lanes_module.threads_of(SimpleNamespace(lib_controllers=libraries)) == 1

    def test_little_work_is_worth_no_thread(self):
        with NetworkThreads(Ops(), 2, 1e5) as both:
            assert not both.side_by_side

    @pytest.mark.parametrize(
        ("threads", "two", "takes_turns", "expected"),
        [
            (1, False, True, 1),
            (2, True, True, 1),
            (2, True, False, 1),
            (3, True, True, 2),
            (3, True, False, 1),
            (8, True, True, 7),
            (8, True, False, 4),
            (8, False, True, 8),
        ],
    )
    def test_share(self, threads, two, takes_turns, expected):
        assert share(threads, two=two, takes_turns=takes_turns) == expected


@pytest.fixture
def ctrl_c():
    """Python's own handler of Ctrl-C, which a shell takes from what it starts with ``&``."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestErrors:
    def fail(self, error):
        raise error

    @pytest.mark.parametrize("threads", [1, 2])
    def test_an_error_of_either_comes_through(self, threads):
        for number in range(2):
            calls = [lambda: None, lambda: None]
            calls[number] = partial(self.fail, ZeroDivisionError(str(number)))
            with (
                NetworkThreads(Ops(), threads, 1e12) as both,
                pytest.raises(ZeroDivisionError, match=str(number)),
            ):
                both.both(*calls)

    def test_ctrl_c_while_waiting_waits_all_the_same(self, ctrl_c):
        done = threading.Event()

        def slow():
            threading.Event().wait(0.1)
            signal.raise_signal(signal.SIGINT)  # Python handles it in the main thread
            threading.Event().wait(0.2)
            done.set()

        with NetworkThreads(Ops(), 2, 1e12) as both:
            with pytest.raises(KeyboardInterrupt):
                both.both(slow, lambda: None)
            assert done.is_set()

    def test_the_other_is_waited_for(self):
        """Nothing of a step may go on behind the back of who handles its error."""
        done = threading.Event()

        def slow():
            threading.Event().wait(0.2)
            done.set()

        with NetworkThreads(Ops(), 2, 1e12) as both:
            with pytest.raises(ZeroDivisionError):
                both.both(slow, partial(self.fail, ZeroDivisionError()))
            assert done.is_set()

    def test_no_warning_from_the_other_thread(self):
        """A network that diverges is reported by the trainer, not by a warning of NumPy."""
        big = np.full(3, np.finfo("float32").max, "float32")
        with NetworkThreads(Ops(), 2, 1e12) as both, np.errstate(all="ignore"):
            both.both(lambda: np.multiply(big, big), lambda: np.multiply(big, big))


def test_a_model_in_use_is_copied_and_pickled_without_its_threads(monkeypatch):
    import pickle

    monkeypatch.setattr(lanes_module, "WORTH_A_THREAD", 0.0)
    model = make(Ops(), threads=2)
    with model.network_threads:
        twin = pickle.loads(pickle.dumps(model))
        other = model.copy(rows=4, dtype="float32")
        assert not twin.network_threads.side_by_side
        assert not other.network_threads.side_by_side
    assert_same_bits(twin.supervisor.arena.params, model.supervisor.arena.params)
