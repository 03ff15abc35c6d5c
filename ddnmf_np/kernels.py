"""Which of its kernels OpenBLAS takes; imported by commands before NumPy, which loads OpenBLAS.

OpenBLAS takes the widest vectors that a processor has. AMD's Zen 4 has those of 512 bits, but
works on them in halves, and OpenBLAS's kernels for 256 bits are the faster ones there: on the
matrix products of a step at the paper's shape, 27 ms instead of 29 (batch 128, two threads of an
EPYC, OpenBLAS 0.3.31).

From 0.3.34 on OpenBLAS cuts matrices on Zen 4 into larger pieces, whatever kernels it is told to
take, and the stack of Haswell's float64 kernel is too small for them: it crashes (OpenBLAS issues
6013, 6021 and 6026). So it is told only where the versions that come with NumPy and SciPy are
known, and older.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
"""The environment variable by which OpenBLAS is told; what a user has set is left alone."""

ZEN4 = (range(0x10, 0x20), range(0x60, 0x80), range(0xA0, 0xB0))
"""Models of AMD's family 19h that are Zen 4."""


TOO_NEW = (0, 3, 34)
"""The first version of OpenBLAS whose kernels for Haswell crash on Zen 4."""


def better_kernels(cpuinfo: str) -> str | None:
    """Return the value of the variable for a processor, or None where OpenBLAS's choice is best.

    Parameters
    ----------
    cpuinfo : str
        What Linux says of the processors in ``/proc/cpuinfo``.
    """
    found = dict(re.findall(r"^(vendor_id|cpu family|model)\s*:\s*(\S+)", cpuinfo, re.MULTILINE))
    if (found.get("vendor_id"), found.get("cpu family")) != ("AuthenticAMD", "25"):
        return None
    return "Haswell" if any(int(found["model"]) in models for models in ZEN4) else None


def openblas_of(package: str) -> tuple[int, ...] | None:
    """Return the version of the OpenBLAS in a package's wheel, or None if it is not from a wheel.

    It is read off the library's own text: to ask the library is to load it.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent.with_name(f"{package}.libs")
    for path in folder.glob("libscipy_openblas*"):
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            if found := re.search(rb"OpenBLAS (\d+)\.(\d+)\.(\d+)", text):
                return tuple(int(number) for number in found.groups())
    return None


def safe(versions: Iterable[tuple[int, ...] | None]) -> bool:
    """Return whether no OpenBLAS of these versions crashes with kernels that are not its choice."""
    return all(version is not None and version < TOO_NEW for version in versions)


def best_kernels() -> str | None:
    """Return the value of the variable for this machine, or None where it need not be set."""
    try:
        best = better_kernels(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
        return best if best and safe(map(openblas_of, ("numpy", "scipy"))) else None
    except OSError:  # not Linux, or a library that cannot be read
        return None


def choose_kernels() -> None:
    """Set the variable for this process, unless it is set or comes too late."""
    if VARIABLE not in os.environ and "numpy" not in sys.modules and (best := best_kernels()):
        os.environ[VARIABLE] = best


choose_kernels()
