"""Who does the arithmetic: the one file that knows a backend's name, and that imports CuPy."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import distributions
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

from ddnmf_np.backends.ops import Ops
from ddnmf_np.errors import BackendError
from ddnmf_np.system.options import Range, check_options, option


@dataclass(frozen=True)
class Execution:
    """Options that choose where and how fast we compute, but not what.

    Parameters
    ----------
    backend : {"numpy", "cupy", "auto"}
        As for `get_ops`.
    fast : {"auto", "on", "off"}
        As for `get_ops`.
    threads : int, optional
        Threads on the CPU, shared out between the two networks.
    matmul_precision : {"highest", "high"}
        As for `get_ops`.

    Raises
    ------
    OptionError
        If a value cannot be used.
    """

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
    """Return the operations of a backend, or say why they cannot run here.

    Parameters
    ----------
    backend : {"numpy", "cupy", "auto"}
        ``"auto"`` is CuPy where it works and NumPy elsewhere; `Ops.name` says which, and a log
        record of level INFO says why it is not CuPy.
    fast : {"auto", "on", "off"}
        Numba's elementwise loops on the CPU: where Numba is installed, always, or never.
    matmul_precision : {"highest", "high"}
        On a device with tensor cores for it (compute capability 8.0 and later), ``"high"`` rounds
        the factors of float32 products to TF32, 10 bits of mantissa. Elsewhere, and in float64,
        it has no effect.

    Returns
    -------
    Ops
        What the engine computes with.

    Raises
    ------
    OptionError
        If a name is unknown.
    BackendError
        If the backend cannot run; the text has the original cause and the remedy.
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
            raise BackendError(
                f"fast is {fast!r}, but Numba cannot be used: {_describe(error)}. "
                "Remedy: pip install --upgrade numba; or choose fast 'off'."
            ) from error
        return NumbaOps()
    return Ops()


def ops_by_name(name: str, *, matmul_precision: str = "highest") -> Ops:
    """Return the operations whose `Ops.name` that is: what a pickled model was on.

    Raises
    ------
    BackendError
        If they cannot run here.
    """
    if name == "cupy":
        return get_ops("cupy", matmul_precision=matmul_precision)
    return get_ops("numpy", fast="auto" if name == "numpy+numba" else "off")


def backend_of(array: Any) -> str:
    """Return the backend an array lives on: ``"cupy"``, or ``"numpy"`` for anything else."""
    return "cupy" if type(array).__module__.partition(".")[0] == "cupy" else "numpy"


# -- CuPy: import, device, arithmetic; what can go wrong at each, and what mends it ------------


def find_cupy() -> ModuleType:
    """Return CuPy if it sees a device; nothing is put on a device, so that one can be chosen.

    Raises
    ------
    BackendError
        With the original cause and the command that mends it.
    """
    cupy: ModuleType = _import_cupy()
    _count_devices(cupy)
    return cupy


def load_cupy() -> ModuleType:
    """Return CuPy after it has proved that it can compute on the current device.

    Raises
    ------
    BackendError
        With the original cause and the command that mends it.
    """
    cupy = find_cupy()
    _try_arithmetic(cupy)
    return cupy


def load_nccl() -> ModuleType:
    """Return CuPy's module of NCCL, which CuPy itself does not import.

    Raises
    ------
    BackendError
        If there is no NCCL library.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error says more
        nccl: ModuleType = import_module("cupy.cuda.nccl")
    if not nccl.available:
        raise BackendError(
            "several ranks on GPUs need NCCL, which CuPy cannot load; pip install nvidia-nccl-cu12 "
            "(or -cu13, as CuPy's own package), or take --backend numpy"
        )
    return nccl


def why_not_cupy() -> str | None:
    """Return why CuPy cannot be used here, or None if it can."""
    try:
        load_cupy()
    except BackendError as error:
        return str(error)
    return None


def why_not_numba() -> str | None:
    """Return why Numba's loops cannot be used here, or None if they can."""
    try:
        get_ops("numpy", fast="on")
    except BackendError as error:
        return str(error)
    return None


def why_no_graphs() -> str | None:
    """Return why steps on CuPy are not recorded as CUDA graphs, or None if they are.

    Raises
    ------
    BackendError
        If CuPy cannot be used at all.
    """
    products, why_not = _products(load_cupy(), tf32=False)
    return why_not if products is None else None


def describe_cuda() -> dict[str, Any]:
    """Return what CuPy sees of CUDA, without touching a device's memory.

    Returns
    -------
    dict
        In plain JSON types: ``cupy``, ``driver`` and ``runtime`` (versions; None where there is
        none), ``devices`` (each with ``name``, ``compute_capability`` and ``memory_bytes``) and
        ``problem`` (why CuPy cannot be imported or finds no device, or None).
    """
    found: dict[str, Any] = {"cupy": None, "driver": None, "runtime": None, "devices": []}
    try:
        cupy = _import_cupy()
        found["cupy"] = cupy.__version__
        found["driver"], found["runtime"] = _cuda_versions(cupy)
        for number in range(_count_devices(cupy)):
            device = cupy.cuda.runtime.getDeviceProperties(number)
            found["devices"].append(
                {
                    "name": device["name"].decode(),
                    "compute_capability": f"{device['major']}.{device['minor']}",
                    "memory_bytes": int(device["totalGlobalMem"]),
                }
            )
    except Exception as error:
        known = isinstance(error, BackendError)
        return found | {"problem": str(error) if known else _describe(error)}
    return found | {"problem": None}


def _cupy_ops(cupy: Any, matmul_precision: str) -> Ops:
    from ddnmf_np.backends.ops_cupy import CupyOps

    device = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    products, why_not = _products(cupy, tf32=matmul_precision == "high" and device["major"] >= 8)
    if why_not is not None:
        _warn_once(why_not)
    ops = CupyOps(cupy, products)
    ops.matmul_precision = matmul_precision
    return ops


def _products(cupy: Any, *, tf32: bool) -> tuple[list[Any] | None, str | None]:
    """Return products that may be recorded, one for each stream, or why there are none."""
    from ddnmf_np.backends.cublas import Cublas
    from ddnmf_np.backends.cupy_graph import STREAMS

    try:
        return [Cublas(cupy, tf32=tf32) for _ in range(STREAMS)], None
    except Exception as error:
        return None, (
            f"steps are not recorded as CUDA graphs and take more time, and matmul_precision has "
            f"no effect: {_describe(error)}. "
            "Remedy: pip install --upgrade nvmath-python"
        )


@cache
def _warn_once(text: str) -> None:
    logging.getLogger(__name__).warning("backend 'cupy': %s", text)


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
    """Do once what training needs: a compiled kernel, a matrix product, a sum, a copy back."""
    what = f"CuPy {cupy.__version__} cannot compute"
    try:
        ones = cupy.ones((2, 2), "float32")
        total = float((ones @ (ones + ones)).sum())
    except Exception as error:
        text = _describe(error)
        if re.search("out ?of ?memory", text, re.IGNORECASE):
            remedy = (
                "free the device (`nvidia-smi` lists who holds its memory), or choose another "
                "with CUDA_VISIBLE_DEVICES"
            )
        elif re.search("gpu-architecture|no ?binary|no kernel image", text, re.IGNORECASE):
            # CUDA 13 has left out the devices before compute capability 7.5 (V100 among them).
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
    return "let `nvidia-smi` list the devices, and CUDA_VISIBLE_DEVICES not hide them"


def _cuda_versions(cupy: Any) -> tuple[str | None, str | None]:
    """Return the versions of CUDA that driver and runtime are for; None where there is none."""
    versions: list[str | None] = []
    for read in (cupy.cuda.runtime.driverGetVersion, cupy.cuda.runtime.runtimeGetVersion):
        try:
            number = int(read())
        except Exception:  # whatever it is, counting the devices says it too
            number = 0
        versions.append(f"{number // 1000}.{number % 1000 // 10}" if number else None)
    return versions[0], versions[1]


def _installed() -> list[str]:
    names = {str(found.metadata["Name"]).lower() for found in distributions()}
    return sorted(name for name in names if re.fullmatch(r"cupy(-(cuda|rocm).*)?", name))


def _extra() -> str:
    """Return this package's extra for the CUDA that the installed CuPy was built for."""
    return "cuda13" if "cupy-cuda13x" in _installed() else "cuda12"


def _install(extra: str) -> str:
    # What the extra installs, by its own name: this package may have been installed from source.
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
