"""A disk that is really full, or read-only: a small one in memory that only this test sees."""

import os
import shlex
import subprocess

import pytest
from fault_cases import assert_same_result, command, leftovers, result

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""Where anybody may mount something, if the system lets them."""


def may_mount(folder):
    mount = [*NAMESPACE, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


@pytest.fixture
def disk(tmp_path):
    """Return an empty folder to mount on, or skip."""
    if not may_mount(tmp_path):
        pytest.skip("no namespace to mount a small disk in")
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def run_on(disk, size, *lines):
    """Run a shell script with the disk mounted; return it done, with the disk's content copied."""
    script = [
        "set -eu",
        f"mount -t tmpfs -o size={size} none {shlex.quote(str(disk))}",
        *lines,
        f"cp -a {shlex.quote(str(disk))} {shlex.quote(str(disk.parent / 'kept'))}",
    ]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done


def train(output, *flags):
    return f"{shlex.join(command(output, *flags))} >/dev/null"


def fails(command_line, saying):
    """Return lines that hold a command to exit code 4, one error and nothing half-written."""
    return (
        f"code=0; {command_line} 2>err || code=$?; cat err >&2",
        '[ "$code" = 4 ]',
        f"grep -q {shlex.quote(saying)} err",
        "! grep -q Traceback err",
        "rm err",
    )


@pytest.mark.parametrize("checkpoints", [0.5, 1.5])
def test_disk_without_room(disk, images, undisturbed, checkpoints):
    """Too small for the first checkpoint, and for a second one beside it."""
    size = int(checkpoints * sum(block.nbytes for block in undisturbed[0].values()))
    output = disk / "run"
    go_on = [train(output, flag, "--dataset", images) for flag in ("--resume", "--overwrite")]
    run_on(
        disk,
        size,
        f"cd {shlex.quote(str(disk.parent))}",
        *fails(train(output, "--dataset", images), "No space left on device"),
        f"cp -a {shlex.quote(str(output))} full 2>/dev/null || mkdir full",
        f"mount -o remount,size=64m {shlex.quote(str(disk))}",
        f"if [ -e {shlex.quote(str(output / 'checkpoint.npz'))} ]; then {go_on[0]}",
        f"else {go_on[1]}; fi",
    )
    assert not leftovers(disk.parent / "full")
    assert_same_result(result(disk.parent / "kept" / "run"), undisturbed)


def test_disk_that_becomes_read_only(disk, images, undisturbed):
    output = disk / "run"
    mount = f"mount -o remount,{{}} {shlex.quote(str(disk))}"
    run_on(
        disk,
        "64m",
        f"cd {shlex.quote(str(disk.parent))}",
        train(output, "--dataset", images, "--epochs", 3),
        mount.format("ro"),
        *fails(train(output, "--resume", "--dataset", images), "Read-only file system"),
        *fails(train(disk / "other", "--dataset", images), "Read-only file system"),
        mount.format("rw"),
        train(output, "--resume", "--dataset", images),
    )
    assert_same_result(result(disk.parent / "kept" / "run"), undisturbed)
