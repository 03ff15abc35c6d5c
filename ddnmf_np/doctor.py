"""``python -m ddnmf_np.doctor``: what is installed, what works, and which command mends the rest.

With ``--json`` the same as one JSON object. Exit codes: 0; 3 if a package that everything needs
is missing or broken (a missing GPU is no fault).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ddnmf_np.errors import BackendError
from ddnmf_np.system.command import Parser, run_command

CORE = {
    "numpy": "numpy",
    "scipy": "scipy.linalg",
    "scikit-learn": "sklearn",
    "joblib": "joblib",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "pooch": "pooch",
    "jinja2": "jinja2",
    "threadpoolctl": "threadpoolctl",
    "platformdirs": "platformdirs",
    "filelock": "filelock",
}
"""Packages that everything needs, and the module of each that shows whether it works."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the findings and return the exit code."""
    return run_command(lambda: _doctor(argv))


def _doctor(argv: Sequence[str] | None) -> int:
    parser = Parser(
        "ddnmf_np.doctor", "Say what is installed, what works, and how to mend the rest."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    as_json = parser.parse(argv).json
    found = examine()
    print(json.dumps(found, indent=2) if as_json else "\n".join(report(found)))
    return BackendError.exit_code if found["broken"] else 0


def examine() -> dict[str, Any]:
    """Return everything there is to report, in plain JSON types.

    It has ``broken`` (what is wrong with each core package that cannot be imported); unless NumPy
    or threadpoolctl are among them, also what `ddnmf_np.runs.environment.environment` returns and
    ``numba`` (why its loops cannot be used, or None). ``cuda["problem"]`` is here the outcome of a
    trial computation; ``cuda["no_graphs"]`` is why steps on a device that works are not recorded as
    graphs, or None.
    """
    broken = {name: error for name, module in CORE.items() if (error := _import_error(module))}
    if broken.keys() & {"numpy", "threadpoolctl"}:
        return {"broken": broken}
    from ddnmf_np.backends.select import why_no_graphs, why_not_cupy, why_not_numba
    from ddnmf_np.runs.environment import environment

    found = environment()
    cuda = found["cuda"]
    cuda["problem"] = why_not_cupy()
    cuda["no_graphs"] = None if cuda["problem"] else why_no_graphs()
    return {"broken": broken, **found, "numba": why_not_numba()}


def report(found: dict[str, Any]) -> list[str]:
    """Return the findings as lines of text."""
    lines = [f"{name}: BROKEN: {error}" for name, error in found["broken"].items()]
    if lines:
        lines.append(f"  mend it: pip install --upgrade {' '.join(found['broken'])}")
    if "versions" not in found:
        return lines
    versions, cpus, memory, cuda = (found[k] for k in ("versions", "cpus", "memory", "cuda"))
    lines += [f"{name} {number or 'not installed'}" for name, number in versions.items()]
    lines += [
        f"platform: {found['platform']}",
        f"processors: {cpus['usable']} usable of {cpus['count']}",
        f"memory: {_gib(memory['available_bytes'])} available of {_gib(memory['total_bytes'])}",
    ]
    for pool in found["threads"]:
        names = ", ".join(filter(None, (pool["library"], pool["version"], pool["kernels"])))
        lines.append(f"{pool['kind']}: {names}; {pool['threads']} threads")
    lines.append(f"CUDA: driver {cuda['driver'] or 'none'}, runtime {cuda['runtime'] or 'none'}")
    lines += [
        f"device {number}: {device['name']}, compute capability {device['compute_capability']}, "
        f"{_gib(device['memory_bytes'])}"
        for number, device in enumerate(cuda["devices"])
    ]
    lines.append(f"backend 'numpy': works; fast loops: {found['numba'] or 'work'}")
    lines.append(cuda["problem"] or "backend 'cupy': works")
    if cuda.get("no_graphs"):
        lines.append(f"backend 'cupy': {cuda['no_graphs']}")
    return lines


def _import_error(module: str) -> str | None:
    try:
        import_module(module)
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return None


def _gib(number: int | None) -> str:
    return "unknown" if number is None else f"{number / 2**30:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())
