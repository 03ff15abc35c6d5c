"""Answers in a Python file, each in a cell: ``my_engine.py``, and the solutions."""

from __future__ import annotations

import ast
import linecache
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ddnmf_np
from ddnmf_np.errors import DataError, UsageError

SOLUTIONS = Path("answers") / "right.py"
"""The solutions, beside the notebooks; a course hands them to the lecturer only."""

WRONG = Path("answers") / "wrong.py"
"""Typical wrong answers, each with words of the diagnosis that it gets."""


def beside_notebooks(name: Path) -> Path | None:
    """Return a file that lies beside the notebooks, from wherever the notebooks were opened."""
    home = Path(ddnmf_np.__file__).parents[1]
    folders = (Path(), Path(".."), Path("notebooks"), home / "notebooks")
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def read_cells(path: Path) -> tuple[str, dict[str, str]]:
    """Return the text above a file's first cell, and the code of each cell by its title.

    Raises `DataError` if the file is not text.
    """
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not a text file ({error}); move it away") from error
    head, *rest = re.split(r"^# %% (.+)\n", text, flags=re.MULTILINE)
    return head, {
        title.strip(): code.strip() + "\n"
        for title, code in zip(rest[::2], rest[1::2], strict=True)
    }


def join_cells(head: str, cells: Mapping[str, str]) -> str:
    """Return the text of a file with these cells, the inverse of `read_cells`."""
    return "\n\n".join([head.rstrip() + "\n", *(f"# %% {t}\n{code}" for t, code in cells.items())])


def run_cell(head: str, code: str, name: str) -> Any:
    """Run a cell below the head of its file; return the last function or class that it defines.

    Raises `UsageError` if the code cannot be run.
    """
    try:
        last = [node for node in ast.parse(code).body if hasattr(node, "name")][-1].name
        space: dict[str, Any] = {"__name__": "answers"}
        linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
        exec(head, space)
        exec(compile(code, name, "exec"), space)
        return space[last]
    except IndexError:
        raise UsageError(f"{name}: defines no function; begin with def") from None
    except Exception as error:
        raise UsageError(f"{name}: {type(error).__name__}: {error}; mend this cell") from error


def source_of(answer: Any) -> str | None:
    """Return the source of a function or class, also of a cell; None if it has no name there."""
    parts = [answer, *vars(answer).values()] if isinstance(answer, type) else [answer]
    for part in parts:
        if code := getattr(part, "__code__", None):
            text = "".join(linecache.getlines(code.co_filename))
            try:
                tree = ast.parse(text)
            except SyntaxError:  # a cell with commands of the notebook
                return None
            for node in tree.body:
                if getattr(node, "name", None) == answer.__name__:
                    return (ast.get_source_segment(text, node) or "") + "\n"
    return None
