"""Who does the arithmetic: the one file that knows a backend's name, and that imports CuPy."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ddnmf_np.engine.ops import Ops
from ddnmf_np.errors import BackendError, UsageError

BACKENDS = ("numpy", "cupy", "auto")
"""Names that `get_ops` takes."""

FAST = ("auto", "on", "off")
"""Whether the elementwise operations on the CPU are those of Numba."""

INSTALL_CUPY = "pip install 'ddnmf-np[cuda12]' (driver for CUDA 12) or 'ddnmf-np[cuda13]'"


def get_ops(backend: str = "numpy", *, fast: str = "auto") -> Ops:
    """Return the operations of a backend, or say why they cannot run here.

    Parameters
    ----------
    backend : {"numpy", "cupy", "auto"}
        ``"auto"`` is CuPy where it works and NumPy elsewhere; `Ops.name` says which.
    fast : {"auto", "on", "off"}
        Numba's elementwise loops on the CPU: where Numba is installed, always, or never.

    Returns
    -------
    Ops
        What the engine computes with.

    Raises
    ------
    UsageError
        If a name is unknown.
    BackendError
        If the backend cannot run; the text has the original cause and the remedy.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if fast not in FAST:
        raise UsageError(f"fast is {fast!r}; choose one of {', '.join(FAST)}")
    if backend == "cupy" or (backend == "auto" and why_not_cupy() is None):
        from ddnmf_np.engine.ops_cupy import CupyOps

        return CupyOps(load_cupy())
    if fast == "on" or (fast == "auto" and find_spec("numba") is not None):
        try:
            from ddnmf_np.engine.ops_numba import NumbaOps
        except Exception as error:
            raise BackendError(
                f"fast is {fast!r}, but Numba cannot be used: {_describe(error)}. "
                "Remedy: pip install 'ddnmf-np[fast]', or fast='off'."
            ) from error
        return NumbaOps()
    return Ops()


def load_cupy() -> ModuleType:
    """Return CuPy after it has proved that it can compute here.

    Raises
    ------
    BackendError
        With the original cause and the command that mends it.
    """
    try:
        cupy: Any = import_module("cupy")
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        remedy = INSTALL_CUPY if missing else f"pip uninstall the broken CuPy, then {INSTALL_CUPY}"
        raise BackendError(
            f"backend 'cupy': CuPy cannot be imported: {_describe(error)}. Remedy: {remedy}."
        ) from error
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise BackendError(
            f"backend 'cupy': CuPy {cupy.__version__} finds no CUDA device: {_describe(error)}. "
            "Remedy: check that `nvidia-smi` lists a device and that its driver is new enough "
            f"for the installed CuPy (else {INSTALL_CUPY}); or --backend numpy."
        ) from error
    if devices < 1:
        raise BackendError(
            "backend 'cupy': there is no CUDA device (device count 0). Remedy: check "
            "CUDA_VISIBLE_DEVICES and `nvidia-smi`; or --backend numpy."
        )
    try:
        # Compiles an elementwise kernel, calls cuBLAS and copies back: what training needs.
        ones = cupy.ones((2, 2), "float32")
        works = float((ones @ (ones + ones)).sum()) == 16.0
    except Exception as error:
        raise BackendError(
            f"backend 'cupy': CuPy {cupy.__version__} cannot compute: {_describe(error)}. "
            f"Remedy: CUDA libraries come with the extras: {INSTALL_CUPY}."
        ) from error
    if not works:
        raise BackendError(
            "backend 'cupy': the device returned a wrong matrix product. Remedy: run "
            "`nvidia-smi -q` and look for memory errors; or --backend numpy."
        )
    module: ModuleType = cupy
    return module


def why_not_cupy() -> str | None:
    """Return why CuPy cannot be used here, or None if it can."""
    try:
        load_cupy()
    except BackendError as error:
        return str(error)
    return None


def backend_of(array: Any) -> str:
    """Return the backend an array lives on: ``"cupy"``, or ``"numpy"`` for anything else."""
    return "cupy" if type(array).__module__.partition(".")[0] == "cupy" else "numpy"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". \n")


def ops_by_name(name: str) -> Ops:
    """Return the operations whose `Ops.name` that is: what a pickled model was on.

    Raises
    ------
    BackendError
        If they cannot run here.
    """
    if name == "cupy":
        return get_ops("cupy")
    return get_ops("numpy", fast="auto" if name == "numpy+numba" else "off")
