"""A module like CuPy whose parts can be made to fail, for what is said then."""

from types import SimpleNamespace

import numpy as np


class CUDARuntimeError(RuntimeError):
    """Named as CuPy's own."""


def raising(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def fake_cupy(*, count=1, driver=12090, runtime=12090, ones=None):
    """Return a module like CuPy whose parts can be made to fail."""
    reads = {"getDeviceCount": count, "driverGetVersion": driver, "runtimeGetVersion": runtime}
    functions = {
        name: raising(value) if isinstance(value, Exception) else lambda value=value: value
        for name, value in reads.items()
    }
    properties = {"name": b"a device", "major": 9, "minor": 0, "totalGlobalMem": 2**30}
    return SimpleNamespace(
        __version__="14.0.0",
        ElementwiseKernel=object,
        ones=ones or np.ones,
        cuda=SimpleNamespace(
            runtime=SimpleNamespace(**functions, getDeviceProperties=lambda number: properties)
        ),
    )
