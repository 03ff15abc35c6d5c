"""Makes this folder importable (``tolerances``, ``literal_cases``); the shared fixture."""

import os

# Before NumPy is loaded. Tests run side by side (pytest -n): more threads only get in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from ddnmf_np.backends.ops import Ops


@pytest.fixture(params=["plain", "numba"])
def ops(request):
    """Operations on the CPU: the readable ones, and their Numba twins where Numba is installed."""
    if request.param == "plain":
        return Ops()
    pytest.importorskip("numba", reason="Numba is not installed (the extra 'fast')")
    from ddnmf_np.backends.ops_numba import NumbaOps

    return NumbaOps()
