"""Training by several ranks, which are threads here: no MPI is needed."""

import numpy as np
import pytest
from parallel_cases import in_ranks
from tolerances import relative_error
from training_cases import SMALL, assert_same_state, draw, losses_of, snapshot

from ddnmf_np.config import configure
from ddnmf_np.errors import BackendError, DataError, DivergedError
from ddnmf_np.parallel.communicator import STUDENT, SUPERVISOR, SerialCommunicator
from ddnmf_np.parallel.launch import make_trainer, threads_of_rank, together
from ddnmf_np.runs import run
from ddnmf_np.runs.folder import RunFolder

SPLIT = 1e-11
"""Float64 on one process and on several: the same products in another order, 15 steps of Adam."""


def make(communicator=None, x=None, **options):
    config = configure(**(SMALL | {"dtype": "float64", "objective": "demo"} | options))
    x = draw(dtype=config.training.dtype) if x is None else x
    trainer = make_trainer(
        config, config.make_model(x.shape[1]), x, communicator or SerialCommunicator()
    )
    trainer.config = config
    return trainer


def train(trainer, **callbacks):
    trainer.train(trainer.config.training.epochs, **callbacks)
    return trainer


def assert_close_state(found, expected, tolerance=SPLIT):
    state = found.model.state()
    for name, block in expected.model.state().items():
        assert relative_error(state[name], block) <= tolerance, name


@pytest.mark.parametrize("size", [2, 3, 4, 7])  # of 7, two have no sample of the last batch of 5
@pytest.mark.parametrize("objective", ["demo", "paper"])
def test_results_are_those_of_one_process(size, objective):
    alone = train(make(objective=objective))
    ranks = in_ranks(size, lambda c: train(make(c, objective=objective)))
    for rank in ranks:
        assert_same_state(rank.model, ranks[0].model)
        assert losses_of(rank.history) == losses_of(ranks[0].history)
    assert_close_state(ranks[0], alone)
    for found, expected in zip(losses_of(ranks[0].history), losses_of(alone.history), strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


def test_with_missing_entries():
    x = draw(dtype="float64")
    x[np.random.default_rng(0).uniform(size=x.shape) < 0.3] = np.nan
    alone = train(make(x=x, missing="nan"))
    ranks = in_ranks(2, lambda c: train(make(c, x, missing="nan")))
    assert_close_state(ranks[1], alone)


def test_what_ranks_do_between_steps_disturbs_no_other():
    """Each rank uses its replica on other samples while another rank is in the next step."""
    alone, whole = train(make()), make()
    whole.train(1)

    def work(communicator):
        trainer = make(communicator)
        x = draw(40, seed=communicator.rank, dtype="float64")

        def look(trainer):
            trainer.model.denoise(x[:7])
            trainer.model.supervise(x[:7])

        trainer.train(1, on_step=look)
        found = [trainer.model.encode(x) for _ in range(20)]
        trainer.train(3, on_step=look)
        return trainer, x, found

    for trainer, x, found in in_ranks(4, work):
        assert_close_state(trainer, alone)
        for H in found:
            np.testing.assert_allclose(H, whole.model.encode(x), rtol=1e-9)


@pytest.mark.parametrize("kind", ["masking", "gaussian", "salt-and-pepper"])
def test_noise_is_that_of_one_process(kind):
    """The ranks see the parts of the same noisy batch, bit for bit."""

    def seen(communicator=None):
        trainer = make(communicator, noise_kind=kind, noise_redraw=True)
        batches = []

        def on_step(trainer):
            batches.append(trainer.model.student.h[0].copy())

        return train(trainer, on_step=on_step) and batches

    alone, (one, two) = seen(), in_ranks(2, seen)
    assert len(alone) == len(one) == len(two) == 15
    for whole, first, second in zip(alone, one, two, strict=True):
        np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_rank_has_memory_for_its_share_alone():
    alone = make()
    ranks = in_ranks(2, make)
    assert all(len(rank.feed.batch.clean) == len(alone.feed.batch.clean) // 2 for rank in ranks)


def test_first_sum_is_under_way_during_the_other_backward_pass():
    def requests(communicator):
        train(make(communicator, epochs=1))
        return communicator.requests

    for found in in_ranks(2, requests):
        polled = {channel: polls for channel, polls in found if channel in (SUPERVISOR, STUDENT)}
        assert polled == {STUDENT: 4, SUPERVISOR: 6}  # a look after each layer


def test_one_that_is_asked_to_stop_stops_all_at_the_same_step():
    def work(communicator):
        trainer = make(communicator)

        def on_step(trainer):
            trainer.stop_requested = communicator.rank == 1 and trainer.position.batch == 2

        assert not trainer.train(3, on_step=on_step)
        return trainer

    ranks = in_ranks(3, work)
    assert {(r.position.epoch, r.position.batch) for r in ranks} == {(0, 3)}
    assert_same_state(ranks[0].model, ranks[2].model)


def test_all_begin_where_rank_0_is():
    """Only rank 0 has read the checkpoint."""
    begun = make()
    begun.train(1)
    alone = train(make())

    def work(communicator):
        trainer = make(communicator)
        if communicator.rank == 0:
            trainer.model.load_state(snapshot(begun.model), begun.model.optimizer.t)
            trainer.position.epoch, trainer.history = 1, list(begun.history)
        return train(trainer)

    for rank in in_ranks(2, work):
        assert_close_state(rank, alone)
        assert [record["epoch"] for record in rank.history] == [1, 2, 3]


def test_rank_0_saves_only_where_replicas_have_been_compared(tmp_path, monkeypatch):
    """It saves at the end of an epoch, however often a checkpoint is due."""
    saved = []

    def note(path, config, trainer, data_sha256):
        saved.append((trainer.position.epoch, trainer.position.batch))

    def work(communicator):
        trainer = make(communicator, checkpoint_every=1e-9)
        if communicator.rank == 0:
            return run._train(trainer, trainer.config, RunFolder(tmp_path), "", communicator)
        return trainer.train(3)

    monkeypatch.setattr(run, "save_checkpoint", note)
    assert in_ranks(2, work) == [True, True]
    assert saved == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("asked", [False, True])
def test_replica_that_drifts_is_found_before_anything_is_saved(asked):
    """This includes a run that was asked to stop, after which rank 0 saves."""
    saved = []

    def work(communicator):
        trainer = make(communicator)
        if communicator.rank == 1:
            original = trainer.step

            def step(index):
                original(index)
                trainer.model.student.arena.params[3] *= 1 + 1e-15

            trainer.step = step

        def on_step(trainer):
            trainer.stop_requested = asked

        return train(trainer, on_step=on_step, on_epoch=saved.append)

    errors = in_ranks(3, work, all_fail=True)
    assert [type(error) for error in errors] == [DivergedError] * 3
    assert all("rank 1 are no longer those of rank 0" in str(error) for error in errors)
    assert saved == []


def test_a_stop_is_over_when_training_goes_on():
    alone = train(make())

    def work(communicator):
        trainer = make(communicator)

        def on_step(trainer):
            trainer.stop_requested = trainer.position.batch == 2

        assert not trainer.train(3, on_step=on_step)
        trainer.stop_requested = False
        return train(trainer)

    for rank in in_ranks(2, work):
        assert_close_state(rank, alone)


def test_a_rank_with_fewer_samples_is_found():
    """It would have fewer batches, and the others would wait for its next one."""
    x = draw(dtype="float64")
    error = in_ranks(2, lambda c: train(make(c, x[: len(x) - 20 * c.rank])))[1]
    assert isinstance(error, DataError)
    assert "on rank 1 and" in str(error)
    assert "give all ranks the same samples" in str(error)


def test_what_diverges_on_one_rank_is_seen_by_all_at_the_same_step():
    x = draw(dtype="float64")
    x[17] = np.inf
    found = in_ranks(3, lambda c: train(make(c, x, noise_kind="none")), all_fail=True)
    assert [type(error) for error in found] == [DivergedError] * 3
    assert len({str(error).partition(":")[0] for error in found}) == 1


@pytest.mark.parametrize("n", [0, 1, 5, 128])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_shares_make_up_the_batch(n, size):
    class Rank(SerialCommunicator):
        pass

    rows, sizes = [], set()
    for number in range(size):
        rank = Rank()
        rank.rank, rank.size = number, size
        share = range(n)[rank.share(n)]
        rows += share
        sizes.add(len(share))
    assert rows == list(range(n))
    assert max(sizes) - min(sizes) <= 1


class TestTogether:
    class Rank(SerialCommunicator):
        size = 2

        def __init__(self):
            self.aborted = []

        def abort(self, code):
            self.aborted.append(code)

    def test_failure_ends_all_with_its_code(self):
        rank = self.Rank()
        assert together(lambda communicator: 4, rank) == 4
        assert rank.aborted == [4]

    def test_error_that_nobody_expects_is_told_and_ends_all(self, capsys):
        rank = self.Rank()
        with pytest.raises(ZeroDivisionError):
            together(lambda communicator: 1 // 0, rank)
        assert rank.aborted == [1]
        assert "rank 0 of 2: Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize("code", [0, None])
    def test_help_ends_nobody(self, code):
        def help_shown(communicator):
            raise SystemExit(code)

        rank = self.Rank()
        with pytest.raises(SystemExit):
            together(help_shown, rank)
        assert together(lambda communicator: 0, rank) == 0
        assert rank.aborted == []

    def test_one_process_keeps_its_exceptions(self, capsys):
        with pytest.raises(ZeroDivisionError):
            together(lambda communicator: 1 // 0, SerialCommunicator())
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("threads", "told", "size", "expected"),
    [(None, None, 2, 1), (3, None, 2, 3), (None, "2", 2, None), (None, None, 1, None)],
)
def test_threads(monkeypatch, threads, told, size, expected):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    rank = SerialCommunicator()
    rank.size = size
    assert threads_of_rank(threads, rank) == expected


def test_launcher_without_mpi4py_is_an_error_with_a_remedy(monkeypatch):
    from ddnmf_np.parallel import launch

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "mpi4py", None)
    with pytest.raises(BackendError, match="pip install"):
        launch.connect()
