"""The environment of a run: versions, processor, memory, CUDA.

`ddnmf_np.runs.run` stores it in a run's ``summary.json``; ``python -m ddnmf_np.doctor`` prints it.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from ddnmf_np import __version__
from ddnmf_np.backends.select import describe_cuda
from ddnmf_np.backends.threads import usable_processors

PACKAGES = (
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "matplotlib",
    "tqdm",
    "pooch",
    "jinja2",
    "threadpoolctl",
    "platformdirs",
    "filelock",
    "numba",
    "nvmath-python",
)
"""Packages whose version is recorded, by their name on the package index."""


def environment() -> dict[str, Any]:
    """Return the environment of this process, in plain JSON types.

    It has ``versions`` by package (None if it is not installed), with ``ddnmf-np``, ``python`` and
    ``cupy``; ``platform``; ``cpus`` (``count`` and ``usable``); ``memory`` (``total_bytes`` and
    ``available_bytes``, None where the system does not say); ``threads``, the pools of BLAS and
    OpenMP that are loaded by now; ``cuda``, see `ddnmf_np.backends.select.describe_cuda`.
    """
    cuda = describe_cuda()
    return {
        "versions": {
            "ddnmf-np": __version__,
            "python": platform.python_version(),
            **{name: version_of(name) for name in PACKAGES},
            "cupy": cuda["cupy"],
        },
        "platform": platform.platform(),
        "cpus": {"count": os.cpu_count(), "usable": usable_processors()},
        "memory": _memory(),
        "threads": _thread_pools(),
        "cuda": cuda,
    }


@cache
def commit() -> str | None:
    """Return the commit that this package is at, with ``+`` if it was changed since, or None."""
    home = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=home, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        # An installed copy may lie within the work tree of something else.
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def version_of(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> dict[str, int | None]:
    """Return the bytes of memory in all and available."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()  # Linux
    except OSError:
        return {"total_bytes": _memory_pages(), "available_bytes": None}
    kib = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines)}
    return {
        "total_bytes": int(kib["MemTotal"]) * 1024,
        "available_bytes": int(kib["MemAvailable"]) * 1024,
    }


def _memory_pages() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _thread_pools() -> list[dict[str, Any]]:
    """Return library, version, kernels and threads of every pool that is loaded."""
    np.ones((2, 2)) @ np.ones((2, 2))  # some builds load their BLAS with the first product
    return [
        {
            "library": pool["internal_api"],
            "version": pool["version"],
            "kernels": pool.get("architecture"),
            "threads": pool["num_threads"],
            "kind": pool["user_api"],
        }
        for pool in threadpool_info()
    ]
