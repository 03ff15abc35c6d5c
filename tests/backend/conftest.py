"""Fixtures of the backend's tests; makes this folder importable (``op_cases``, ``emulated``)."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import emulated as emulation
import pytest
from availability import unavailable

from ddnmf_np.backends.ops_cupy import CupyOps
from ddnmf_np.backends.select import get_ops, load_cupy, why_not_cupy


@pytest.fixture(scope="session")
def cupy():
    """CuPy as it can be imported, with a device or without."""
    try:
        import cupy
    except Exception as error:
        unavailable("DDNMF_REQUIRE_CUPY", f"CuPy cannot be imported: {error}")
    return cupy


@dataclass
class Crossings:
    """Copies from the device to the host."""

    to_host: int = 0


@dataclass
class Device:
    """CuPy's operations on a device, real or emulated."""

    ops: CupyOps

    def plain(self):
        """Return operations whose products are CuPy's own, so that nothing is recorded."""
        return CupyOps(self.ops.xp)

    @contextmanager
    def crossings(self):
        """Count CuPy's copies to the host: every one of them goes through ``get``."""
        ndarray, counted = load_cupy().ndarray, Crossings()
        get = ndarray.get

        def counting_get(self, *args, **kwargs):
            counted.to_host += 1
            return get(self, *args, **kwargs)

        ndarray.get = counting_get
        try:
            yield counted
        finally:
            ndarray.get = get


why_no_device = cache(why_not_cupy)


@pytest.fixture
def device():
    """A CUDA device, or the emulated one; its tests are marked ``gpu``."""
    if why_no_device() is not None:
        unavailable("DDNMF_REQUIRE_GPU", why_no_device())
    if "FAKECUDA_EXACT" in os.environ:  # each array a block of its own, for AddressSanitizer
        load_cupy().cuda.set_allocator(None)
    return Device(get_ops("cupy"))


@pytest.fixture
def emulated(device):
    """The emulated device, which counts and complains."""
    if emulation.ROOT is None:
        pytest.skip("only the emulated device counts what it is asked for")
    return emulation.Emulated()


@pytest.fixture(autouse=True)
def _no_complaints():
    """Fail a test in which the emulated device has seen a race, or a wait in a recording, say.

    A test that means it takes the complaints itself.
    """
    if emulation.ROOT is None:
        yield
        return
    found = emulation.Emulated()
    found.complaints()
    yield
    assert found.complaints() == []
