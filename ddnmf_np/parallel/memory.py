"""Memory that two processes of one machine have in common, without a name in any folder.

A file that is nowhere but in memory (``memfd_create``, Linux) is mapped by both. It is gone when
both are, however they end, and takes none of ``/dev/shm``, which is small in many containers.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import Any

import numpy as np

from ddnmf_np.backends.ops import Array


def available() -> bool:
    """Return whether this system has such files, and shows them to other processes."""
    return hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


def create(nbytes: int) -> tuple[int, str]:
    """Return a descriptor of new memory, to be closed when all have mapped it, and its name.

    Raises
    ------
    OSError
        If the system says that there is not enough memory. (A limit of a container may end the
        process instead.)
    """
    descriptor = os.memfd_create("ddnmf_np")
    try:
        os.posix_fallocate(descriptor, 0, max(1, nbytes))  # taken now, not when it is written to
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"


def map_as(name: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return the memory of that name as an array; it stays as long as the array does.

    Raises
    ------
    OSError
        If there is none of that name, or it is not large enough: it is something else then.
    """
    descriptor = os.open(name, os.O_RDWR)
    try:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if os.fstat(descriptor).st_size < max(1, nbytes):
            raise OSError(f"{name} has not {nbytes} bytes")
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    return np.ndarray(shape, dtype, buffer=memory)
