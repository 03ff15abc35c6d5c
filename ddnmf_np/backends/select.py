"""Choice of the backend; the only file that knows the names, and that imports CuPy.

If a backend cannot run, the functions here raise `BackendError`. Its text has the original cause
and the remedy. `auto` and the ``why_`` functions catch it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from ddnmf_np.backends.ops import Ops
from ddnmf_np.errors import BackendError
from ddnmf_np.system.options import Range, check_options, documented, option


@documented
@dataclass(frozen=True)
class Execution:
    """Options that choose where and how fast we compute, but not what; see `get_ops`."""

    backend: Literal["numpy", "cupy", "auto"] = option(
        "numpy", "numpy, cupy (CUDA), or auto: cupy where it works", resumable=True
    )
    fast: Literal["auto", "on", "off"] = option(
        "auto", "Numba's loops on the CPU: auto (where installed), on, off", resumable=True
    )
    threads: int | None = option(
        None,
        "threads on the CPU, shared out between the two networks; by default one for each "
        "processor, or what OMP_NUM_THREADS says",
        Range(least=1, most=1024),  # with more, OpenMP ends the process for want of memory
        resumable=True,
    )
    matmul_precision: Literal["highest", "high"] = option(
        "highest",
        "matrix products of float32 on a GPU: highest, or high (TF32 where the card has it)",
        resumable=True,
    )

    def __post_init__(self) -> None:
        check_options(self)

    def get_ops(self) -> Ops:
        """Return the operations that these options ask for, see the function `get_ops`."""
        return get_ops(self.backend, fast=self.fast, matmul_precision=self.matmul_precision)


def get_ops(
    backend: str = "numpy", *, fast: str = "auto", matmul_precision: str = "highest"
) -> Ops:
    """Return the operations of a backend.

    ``backend`` is "numpy", "cupy" or "auto": CuPy if it works, else NumPy; then a log record of
    level INFO says why not CuPy. `Ops.name` tells you which. ``fast`` asks for Numba's loops for
    the elementwise operations on a CPU: where Numba works ("auto"), always ("on"), or never
    ("off"). If Numba is installed and cannot be loaded, "auto" goes on without it and logs a
    warning.

    ``matmul_precision`` is "highest" or "high". The latter rounds the factors of float32 products
    to TF32, with 10 bits of mantissa, on devices of compute capability 8.0 and later. Elsewhere,
    and in float64, it has no effect. Raises `OptionError` if a name is unknown, and `BackendError`
    if the backend cannot run.
    """
    Execution(backend, fast, matmul_precision=matmul_precision)  # type: ignore[arg-type]
    if backend != "numpy":
        try:
            cupy = load_cupy()
        except BackendError as error:
            if backend == "cupy":
                raise
            logging.getLogger(__name__).info("backend 'auto' is NumPy here: %s", error)
        else:
            return _cupy_ops(cupy, matmul_precision)
    if fast == "on" or (fast == "auto" and find_spec("numba") is not None):
        try:
            from ddnmf_np.backends.ops_numba import NumbaOps
        except Exception as error:
            why_not = (
                f"Numba cannot be used: {_describe(error)}. "
                "Remedy: pip install --upgrade numba; or choose fast 'off'."
            )
            if fast == "on":
                raise BackendError(f"fast is 'on', but {why_not}") from error
            _warn_once(f"fast 'auto' is plain NumPy here, which is slower: {why_not}")
        else:
            return NumbaOps()
    return Ops()


def ops_by_name(name: str, *, matmul_precision: str = "highest") -> Ops:
    """Return the operations with that `Ops.name`, for a model that was pickled with them."""
    if name == "cupy":
        return get_ops("cupy", matmul_precision=matmul_precision)
    return get_ops("numpy", fast="auto" if name == "numpy+numba" else "off")


def backend_of(array: Any) -> str:
    """Return the backend of an array: ``"cupy"``, or ``"numpy"`` for anything else."""
    return "cupy" if type(array).__module__.partition(".")[0] == "cupy" else "numpy"


# -- CuPy: import, device, arithmetic; what can go wrong at each step, and its remedy ----------


def find_cupy() -> ModuleType:
    """Return CuPy if it sees a device, without using a device, so that you can still choose one."""
    cupy: ModuleType = _import_cupy()
    _count_devices(cupy)
    return cupy


def load_cupy() -> ModuleType:
    """Return CuPy after a trial computation on the current device."""
    cupy = find_cupy()
    _try_arithmetic(cupy)
    return cupy


def load_nccl() -> ModuleType:
    """Return CuPy's module for NCCL, which CuPy does not import by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # our error says more
        nccl: ModuleType = import_module("cupy.cuda.nccl")
    if not nccl.available:
        raise BackendError(
            "several ranks on GPUs need NCCL, which CuPy cannot load; pip install nvidia-nccl-cu12 "
            "(or -cu13, as CuPy's own package), or take --backend numpy"
        )
    return nccl


def why_not_cupy() -> str | None:
    """Return why CuPy cannot be used here, or None if it can."""
    return _problem(load_cupy)


def why_not_numba() -> str | None:
    """Return why Numba cannot be used here, or None if it can."""
    return _problem(lambda: get_ops("numpy", fast="on"))


def _problem(load: Callable[[], object]) -> str | None:
    try:
        load()
    except BackendError as error:
        return str(error)
    return None


def why_no_graphs() -> str | None:
    """Return why CuPy cannot record steps as CUDA graphs, or None if it can."""
    products, why_not = _products(load_cupy(), tf32=False)
    return why_not if products is None else None


def describe_cuda() -> dict[str, Any]:
    """Return a description of CUDA as CuPy sees it, without using the memory of a device.

    Its entries are JSON types: ``cupy``, ``driver`` and ``runtime`` (versions or None), ``devices``
    (each with ``name``, ``compute_capability`` and ``memory_bytes``) and ``problem`` (why CuPy
    cannot be imported or finds no device, or None).
    """
    found: dict[str, Any] = {"cupy": None, "driver": None, "runtime": None, "devices": []}
    try:
        cupy = _import_cupy()
        found["cupy"] = cupy.__version__
        found["driver"], found["runtime"] = _cuda_versions(cupy)
        properties = cupy.cuda.runtime.getDeviceProperties
        found["devices"] += [
            {
                "name": device["name"].decode(),
                "compute_capability": f"{device['major']}.{device['minor']}",
                "memory_bytes": int(device["totalGlobalMem"]),
            }
            for device in map(properties, range(_count_devices(cupy)))
        ]
    except Exception as error:
        known = isinstance(error, BackendError)
        return found | {"problem": str(error) if known else _describe(error)}
    return found | {"problem": None}


def _cupy_ops(cupy: Any, matmul_precision: str) -> Ops:
    from ddnmf_np.backends.ops_cupy import CupyOps

    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    products, why_not = _products(cupy, tf32=matmul_precision == "high" and device["major"] >= 8)
    if why_not is not None:
        _warn_once(f"backend 'cupy': {why_not}")
    ops = CupyOps(cupy, products)
    ops.matmul_precision = matmul_precision
    return ops


def _products(cupy: Any, *, tf32: bool) -> tuple[list[Any] | None, str | None]:
    """Return products that a graph can record, one for each stream, or why there are none."""
    from ddnmf_np.backends.cublas import Cublas
    from ddnmf_np.backends.cupy_graph import STREAMS

    try:
        return [Cublas(cupy, tf32=tf32) for _ in range(STREAMS)], None
    except Exception as error:
        return None, (
            "steps are not recorded as CUDA graphs and take more time, and matmul_precision has no "
            f"effect: {_describe(error)}. Remedy: pip install --upgrade nvmath-python"
        )


@cache
def _warn_once(text: str) -> None:
    logging.getLogger(__name__).warning("%s", text)


def _import_cupy() -> Any:
    try:
        cupy = import_module("cupy")
        if not hasattr(cupy, "ElementwiseKernel"):
            raise ImportError(f"{cupy!r} is not CuPy")  # a folder of that name, say
        return cupy
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            remedy = f"{_install('cuda12')} (with a driver for CUDA 12 or later)"
        elif re.search(r"libcuda\.so|nvcuda", str(error)):
            remedy = "install NVIDIA's driver (`nvidia-smi` then lists the device)"
        elif "is not CuPy" in str(error):
            remedy = f"rename what hides CuPy, then {_install(_extra())}"
        else:
            remedy = _reinstall(_extra())
        raise _unusable("CuPy cannot be imported", error, remedy) from error


def _count_devices(cupy: Any) -> int:
    what = f"CuPy {cupy.__version__} finds no CUDA device"
    try:
        devices = int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:
        raise _unusable(what, error, _driver_remedy(cupy)) from error
    if devices < 1:
        raise _unusable(what, "the device count is 0", _driver_remedy(cupy))
    return devices


def _try_arithmetic(cupy: Any) -> None:
    """Try what training needs: a compiled kernel, a matrix product, a sum, a copy to the host."""
    what = f"CuPy {cupy.__version__} cannot compute"
    try:
        ones = cupy.ones((2, 2), "float32")
        total = float((ones @ (ones + ones)).sum())
    except Exception as error:
        text = _describe(error)
        if re.search("out ?of ?memory", text, re.IGNORECASE):
            remedy = (
                "free the device (`nvidia-smi` lists the processes on it), or choose another "
                "with CUDA_VISIBLE_DEVICES"
            )
        elif re.search("gpu-architecture|no ?binary|no kernel image", text, re.IGNORECASE):
            # CUDA 13 does not support devices before compute capability 7.5, such as V100.
            remedy = _reinstall("cuda12" if _extra() == "cuda13" else "cuda13")
        else:
            remedy = f"{_install(_extra())}, which brings CUDA's libraries and headers"
        raise _unusable(what, error, remedy) from error
    if total != 16.0:
        raise _unusable(
            what,
            f"a sum that is 16 came out as {total!r}",
            "look for memory errors with `nvidia-smi -q -d ECC`, or choose another device with "
            "CUDA_VISIBLE_DEVICES",
        )


def _driver_remedy(cupy: Any) -> str:
    driver, runtime = _cuda_versions(cupy)
    if driver is None:
        return (
            "install NVIDIA's driver (`nvidia-smi` then lists the device); in a container, start "
            "it with `docker run --gpus all`"
        )
    if runtime is not None and int(driver.split(".")[0]) < int(runtime.split(".")[0]):
        if driver.startswith("12."):
            return f"{_reinstall('cuda12')} (the driver is for CUDA {driver})"
        return f"update NVIDIA's driver: it is for CUDA {driver}, CuPy for CUDA {runtime}"
    return "check that `nvidia-smi` lists a device and that CUDA_VISIBLE_DEVICES does not hide it"


def _cuda_versions(cupy: Any) -> tuple[str | None, str | None]:
    """Return the CUDA versions of the driver and of CuPy's runtime; None if unknown."""

    def version(read: Any) -> str | None:
        try:
            number = int(read())
        except Exception:  # whatever it is, counting the devices reports it too
            return None
        return f"{number // 1000}.{number % 1000 // 10}" if number else None

    runtime = cupy.cuda.runtime
    return version(runtime.driverGetVersion), version(runtime.runtimeGetVersion)


def _installed() -> list[str]:
    from importlib.metadata import distributions  # late: usage errors should not wait for it

    names = {str(found.metadata["Name"]).lower() for found in distributions()}
    return sorted(name for name in names if re.fullmatch(r"cupy(-(cuda|rocm).*)?", name))


def _extra() -> str:
    """Return our extra for the version of CUDA that the installed CuPy was built for."""
    return "cuda13" if "cupy-cuda13x" in _installed() else "cuda12"


def _install(extra: str) -> str:
    # We name CuPy instead of our extra, because this package may be installed from source.
    return f"pip install 'cupy-{extra}x[ctk]'"


def _reinstall(extra: str) -> str:
    return f"pip uninstall -y {' '.join(_installed()) or 'cupy'} && {_install(extra)}"


def _unusable(what: str, cause: Exception | str, remedy: str) -> BackendError:
    if isinstance(cause, Exception):
        cause = _describe(cause)
    return BackendError(
        f"backend 'cupy': {what}: {cause}. Remedy: {remedy}; or choose the backend 'numpy'."
    )


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(". ")
