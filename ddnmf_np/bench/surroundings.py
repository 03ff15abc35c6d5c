"""Machine, versions and commit of a measurement."""

from __future__ import annotations

import platform
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ddnmf_np.runs.environment import commit, environment, version_of

PEERS = ("torch", "jax", "jaxlib", "keras", "tensorflow", "tensorflow-cpu")
"""Packages of the peers, by their names on the package index."""


def surroundings() -> dict[str, Any]:
    """Return date, commit, processor and what `ddnmf_np.runs.environment.environment` returns."""
    found = environment()
    found["versions"] |= {name: version_of(name) for name in PEERS}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "cpu": cpu_model(),
        "environment": found,
    }


def cpu_model() -> str:
    """Return the processor's name as far as the system tells it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():  # Linux
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
