"""Runs under mpiexec: weights equal to one process, and failures of a rank."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from parallel_cases import AT_STEP, SMALL, TIMEOUT, finish, mpiexec, start, write_images

from ddnmf_np.data.datasets import load
from ddnmf_np.errors import BackendError, DataError
from ddnmf_np.runs.checkpoint import load_checkpoint

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(
        mpiexec() is None or importlib.util.find_spec("mpi4py") is None,
        reason="there is no mpiexec or mpi4py (the extra 'mpi')",
    ),
]

WHOLE = {"paper": 1e-10, "float32": 1e-5}
"""Largest difference of a block's weights from those of one process, relative to the block's
norm, after 50 steps, by the case: what the project promises (``derivations/guarantees.md``)."""

CASES = {
    "paper": {"widths": (500, 500, 2000), "rank": 10, "batch_size": 32, "dtype": "float64"},
    "float32": {
        "widths": (128, 64), "batch_size": 32, "activation": "tanh",
        "recovery_activation": "softplus", "optimizer": "gd",
    },
}  # fmt: skip
"""Fifty steps of each, in one run. Where a ReLU's input is within rounding of 0, one bit decides
whether the sample counts, and Adam makes much of it: in float32 the paper's network on two
libraries of matrix products, in one process, differs by 1e-2 to 1e-1 after 50 steps
(``derivations/16-scaling.md``). So these two are compared in float64, and float32 without them."""

FIFTY_STEPS = """
import sys
from ddnmf_np.parallel.launch import connect, make_trainer, together
import numpy as np
from threadpoolctl import threadpool_limits
from ddnmf_np.config import configure

def work(ranks):
    for name, options in {cases!r}.items():
        config = configure(**options, objective="paper")
        x = np.load(sys.argv[1]).astype(config.training.dtype)
        trainer = make_trainer(config, config.make_model(x.shape[1]), x, ranks)
        with threadpool_limits(1):
            trainer.train(1)
        assert trainer.model.optimizer.t == 50
        if ranks.rank == 0:
            np.savez(f"{{sys.argv[2]}}-{{name}}.npz", **trainer.model.state())
    return 0

sys.exit(together(work, connect()))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    write_images(path, 400)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, images):
    """Return the folder of an undisturbed run of two ranks, and its printed output."""
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    code, out, err = finish(2, output, *SMALL, "--dataset", images)
    assert code == 0, err
    return output, out, err


def arrays(output):
    return load_checkpoint(output / "checkpoint.npz").arrays


def difference(found, expected):
    """Return the largest difference of two runs' parameters, relative to their block's norm."""
    return max(
        float(np.linalg.norm(found[name].astype(float) - block) / np.linalg.norm(block))
        for name, block in expected.items()
        if ":" not in name and name != "loss_sums" and np.linalg.norm(block) > 0
    )


def assert_same_arrays(found, expected):
    assert found.keys() == expected.keys()
    different = [name for name in expected if found[name].tobytes() != expected[name].tobytes()]
    assert not different


@pytest.mark.paper_shape
def test_weights_after_50_steps_are_those_of_one_process(tmp_path):
    """On real images; the last batch has 22 and no equal shares. One rank: bit for bit."""
    write_images(tmp_path / "images.npy", 49 * 32 + 22)
    script = tmp_path / "fifty.py"
    script.write_text(FIFTY_STEPS.format(cases=CASES))
    for ranks in (0, 1, 2, 4):
        launcher = [mpiexec(), "-n", str(ranks)] if ranks else []
        arguments = [sys.executable, script, tmp_path / "images.npy", tmp_path / str(ranks)]
        done = subprocess.run(
            [*launcher, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT
        )
        assert done.returncode == 0, done.stderr
        for name in CASES:
            alone, found = (dict(np.load(tmp_path / f"{n}-{name}.npz")) for n in (0, ranks))
            apart = difference(found, alone)
            print(f"{ranks} ranks, {name}: relative difference {apart:.1e}")
            if ranks < 2:
                assert_same_arrays(found, alone)
            else:
                assert 0 < apart <= WHOLE[name], name


def test_rank_0_alone_prints_and_writes(undisturbed):
    output, out, err = undisturbed
    assert out.count("training samples") == out.count("for the full report") == 1
    assert "2 ranks by MPI" in out
    assert "each with its share of every batch; threads of BLAS in each: 1" in out
    assert err.count("epoch 1/6") == 1
    assert len((output / "metrics.jsonl").read_text().splitlines()) == 6
    assert (output / "report.html").exists()
    assert not list(output.rglob(".*"))


def test_ranks_that_stream_take_their_shares_of_the_same_batches(tmp_path, images, undisturbed):
    """With a single window, order and every bit are those of training from memory."""
    code, _, err = finish(2, tmp_path / "run", *SMALL, "--dataset", images, "--stream")
    assert code == 0, err
    assert_same_arrays(arrays(tmp_path / "run"), arrays(undisturbed[0]))


@pytest.mark.parametrize(
    ("rank", "ranks", "action", "said"),
    [
        (3, 4, "raise RuntimeError('planted')", "rank 3 of 4: "),
        (1, 2, "import os; os.kill(os.getpid(), 9)", ""),
        (0, 2, "import os; os.kill(os.getpid(), 9)", ""),
    ],
    ids=["an error", "a rank is killed", "rank 0 is killed"],
)
def test_failure_of_one_rank_ends_all_and_the_run_can_go_on(
    tmp_path, images, undisturbed, rank, ranks, action, said
):
    output = tmp_path / "run"
    code = AT_STEP.format(rank=rank, step=20, action=action)
    status, _, err = finish(ranks, output, *SMALL, "--dataset", images, code=code)
    assert status != 0
    assert said in err
    assert ("planted" in err) == bool(said)
    saved = load_checkpoint(output / "checkpoint.npz")
    assert saved.meta["position"]["epoch"] == 2
    status, _, err = finish(2, output, "--resume", "--dataset", images)
    assert status == 0, err
    if ranks == 2:
        assert_same_arrays(arrays(output), arrays(undisturbed[0]))
    else:  # two epochs of it were done by four
        assert 0 < difference(arrays(output), arrays(undisturbed[0])) <= WHOLE["float32"]


def test_one_rank_is_asked_to_stop_and_another_number_goes_on(tmp_path, images, undisturbed):
    output = tmp_path / "run"
    action = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    code = AT_STEP.format(rank=1, step=20, action=action)
    status, out, err = finish(2, output, *SMALL, "--dataset", images, code=code)
    assert status == 130, err
    assert "stopped after 2 epochs and 4 steps" in out
    saved = (output / "checkpoint.npz").read_bytes()
    assert finish(2, output, "--resume", "--dataset", images)[0] == 0
    assert_same_arrays(arrays(output), arrays(undisturbed[0]))
    for ranks in (1, 3):
        (output / "checkpoint.npz").write_bytes(saved)
        options = {"launcher": ranks > 1}
        assert finish(ranks, output, "--resume", "--dataset", images, **options)[0] == 0
        assert 0 < difference(arrays(output), arrays(undisturbed[0])) <= WHOLE["float32"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_launcher_is_ended(tmp_path, images, number):
    """All ranks end too, and the last checkpoint is good."""
    output = tmp_path / "run"
    process = start(2, output, *SMALL, "--epochs", 10**6, "--dataset", images)
    saved, deadline = output / "checkpoint.npz", time.monotonic() + TIMEOUT

    def epochs():
        return load_checkpoint(saved).meta["position"]["epoch"] if saved.exists() else 0

    while epochs() == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)  # its ranks hold its pipes: they are gone too
    assert process.returncode != 0
    assert epochs() >= 1


def test_error_of_all_is_said_once(tmp_path, images):
    status, _, err = finish(2, tmp_path / "run", "--dataset", images, "--batch-size", 10**6)
    assert status == 4
    assert err.count("fewer than batch_size") == 1
    assert "Traceback" not in err
    assert not os.path.exists(tmp_path / "run" / "checkpoint.npz")


OTHER_DATA = """
import ddnmf_np.runs.run as run
from ddnmf_np.config import configure
data = run.read_data
if RANK:
    run.read_data = lambda config, **more: data(configure(config, dataset={path!r}), **more)
"""


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["memory", "stream"])
@pytest.mark.parametrize("other", [300, 400], ids=["fewer samples", "other values"])
def test_a_rank_with_other_data_ends_all(tmp_path, images, other, stream):
    """Machines may have other files under one name; ranks would wait for each other for ever."""
    np.save(tmp_path / "other.npy", np.load(images)[::-1][:other])
    code = OTHER_DATA.format(path=str(tmp_path / "other.npy"))
    flags = [*SMALL, "--dataset", images, *stream]
    status, _, err = finish(2, tmp_path / "run", *flags, code=code)
    assert status == 4
    assert "of 2: error: dataset" in err
    assert "give every machine the same file" in err
    assert "Traceback" not in err


def test_rank_0_alone_needs_the_files_of_options(tmp_path, images, undisturbed):
    """The folder of a run, and a configuration, may be on the disk of its machine only."""
    output = tmp_path / "run"
    code = AT_STEP.format(rank=1, step=20, action="raise RuntimeError('planted')")
    assert finish(2, output, *SMALL, "--dataset", images, code=code)[0] != 0
    elsewhere = f"if RANK: sys.argv[sys.argv.index('--output') + 1] = {str(tmp_path / 'none')!r}"
    status, _, err = finish(2, output, "--resume", code=elsewhere)
    assert status == 0, err
    assert_same_arrays(arrays(output), arrays(undisturbed[0]))
    assert not (tmp_path / "none").exists()


def test_other_kernels_on_one_rank_are_an_error(tmp_path, images):
    code = "from ddnmf_np.backends import ops\nif RANK: ops.Ops.name = 'other'"
    flags = [*SMALL, "--dataset", images, "--fast", "off"]
    status, _, err = finish(2, tmp_path / "run", *flags, code=code)
    assert status == BackendError.exit_code
    assert "is other on rank 1 and numpy on rank 0" in err


def test_failure_ends_all_also_where_nobody_reads(tmp_path):
    """Standard output may be closed; the others must not wait for ever."""
    code = "import ddnmf_np.runs.run as run\nif RANK == 0: sys.stdout = None"
    status, _, _ = finish(2, tmp_path / "run", "--dataset", tmp_path / "none.npy", code=code)
    assert status == 4


def test_other_data_on_one_rank_leave_the_run_that_was_there(tmp_path, images):
    """Files are replaced only after all ranks have what they need."""
    output = tmp_path / "run"
    assert finish(2, output, *SMALL, "--epochs", 1, "--dataset", images)[0] == 0
    before = {path: path.read_bytes() for path in output.rglob("[!.]*.*")}
    np.save(tmp_path / "other.npy", np.load(images)[::-1])
    code = OTHER_DATA.format(path=str(tmp_path / "other.npy"))
    flags = [*SMALL, "--dataset", images, "--overwrite"]
    assert finish(2, output, *flags, code=code)[0] == 4
    assert {path: path.read_bytes() for path in output.rglob("[!.]*.*")} == before


@pytest.mark.parametrize("variable", ["MPIR_CVAR_ODD_EVEN_CLIQUES", "MPIR_CVAR_NOLOCAL"])
def test_ranks_on_several_machines(tmp_path, images, undisturbed, monkeypatch, variable):
    """MPICH can play two machines with every second rank each, or one for each rank."""
    monkeypatch.setenv(variable, "1")
    status, out, err = finish(4, tmp_path / "run", *SMALL, "--dataset", images)
    assert status == 0, err
    if "MPICH" not in out:
        pytest.skip("another MPI")
    found = difference(arrays(tmp_path / "run"), arrays(undisturbed[0]))
    assert 0 < found <= WHOLE["float32"]


def test_speed_is_measured():
    try:
        load("mnist")
    except DataError:
        pytest.skip("the real MNIST is not here")
    program = (
        "import sys; from ddnmf_np.bench import ranks; ranks.BATCHES = {32: 4}; "
        "sys.exit(ranks.main())"
    )
    arguments = [mpiexec(), "-n", "2", sys.executable, "-m", "mpi4py", "-c", program]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ranks"] == 2
    median, low, high = found["milliseconds of a step (median, quartiles)"]["32"]
    assert 0 < low <= median <= high
