"""What else happens to a run: full disk, lost data, no memory, another run, jumping clock."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fault_cases import Run, assert_same_result, finish, go_on, leftovers, result

from ddnmf_np.errors import OutputError, UsageError
from ddnmf_np.runs.checkpoint import load_checkpoint
from ddnmf_np.system.files import LOCK, locked

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits and signals")

NO_ROOM = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""

NO_MEMORY = """
import numpy, ddnmf_np.runs.run as run, resource
fingerprint = run.fingerprint
def tight(x):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 20), now + (1 << 20)))
    return fingerprint(x)
run.fingerprint = tight
"""

CLOCK = """
import random, time
rng, real = random.Random(0), time.time
jump = lambda *arguments: real() + rng.uniform(-1e6, 1e6)
time.time = time.perf_counter = time.monotonic = jump
"""

CHANGE = """
import ddnmf_np.runs.run as run, os
save, count = run.save_checkpoint, []
def change(*arguments):
    save(*arguments)
    count.append(1)
    if len(count) == 4:
        {0}
run.save_checkpoint = change
"""


def test_clock_that_jumps_changes_nothing(tmp_path, images, undisturbed):
    code, err = finish(tmp_path / "run", "--dataset", images, code=CLOCK)
    assert code == 0, err
    assert_same_result(result(tmp_path / "run"), undisturbed)


@posix
@pytest.mark.parametrize("most", [20, 2_000, 20_000])
def test_full_disk(tmp_path, images, undisturbed, most):
    """A file that cannot grow says what a disk without room says, with another number."""
    output = tmp_path / "run"
    code, err = finish(output, "--dataset", images, code=NO_ROOM.format(most))
    assert code == 4
    assert "cannot be written" in err
    assert "Traceback" not in err
    assert not leftovers(output)
    go_on(output, images)
    assert_same_result(result(output), undisturbed)


@posix
def test_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path, images, undisturbed):
    output = tmp_path / "run"
    assert finish(output, "--dataset", images, "--epochs", "3")[0] == 0
    before = (output / "checkpoint.npz").read_bytes()
    code, err = finish(output, "--resume", "--dataset", images, code=NO_ROOM.format(20_000))
    assert code == 4
    assert "cannot be written" in err
    assert (output / "checkpoint.npz").read_bytes() == before
    go_on(output, images)
    assert_same_result(result(output), undisturbed)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_again_and_again(tmp_path, images, undisturbed, number):
    output = tmp_path / "run"
    for wait in (0.2, 0.1, 0.4):
        flags = ["--resume"] if (output / "checkpoint.npz").exists() else ["--overwrite"]
        process = Run(
            output,
            *flags,
            "--dataset",
            images,
            code="import signal; signal.signal(signal.SIGINT, signal.default_int_handler)",
        )
        time.sleep(wait)
        process.send_signal(number)
        process.end()
        if (output / "checkpoint.npz").exists():
            load_checkpoint(output / "checkpoint.npz")
    go_on(output, images)
    assert_same_result(result(output), undisturbed)


@pytest.mark.extra
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("os.remove(sys.argv[-3])", "no such file"),
        ("os.truncate(sys.argv[-3], 5000)", "images.npy"),
        ("file = open(sys.argv[-3], 'r+b'); file.seek(9000); file.write(b'abcd')", "images.npy"),
    ],
    ids=["vanishes", "is truncated", "is written to"],
)
def test_data_file_that_changes_during_training(tmp_path, images, undisturbed, change, text):
    """This run has its data; a resumed one says what is wrong, and goes on once it is undone."""
    data, output = tmp_path / "images.npy", tmp_path / "run"
    data.write_bytes(images.read_bytes())
    code, err = finish(output, "--epochs", "6", "--dataset", data, code=CHANGE.format(change))
    assert code == 0, err
    code, err = finish(output, "--resume", "--dataset", data)
    assert code == 4
    assert str(data) in err or "other data" in err
    assert "Traceback" not in err
    data.write_bytes(images.read_bytes())
    go_on(output, data)
    assert_same_result(result(output), undisturbed)


@posix
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux's view of memory")
def test_no_memory(tmp_path, images):
    output = tmp_path / "run"
    code, err = finish(output, "--dataset", images, "--widths", "2000", "900", code=NO_MEMORY)
    assert code == 2
    assert "not enough memory" in err
    assert "Traceback" not in err


def test_folder_below_a_file(tmp_path, images):
    (tmp_path / "file").write_text("x")
    code, err = finish(tmp_path / "file" / "run", "--dataset", images)
    assert code == 4
    assert "output" in err
    assert "Traceback" not in err


def test_second_run_into_the_folder_is_refused_and_the_first_not_disturbed(
    tmp_path, images, undisturbed
):
    output = tmp_path / "run"
    first = Run(output, "--dataset", images)
    while not (output / "checkpoint.npz").exists():
        assert first.poll() is None
        time.sleep(0.01)
    for flags in (["--resume"], ["--overwrite"]):
        code, err = finish(output, *flags, "--dataset", images, code="")
        if first.poll() is None:  # else it has waited its turn
            assert code == 2
            assert f"process {first.pid} on " in err
    first.end()
    assert first.returncode == 0
    assert_same_result(result(output), undisturbed)
    assert not leftovers(output)


class TestLock:
    def test_one_at_a_time(self, tmp_path):
        with locked(tmp_path):
            with pytest.raises(UsageError, match=f"process {os.getpid()} on "), locked(tmp_path):
                pass
            assert (tmp_path / LOCK).exists()
        assert not (tmp_path / LOCK).exists()
        with locked(tmp_path):
            pass

    @posix
    def test_of_a_killed_process_is_free(self, tmp_path):
        (tmp_path / LOCK).write_text("process 1 on elsewhere")
        with locked(tmp_path):
            assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")

    @posix
    def test_ends_with_its_process(self, tmp_path):
        code = (
            "import sys, time; from pathlib import Path; from ddnmf_np.system.files import locked\n"
            "with locked(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        with pytest.raises(UsageError, match=f"process {process.pid} on "), locked(tmp_path):
            pass
        process.kill()
        process.communicate()
        assert (tmp_path / LOCK).exists()
        with locked(tmp_path):
            assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
        assert not leftovers(tmp_path)

    def test_error_inside_frees_it(self, tmp_path):
        with pytest.raises(ZeroDivisionError), locked(tmp_path):
            raise ZeroDivisionError
        with locked(tmp_path):
            pass

    @posix
    @pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
    def test_file_system_without_locks_is_written_all_the_same(self, tmp_path, monkeypatch, number):
        def refuse(handle, operation):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", refuse)
        with locked(tmp_path), locked(tmp_path):
            (tmp_path / "result").touch()
        assert os.listdir(tmp_path) == ["result"]

    def test_folder_that_cannot_be_written(self, tmp_path):
        (tmp_path / LOCK).mkdir()
        with pytest.raises(OutputError, match=": cannot be written: ") as caught, locked(tmp_path):
            pass
        assert str(tmp_path) in str(caught.value)
        assert "choose a folder that can" in str(caught.value)


@pytest.mark.extra
def test_two_threads_of_blas_give_the_same_bits_twice(tmp_path, images):
    runs = []
    for name in ("one", "two"):
        flags = ["--dataset", images, "--threads", "2", "--epochs", "4"]
        assert finish(tmp_path / name, *flags)[0] == 0
        runs.append(result(tmp_path / name))
    assert_same_result(*runs)
    assert np.isfinite(runs[0][1][-1]["loss_in"])
