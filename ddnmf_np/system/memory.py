"""Memory of this process, now and at its peak."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def peak_memory_mib() -> float | None:
    """Return the peak memory of this program in MiB, or None if the system does not record it.

    On Linux we read VmHWM, because ``getrusage`` includes the memory of the parent process.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def memory_mib() -> float | None:
    """Return the memory of this process in MiB, or None if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def forget_peak() -> None:
    """Reset the peak memory of this process, on systems that allow it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
