"""Fixtures of the backend's tests; makes this folder importable (``strict``, ``op_cases``)."""

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import strict as stand_in
from availability import unavailable

from ddnmf_np.engine.backend import load_cupy, why_not_cupy
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


why_no_device = cache(why_not_cupy)


@pytest.fixture(params=["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The stand-in everywhere; with ``-m gpu`` a CUDA device instead."""
    if request.param == "strict":
        return Device(CupyOps(stand_in.strict), stand_in.crossings)
    if why_no_device() is not None:
        unavailable("DDNMF_REQUIRE_GPU", why_no_device())
    return Device(CupyOps(load_cupy()), crossings_of(load_cupy()))


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
