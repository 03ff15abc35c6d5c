"""Makes this folder importable (``tolerances``, ``literal_cases``); the shared fixture."""

import gc
import os

# Before NumPy is loaded. Tests run side by side (pytest -n): more threads only get in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from unpainted import empty_pictures

from ddnmf_np.backends.ops import Ops


@pytest.fixture(params=["plain", "numba"])
def ops(request):
    """Operations on the CPU: the readable ones, and their Numba twins where Numba is installed."""
    if request.param == "plain":
        return Ops()
    pytest.importorskip("numba", reason="Numba is not installed (the extra 'fast')")
    from ddnmf_np.backends.ops_numba import NumbaOps

    return NumbaOps()


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Do not wait for the disk: nobody keeps these files, and no test takes the power away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def sketched():
    """Draw every picture, but save an empty one: painting takes most of the time of a small run."""
    with empty_pictures():
        yield


@pytest.fixture
def unscored(monkeypatch, sketched):
    """Leave out what comes after training, which takes a second or two; of 45 samples."""
    from ddnmf_np.runs import scoring

    scores = {"split": "train", "n_samples": 45, "scores": {}}
    scores["code"] = {"std": 0.1, "dead_units": 0, "unit_std": [0.1]}
    scores["unexplained"] = {"ddnmf": 0.5, "mean": 1.0, "findings": []}
    monkeypatch.setattr(scoring, "evaluate", lambda *args: None)
    monkeypatch.setattr(scoring, "summarise", lambda *args: scores)
    monkeypatch.setattr(scoring, "draw_figures", lambda *args: [])


@pytest.fixture(scope="module")
def sketched_module():
    """The same for all tests of a file and the runs that they share."""
    with empty_pictures():
        yield


def pytest_collection_finish(session):
    """Let collections of garbage pass over what was imported, which took a tenth of the time."""
    gc.freeze()
