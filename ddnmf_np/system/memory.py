"""How much memory this process has, and has had at most."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path


def peak_memory_mib() -> float | None:
    """Return the largest memory this program has had, in MiB; None where nobody keeps it.

    Linux's own mark starts with the program; that of ``getrusage`` has the parent's in it.
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
    """Return the memory that this process has now, in MiB; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def forget_peak() -> None:
    """Have the system begin anew with the largest memory of this process, where it can be told."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
