"""Memory that two processes of one machine have in common, without a name in any folder.

A file that is nowhere but in memory (``memfd_create``, Linux) is mapped by both. It is gone when
both are, however they end, and takes none of ``/dev/shm``, which is small in many containers.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

from ddnmf_np.engine.ops import Array


def available() -> bool:
    """Return whether this system has such files, and shows them to other processes."""
    return hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


def create(nbytes: int) -> tuple[int, str]:
    """Return a descriptor of new memory, to be closed when all have mapped it, and its name.

    Raises
    ------
    OSError
        If there is not enough memory, or another process may not see it.
    """
    descriptor = os.memfd_create("ddnmf_np")
    try:
        os.ftruncate(descriptor, max(1, nbytes))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"


def map_as(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the memory of that name as an array; it stays as long as the array does."""
    descriptor = os.open(name, os.O_RDWR)
    try:
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    return np.ndarray(shape, dtype, buffer=memory)
