"""Fixtures of the backend's tests; makes this folder importable (``strict``, ``op_cases``)."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import strict as stand_in
from availability import unavailable
from cuda_on_host import COMPILER
from fake_cublas import FakeCublas, importer

from ddnmf_np.engine import cublas
from ddnmf_np.engine.backend import get_ops, load_cupy, why_not_cupy
from ddnmf_np.engine.ops_cupy import CupyOps


@pytest.fixture(scope="session")
def cupy():
    """CuPy as it can be imported, with a device or without."""
    try:
        import cupy
    except Exception as error:
        unavailable("DDNMF_REQUIRE_CUPY", f"CuPy cannot be imported: {error}")
    return cupy


@dataclass
class Device:
    """CuPy's operations, and how to count what crosses from the device to the host."""

    ops: CupyOps
    crossings: Any

    def plain(self):
        """Return operations whose products are CuPy's own, so that nothing is recorded."""
        return CupyOps(self.ops.xp)


@pytest.fixture(autouse=True)
def fake_cublas(request, monkeypatch):
    """NVIDIA's bindings, faked unless a test has a real device: the real ones would take the
    stand-in's host addresses for a device's.
    """
    if request.node.get_closest_marker("gpu") is not None:
        return None
    blas = FakeCublas()
    monkeypatch.setattr(cublas, "import_module", importer(blas))
    monkeypatch.setattr(cublas, "WORKSPACE", 4096)
    return blas


why_no_device = cache(why_not_cupy)


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The stand-in everywhere; with ``-m gpu`` a CUDA device instead."""
    if request.param == "strict":
        if COMPILER is None:
            pytest.skip("no C++ compiler, which the stand-in's kernels need")
        products = [cublas.Cublas(stand_in.strict) for _ in range(2)]
        return Device(CupyOps(stand_in.strict, products), stand_in.crossings)
    if why_no_device() is not None:
        unavailable("DDNMF_REQUIRE_GPU", why_no_device())
    return Device(get_ops("cupy"), crossings_of(load_cupy()))


def crossings_of(cupy):
    """Return a counter of CuPy's copies to the host: every one of them goes through ``get``."""

    @contextmanager
    def crossings():
        counted, get = stand_in.Crossings(), cupy.ndarray.get

        def counting_get(self, *args, **kwargs):
            counted.to_host += 1
            return get(self, *args, **kwargs)

        cupy.ndarray.get = counting_get
        try:
            yield counted
        finally:
            cupy.ndarray.get = get

    return crossings
