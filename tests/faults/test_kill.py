"""SIGKILL at any moment: nothing is lost, and the run ends at the bits it would have ended at.

DDNMF_KILLS says how many (20 by default; 200 by the page "What you can rely on").
"""

import os
import random
import signal
import sys
import time

import pytest
from fault_cases import assert_same_result, finish, go_on, leftovers, result, start

from ddnmf_np.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

KILLS = int(os.environ.get("DDNMF_KILLS", "20"))
RUNS = 4
"""So many runs share the kills: each is killed again and again until it has had its share."""

DIE = """
import os, signal
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
"""

PLANTED = {
    "with the name not yet given": DIE + "os.replace = die",
    "with the data not yet on the disk": DIE + "os.fsync = die",
    "halfway through a file": DIE + """
import io, numpy as np
savez = np.savez
def half(stream, **arrays):
    whole = io.BytesIO()
    savez(whole, **arrays)
    stream.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    stream.flush()
    die()
np.savez = half
""",
    "after the third checkpoint": DIE + """
replace, count = os.replace, []
def third(a, b):
    replace(a, b)
    count.append(str(b).endswith("checkpoint.npz"))
    if sum(count) == 3:
        die()
os.replace = third
""",
}  # fmt: skip


@pytest.mark.parametrize("number", range(RUNS))
def test_killed_at_random_moments(tmp_path, images, undisturbed, number):
    rng = random.Random(number)
    output = tmp_path / "run"
    before = time.perf_counter()
    assert finish(tmp_path / "whole", "--dataset", images)[0] == 0
    whole = time.perf_counter() - before  # on this machine, now
    for kill in range(KILLS // RUNS):
        flags = ["--resume"] if (output / "checkpoint.npz").exists() else ["--overwrite"]
        process = start(output, *flags, "--dataset", images)
        time.sleep(rng.uniform(0.2, 1.0) * whole)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0)
        if (output / "checkpoint.npz").exists():
            load_checkpoint(output / "checkpoint.npz")  # never corrupt
        if process.returncode == 0 and kill % 2:  # it was done: begin anew
            assert_same_result(result(output), undisturbed)
            assert finish(output, "--overwrite", "--epochs", "0", "--dataset", images)[0] == 0
    go_on(output, images)
    assert_same_result(result(output), undisturbed)
    assert not leftovers(output)


@pytest.mark.parametrize("code", PLANTED.values(), ids=PLANTED)
def test_killed_while_writing(tmp_path, images, undisturbed, code):
    output = tmp_path / "run"
    assert finish(output, "--dataset", images, code=code)[0] == -signal.SIGKILL
    assert finish(output, "--overwrite", "--epochs", "2", "--dataset", images)[0] == 0
    saved = load_checkpoint(output / "checkpoint.npz")
    assert finish(output, "--resume", "--dataset", images, code=code)[0] == -signal.SIGKILL
    found = load_checkpoint(output / "checkpoint.npz")  # the last good one, or a later one
    assert found.meta["position"]["epoch"] >= saved.meta["position"]["epoch"]
    go_on(output, images)
    assert_same_result(result(output), undisturbed)
    assert not leftovers(output)
