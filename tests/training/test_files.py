"""A file appears whole or not at all, whatever fails."""

import errno
import io
import os
import stat
import sys

import pytest
from training_cases import make_trainer, saved

from ddnmf_np.errors import OutputError
from ddnmf_np.runs.checkpoint import load_checkpoint, save_checkpoint
from ddnmf_np.system.files import atomic_write, atomic_write_text


class FullDisk(io.FileIO):
    """A file on a device like /dev/full: it opens, and takes nothing."""

    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail(number):
    def function(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    return function


FAILURES = {
    "full disk": ("fdopen", FullDisk, "No space left on device"),
    "no room at the end": ("fsync", fail(errno.ENOSPC), "No space left on device"),
    "broken disk": ("fsync", fail(errno.EIO), "Input/output error"),
    "read-only folder": ("replace", fail(errno.EROFS), "Read-only file system"),
    "other owner": ("open", fail(errno.EACCES), "Permission denied"),
}


@pytest.fixture(params=FAILURES)
def break_disk(request, monkeypatch):
    """Return a function that makes one step of writing fail, and returns the text that says so."""

    def break_it():
        name, replacement, text = FAILURES[request.param]
        monkeypatch.setattr(os, name, replacement)
        return text

    return break_it


def test_text_is_written_and_replaced(tmp_path):
    path = tmp_path / "notes.txt"
    atomic_write_text(path, "été\n")
    assert path.read_bytes() == "été\n".encode()
    atomic_write_text(str(path), "")
    assert path.read_bytes() == b""
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_old_content_stays_until_the_end(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_failure_leaves_the_old_file(tmp_path, break_disk):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    reason = break_disk()
    with pytest.raises(OutputError) as caught:
        atomic_write_text(path, "new")
    assert str(caught.value).startswith(f"{path}: cannot be written: {reason}; make room")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_failure_leaves_no_file_where_there_was_none(tmp_path, break_disk):
    break_disk()
    with pytest.raises(OutputError):
        atomic_write_text(tmp_path / "notes.txt", "new")
    assert os.listdir(tmp_path) == []


def test_failure_leaves_the_old_checkpoint(tmp_path, break_disk):
    trainer = make_trainer()
    path = saved(tmp_path / "checkpoint.npz", trainer)
    before = path.read_bytes()
    trainer.train(1)
    reason = break_disk()
    with pytest.raises(OutputError, match=rf"checkpoint\.npz: cannot be written: {reason}"):
        save_checkpoint(path, trainer.config, trainer, "data")
    assert path.read_bytes() == before
    assert load_checkpoint(path).meta["position"]["epoch"] == 0
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, MemoryError])
def test_interrupt_leaves_the_old_file(tmp_path, stop):
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def write():
        with atomic_write(path) as stream:
            stream.write(b"new")
            raise stop

    with pytest.raises(stop):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        atomic_write_text(tmp_path / "missing" / "notes.txt", "new")


def test_a_folder_is_in_the_way(tmp_path):
    (tmp_path / "notes.txt").mkdir()
    with pytest.raises(OutputError, match=r"notes\.txt: cannot be written: Is a directory"):
        atomic_write_text(tmp_path / "notes.txt", "new")
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_mode_is_that_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        atomic_write_text(tmp_path / "notes.txt", "new")
        assert os.umask(mask) == mask  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "notes.txt").stat().st_mode) == 0o666 & ~mask
