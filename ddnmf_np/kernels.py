"""Which of its kernels OpenBLAS takes; imported by commands before NumPy, which loads OpenBLAS.

OpenBLAS takes the widest vectors that a processor has. AMD's Zen 4 has those of 512 bits, but
works on them in halves, and OpenBLAS's kernels for 256 bits are the faster ones there: on the
matrix products of a step at the paper's shape, 27 ms instead of 29 (batch 128, two threads of an
EPYC, OpenBLAS 0.3.31).
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
"""The environment variable by which OpenBLAS is told; what a user has set is left alone."""

ZEN4 = (range(0x10, 0x20), range(0x60, 0x80), range(0xA0, 0xB0))
"""Models of AMD's family 19h that are Zen 4."""


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


def best_kernels() -> str | None:
    """Return the value of the variable for this machine, or None where it need not be set."""
    try:
        return better_kernels(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    except OSError:  # not Linux
        return None


def choose_kernels() -> None:
    """Set the variable for this process, unless it is set or comes too late."""
    if VARIABLE not in os.environ and "numpy" not in sys.modules and (best := best_kernels()):
        os.environ[VARIABLE] = best


choose_kernels()
