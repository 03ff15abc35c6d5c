"""On what the measurements were made."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ddnmf_np.environment import environment

PEERS = ("torch", "jax", "jaxlib", "keras", "tensorflow", "tensorflow-cpu")
"""Packages of the peers, by their names on the package index."""


def surroundings() -> dict[str, Any]:
    """Return date, commit, processor and what `ddnmf_np.environment.environment` returns."""
    found = environment()
    found["versions"] |= {name: _version(name) for name in PEERS}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(Path(__file__).parents[2]),
        "cpu": cpu_model(),
        "environment": found,
    }


def commit(root: Path) -> str | None:
    """Return the commit of a checkout, with ``+`` if files have changed; None if it is none.

    Parameters
    ----------
    root : Path
        The checkout's own folder; that it lies inside of another project's is not enough.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


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
