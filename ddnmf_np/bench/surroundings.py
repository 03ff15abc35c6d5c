"""On what the measurements were made."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ddnmf_np.runs.environment import commit, environment

PEERS = ("torch", "jax", "jaxlib", "keras", "tensorflow", "tensorflow-cpu")
"""Packages of the peers, by their names on the package index."""


def surroundings() -> dict[str, Any]:
    """Return date, commit, processor and what `ddnmf_np.runs.environment.environment` returns."""
    found = environment()
    found["versions"] |= {name: _version(name) for name in PEERS}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "environment": found,
    }


def cpu_model() -> str:
    """Return the processor's name as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()  # Linux
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
