"""Execute notebooks and write them with their outputs: ``python -m ddnmf_np.teaching.refresh``.

People edit the ``.py`` of a pair; this command executes it and writes the ``.ipynb`` beside it. We
number the cells and record no time, so that two runs differ only in what the cells print.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddnmf_np.errors import DataError
from ddnmf_np.system.command import Parser, run_command
from ddnmf_np.system.files import atomic_write_text
from ddnmf_np.system.needed import needed

LARGEST = 300_000
"""Largest size of a notebook with its outputs, in bytes."""

TIMEOUT_S = 600
"""Time limit for one cell, on the slowest machine."""


def read(source: Path) -> Any:
    """Read a ``.py`` in jupytext's percent format as a notebook."""
    jupytext = _needed("jupytext")
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number:02d}"
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def execute(notebook: Any, folder: Path, timeout_s: int = TIMEOUT_S) -> float:
    """Execute a notebook in place, in ``folder``; return its seconds, or raise if a cell raises."""
    nbclient = _needed("nbclient")
    start = time.perf_counter()
    nbclient.NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}  # without this machine's version
    return time.perf_counter() - start


def refresh(source: Path) -> tuple[float, int]:
    """Execute a ``.py`` and write its ``.ipynb``; return its seconds and its size in bytes."""
    if source.suffix != ".py" or not source.is_file():
        raise DataError(f"{source}: is not the .py of a notebook; give one of notebooks/*.py")
    notebook = read(source)
    seconds = execute(notebook, source.parent)
    text = _needed("nbformat").writes(notebook) + "\n"
    atomic_write_text(source.with_suffix(".ipynb"), text)
    return seconds, len(text.encode("utf-8"))


def main(argv: Sequence[str] | None = None) -> int:
    """Refresh the notebooks that the command line names; return the exit code."""
    return run_command(lambda: _refresh(argv))


def _refresh(argv: Sequence[str] | None) -> int:
    parser = Parser("ddnmf_np.teaching.refresh", __doc__ or "")
    parser.add_argument("sources", nargs="+", type=Path, help="notebooks/*.py")
    sources = parser.parse(argv).sources
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    code = 0
    for source in sources:
        seconds, size = refresh(source)
        print(f"{source.stem}: {seconds:.1f} s, {size / 1000:.0f} kB")
        if size > LARGEST:
            print(
                f"{source.stem}: larger than {LARGEST / 1000:.0f} kB; show less, or fewer pictures"
            )
            code = 1
    return code


def _needed(module: str) -> Any:
    return needed(module, "executing a notebook", "pip install 'ddnmf-np[notebooks]'")


if __name__ == "__main__":
    sys.exit(main())
