"""SIGKILL at any moment: nothing is lost, and the run ends at the bits it would have ended at.

DDNMF_KILLS says how many (10 by default; 200 by the page "What you can rely on").
"""

import os
import random
import signal
import sys
import time
from collections import Counter

import pytest
from fault_cases import (
    Run,
    assert_same_result,
    finish,
    go_on,
    how_to_go_on,
    leftovers,
    result,
)

from ddnmf_np.runs.checkpoint import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

KILLS = int(os.environ.get("DDNMF_KILLS", "10"))
SHARE = 5
"""So many kills a run has; every fifth process is killed before it trains, and that of every other
run while it scores. The others are killed in training."""

EPOCHS = 60
"""Training takes seconds, and saves a checkpoint each epoch: a kill finds it anywhere."""

CHECKPOINTS = ["--checkpoint-every", "0"], ["--checkpoint-every", "1e-9"]
"""One after each epoch, and one after each step."""

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


@pytest.fixture(scope="module")
def long_run(tmp_path_factory, images):
    """Flags of a run that trains for most of its time, and its result without a kill."""
    output, flags = tmp_path_factory.mktemp("long") / "run", ["--epochs", EPOCHS]
    code, err = finish(output, "--dataset", images, *flags)
    assert code == 0, err
    return flags, result(output)


@pytest.fixture(scope="module")
def tally(request):
    """Count where kills fall, and say so at the end."""
    fell = Counter()
    yield fell
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{describe(fell)}")


def describe(fell):
    return (
        f"{fell.total()} kills: {fell['before']} before training, {fell['training']} in it, "
        f"{fell['after']} after it"
    )


def epoch_of(output):
    """Return the epoch of the checkpoint, which is never corrupt; None where there is none."""
    path = output / "checkpoint.npz"
    return load_checkpoint(path).meta["position"]["epoch"] if path.exists() else None


def wait_for(process, output, epoch):
    """Wait until a run has done so many epochs, or has ended."""
    metrics = output / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= epoch:
            return
        time.sleep(0.001)


def kill_at(moment, output, flags, rng):
    """Start or resume a run and kill it; return where that fell, by what has become of the run."""
    before = epoch_of(output)
    process = Run(output, how_to_go_on(output), *flags, err=False)
    try:
        if moment == "before":
            time.sleep(rng.uniform(0.0, 0.2))  # about what reading options and data takes
        elif moment == "training":
            # Two epochs on at least: the line of the next one may be there, without a checkpoint.
            wait_for(process, output, (before or 0) + rng.randint(2, EPOCHS // SHARE))
            time.sleep(rng.uniform(0.0, 0.03))  # anywhere in an epoch or a checkpoint
        else:
            wait_for(process, output, EPOCHS)
            time.sleep(rng.uniform(0.0, 0.3))
    finally:
        process.send_signal(signal.SIGKILL)
        process.end()
    assert process.returncode in (-signal.SIGKILL, 0)
    after = epoch_of(output)
    if before is not None:
        assert after is not None
        assert after >= before
    if after == EPOCHS:
        return "after"
    assert process.returncode, "it said that it was done"
    # That it has begun to train is certain only where it has done an epoch.
    return "training" if (after or 0) > (before or 0) else "before"


@pytest.mark.extra
@pytest.mark.parametrize("number", range(max(1, KILLS // SHARE)))
def test_killed_at_random_moments(tmp_path, images, long_run, tally, number):
    rng, output, fell = random.Random(number), tmp_path / "run", Counter()
    flags, expected = long_run
    flags = [*flags, *CHECKPOINTS[(number + number // 2) % 2]]
    last = ["after"] if number % 2 else []
    moments = ["before", *["training"] * (SHARE - 1 - len(last))]
    rng.shuffle(moments)
    for moment in [*moments, *last]:
        fell[kill_at(moment, output, ["--dataset", images, *flags], rng)] += 1
    print(describe(fell))
    tally.update(fell)
    go_on(output, images, *flags)
    assert_same_result(result(output), expected)
    assert not leftovers(output)
    assert 2 * fell["training"] >= fell.total(), describe(fell)


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
