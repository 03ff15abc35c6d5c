"""A disk that is really full, or read-only: a small one in memory that only this test sees."""

import os
import shlex
import subprocess

import pytest
from fault_cases import assert_same_result, command, finish, go_on, leftovers, result

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
    """Run a shell script with the disk mounted; return a copy of what is on the disk then."""
    kept = disk.parent / "kept"
    script = [
        "set -eu",
        f"cd {shlex.quote(str(disk.parent))}",
        f"mount -t tmpfs -o size={size} none {shlex.quote(str(disk))}",
        *lines,
        f"cp -a {shlex.quote(str(disk))} {shlex.quote(str(kept))}",
    ]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return kept


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


@pytest.mark.extra
def test_disk_without_room(disk, images, undisturbed):
    """Too small for a second checkpoint beside the first; for the first, see `test_full_disk`."""
    size = int(1.5 * sum(block.nbytes for block in undisturbed[0].values()))
    kept = run_on(
        disk, size, *fails(train(disk / "run", "--dataset", images), "No space left on device")
    )
    assert not leftovers(kept)
    assert (kept / "run" / "checkpoint.npz").exists()
    go_on(kept / "run", images)
    assert_same_result(result(kept / "run"), undisturbed)


@pytest.mark.extra
def test_disk_that_becomes_read_only(disk, images, undisturbed):
    begun, output = disk.parent / "begun", disk / "run"
    assert finish(begun, "--dataset", images, "--epochs", 3)[0] == 0
    kept = run_on(
        disk,
        "64m",
        f"cp -a {shlex.quote(str(begun))} {shlex.quote(str(output))}",
        f"mount -o remount,ro {shlex.quote(str(disk))}",
        *fails(train(output, "--resume", "--dataset", images), "Read-only file system"),
    )
    go_on(kept / "run", images)
    assert_same_result(result(kept / "run"), undisturbed)
