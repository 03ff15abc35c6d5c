"""What a process says of its own memory (``ddnmf_np/system/memory.py``)."""

import subprocess
import sys

import pytest

from ddnmf_np.system import memory

ASK = "from ddnmf_np.system.memory import peak_memory_mib; print(peak_memory_mib())"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the mark has the parent's in it")
def test_a_child_does_not_have_the_peak_of_its_parent():
    held = bytearray(300 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])  # each page is touched
    assert memory.peak_memory_mib() > 300
    child = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    assert 5 < float(child.stdout) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="no other system lets the mark be reset")
def test_the_peak_can_be_forgotten():
    held = bytearray(200 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    before = memory.peak_memory_mib()
    del held
    memory.forget_peak()
    assert memory.peak_memory_mib() < before - 150
    assert memory.memory_mib() == pytest.approx(memory.peak_memory_mib(), rel=0.1)


def test_where_nothing_is_kept_there_is_no_figure(monkeypatch):
    def refuse(path, *arguments):
        raise FileNotFoundError(path)

    monkeypatch.setattr(memory.Path, "read_text", refuse)
    assert memory.memory_mib() is None
    monkeypatch.setitem(sys.modules, "resource", None)
    assert memory.peak_memory_mib() is None
